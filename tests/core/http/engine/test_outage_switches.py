"""Policies that are switched off, upstreams that are kept apart, and the settings for both."""

from __future__ import annotations

from typing import Any

import pytest
import responses as responses_library
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings

from core import http
from core.http import (
    WEB_REQUEST,
    CircuitBreaker,
    CircuitOpen,
    Policy,
    ResilientSession,
    RetryBudget,
    process,
)
from core.http.django import settings as outbound_settings
from core.http.django.checks import check_outbound_http
from core.http.engine.call import Call
from core.http.engine.steps import Send
from core.http.events import (
    BreakerChanged,
)
from tests.core.http.engine.outage import URL, ended, once, opened, value
from tests.core.http.engine.world import BUSY, GET, World


def test_without_a_breaker_nothing_is_refused() -> None:
    """circuit_breaker=None: 1,000 failures in a row, and the next call is sent."""
    world = World(Policy(circuit_breaker=None))
    upstream = world.upstream
    for _ in range(1000):
        once(upstream, BUSY)
    assert upstream.breaker is None
    assert isinstance(Call(upstream, GET).begin(), Send)
    assert world.seen(BreakerChanged) == []


def test_without_a_budget_every_call_has_all_its_retries() -> None:
    """With retry_budget=None, 100 calls make 400 attempts, and no ratio is exported."""
    world = World(Policy(retry_budget=None, circuit_breaker=None))
    upstream = world.upstream
    assert sum(world.play(Call(upstream, GET), BUSY, BUSY, BUSY, BUSY) for _ in range(100)) == 400
    assert ended(world).budget_remaining is None


def test_hosts_without_a_name_have_a_state_of_their_own(
    responses: responses_library.RequestsMock,
) -> None:
    """An open breaker of a host affects no other host, and no other port of the same host."""
    responses.get(URL, status=503)
    responses.get("https://example.net/", status=200)
    responses.get("https://example.org:8443/", status=200)
    for _ in range(3):
        http.get(URL)
    with pytest.raises(CircuitOpen):
        http.get(URL)
    assert http.get("https://example.net/").status_code == 200
    assert http.get("https://example.org:8443/").status_code == 200


@override_settings(OUTBOUND_HTTP={"upstreams": {"example": {"hosts": ["example.org", "example.net"]}}})
def test_hosts_of_one_name_share_their_state(responses: responses_library.RequestsMock) -> None:
    """Hosts of one upstream share a breaker: failures of one host open it for the other."""
    responses.get(URL, status=503)
    for _ in range(3):
        http.get(URL)
    with pytest.raises(CircuitOpen):
        http.get("https://example.net/")


def test_web_requests_have_a_state_of_their_own(responses: responses_library.RequestsMock) -> None:
    """A visitor's request is tried though a batch job's breaker is open, and the other way round."""
    responses.get(URL, status=503)
    with ResilientSession(WEB_REQUEST) as web, ResilientSession(WEB_REQUEST) as other_web:
        for _ in range(3):
            http.get(URL)
        with pytest.raises(CircuitOpen):
            http.get(URL)
        for _ in range(5):
            assert web.get(URL).status_code == 503
        with pytest.raises(CircuitOpen):
            web.get(URL)
        assert other_web.get(URL).status_code == 503


@override_settings(
    OUTBOUND_HTTP={
        "default": {"circuit_breaker": {"failures_in_a_row": 3, "open_for": 2.5}, "retry_budget": None},
        "upstreams": {
            "example": {"hosts": ["example.org"], "circuit_breaker": None, "retry_budget": {"ratio": 0.5}},
            "same": {"hosts": ["example.net"]},
        },
    }
)
def test_breaker_and_budget_in_the_settings() -> None:
    """Breaker and budget are dictionaries of their fields, or None; missing ones come from the default."""
    assert outbound_settings.problems() == []
    config = process.current().config
    assert config.default.circuit_breaker == CircuitBreaker(failures_in_a_row=3, open_for=2.5)
    assert config.default.retry_budget is None
    assert config.upstreams["example"].circuit_breaker is None
    assert config.upstreams["example"].retry_budget == RetryBudget(ratio=0.5)
    assert config.upstreams["same"] == config.default


@pytest.mark.parametrize(
    ("part", "given", "message"),
    [
        ("circuit_breaker", 5, "circuit_breaker=5: must be CircuitBreaker(…), or None to disable it"),
        ("circuit_breaker", False, "circuit_breaker=False: must be CircuitBreaker(…), or None to disable it"),
        ("circuit_breaker", {"open": 5}, "circuit_breaker has no field 'open'; did you mean 'open_max'?"),
        ("circuit_breaker", {5: 5}, "circuit_breaker has no field 5; the known names are"),
        ("circuit_breaker", {"failures_in_a_row": 0}, "failures_in_a_row=0: must be a whole number from 1 to 10000"),
        ("circuit_breaker", {"failures_in_a_row": 2.5}, "failures_in_a_row=2.5: must be a whole number"),
        ("circuit_breaker", {"failure_rate": 0}, "failure_rate=0: must be a number above 0, up to 1"),
        ("circuit_breaker", {"failure_rate": float("nan")}, "failure_rate=nan: must be a number"),
        ("circuit_breaker", {"failure_rate": "0.8"}, "failure_rate='0.8': must be a number"),
        ("circuit_breaker", {"minimum_attempts": 0}, "minimum_attempts=0: must be"),
        ("circuit_breaker", {"window": 0.5}, "window=0.5: must be a number of seconds from 1 to 3600"),
        ("circuit_breaker", {"open_for": 0}, "open_for=0: must be a number of seconds above 0"),
        ("circuit_breaker", {"open_max": float("inf")}, "open_max=inf: must be a number of seconds"),
        ("circuit_breaker", {"open_for": 301}, "open_for=301: must not be longer than open_max=300.0"),
        ("retry_budget", [], "retry_budget=[]: must be RetryBudget(…), or None to disable it"),
        (
            "retry_budget",
            {"percent": 20},
            "retry_budget has no field 'percent'; the known names are ratio, minimum, window",
        ),
        ("retry_budget", {"ratio": 20}, "ratio=20: must be a number from 0 to 1"),
        ("retry_budget", {"minimum": -1}, "minimum=-1: must be a whole number from 0"),
        ("retry_budget", {"minimum": True}, "minimum=True: must be a whole number from 0"),
        ("retry_budget", {"window": 0}, "window=0: must be a number of seconds from 1 to 3600"),
    ],
)
@pytest.mark.parametrize("upstream", [False, True])
def test_mistakes_in_the_settings_are_reported(part: str, given: Any, message: str, upstream: bool) -> None:
    """`manage.py check` reports the place, the field, the value and the allowed values."""
    entry: dict[str, Any] = {part: given}
    setting = {"upstreams": {"a": {"hosts": ["a.test"], **entry}}} if upstream else {"default": entry}
    where = "OUTBOUND_HTTP['upstreams']['a']: " if upstream else "OUTBOUND_HTTP['default']: "
    with override_settings(OUTBOUND_HTTP=setting):
        (problem,) = outbound_settings.problems()
        assert problem.id == "core.http.E002"
        assert problem.message.startswith(where + message)
        assert [error.id for error in check_outbound_http()] == ["core.http.E002"]
        with pytest.raises(ImproperlyConfigured):
            http.get(URL)


EXAMPLE = {"upstreams": {"example": {"hosts": ["example.org"], "retries": 0}}}


@override_settings(OUTBOUND_HTTP=EXAMPLE)
def test_a_closed_session_takes_its_breakers_out_of_the_metrics(responses: responses_library.RequestsMock) -> None:
    """Closing a session with a policy of its own removes its breakers from the metrics."""
    before = value("breaker_state", upstream="example", state="open")
    session = ResilientSession(policy=Policy(retries=0))
    opened(session, responses)
    assert value("breaker_state", upstream="example", state="open") == (before or 0) + 1
    session.close()
    assert value("breaker_state", upstream="example", state="open") == (before or 0)
    assert session.get(URL).status_code == 503


@override_settings(OUTBOUND_HTTP=EXAMPLE)
def test_new_settings_take_old_breakers_out_of_the_metrics(responses: responses_library.RequestsMock) -> None:
    """After a change of the settings, the breakers from before are no longer counted."""
    before = value("breaker_state", upstream="example", state="open")
    opened(ResilientSession(), responses)
    with override_settings(OUTBOUND_HTTP={**EXAMPLE, "default": {"retries": 1}}):
        assert value("breaker_state", upstream="example", state="open") == (before or 0)
        assert value("breaker_state", upstream="example", state="closed") == 1
