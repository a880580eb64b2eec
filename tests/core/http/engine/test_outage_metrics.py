"""The metrics of an outage."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
import requests
import responses as responses_library
from django.test import override_settings
from prometheus_client import CollectorRegistry

from core import http
from core.http import (
    CircuitOpen,
    Policy,
    RateLimited,
    ResilientSession,
    process,
    registry,
)
from core.http.engine.call import Call
from core.http.engine.steps import Send, Wait
from core.http.events import (
    BreakerState,
    GateWaited,
)
from core.http.observers.prometheus import PrometheusObserver
from core.http.testing import FakeClock
from tests.core.http.conftest import Metrics
from tests.core.http.engine.outage import NAMED, URL, answer, once, value
from tests.core.http.engine.world import GET, World


def growth() -> Metrics:
    """Return the growth of series from now on, with those of the configured upstreams."""
    assert process.current()
    return Metrics()


SERIES = [
    ("calls_total", {"outcome": "rejected", "reason": "breaker_open"}),
    ("calls_total", {"outcome": "rejected", "reason": "rate_limited"}),
    *(
        ("retries_suppressed_total", {"reason": reason})
        for reason in ("breaker_open", "budget_exhausted", "deadline", "not_idempotent")
    ),
    *(("breaker_transitions_total", {"state": state}) for state in ("closed", "open", "half_open")),
    *(("breaker_state", {"state": state}) for state in ("open", "half_open")),
    ("ratelimit_wait_seconds_total", {}),
]


def fresh(upstream: str) -> tuple[PrometheusObserver, CollectorRegistry]:
    metrics = CollectorRegistry()
    observer = PrometheusObserver(metrics, [])
    observer.prepare(upstream)
    return observer, metrics


@pytest.mark.parametrize("upstream", ["example", "other"])
def test_every_series_is_there_from_the_start(upstream: str) -> None:
    """All series exist from the start with 0, or with a full budget, so that their first event is counted."""
    _, metrics = fresh(upstream)
    for name, labels in SERIES:
        assert metrics.get_sample_value(f"outbound_http_{name}", {"upstream": upstream, **labels}) == 0, (name, labels)
    closed = metrics.get_sample_value("outbound_http_breaker_state", {"upstream": upstream, "state": "closed"})
    assert closed == (1 if upstream == "example" else 0)
    assert metrics.get_sample_value("outbound_http_retry_budget_remaining_ratio", {"upstream": upstream}) == 1


def test_gauges_are_combined_across_processes() -> None:
    """States are summed, the smallest budget is used, and the latest quota."""
    observer, _ = fresh("example")
    assert observer.families.breaker_state._multiprocess_mode == "livesum"
    assert observer.families.budget_remaining._multiprocess_mode == "livemin"
    families = observer.families
    for gauge in (families.ratelimit_limit, families.ratelimit_remaining, families.ratelimit_reset):
        assert gauge._multiprocess_mode == "mostrecent"


@override_settings(OUTBOUND_HTTP={"upstreams": {"numbers": {"hosts": ["example.org"]}}})
def test_an_outage_in_numbers(responses: responses_library.RequestsMock, clock: FakeClock) -> None:
    """The breaker's state and its transitions, from closed to open, half-open and closed again."""
    metrics = growth()

    def states() -> tuple[float, ...]:
        return tuple(metrics("breaker_state", upstream="numbers", state=s) for s in ("closed", "open", "half_open"))

    seen = []

    def probed(_: requests.PreparedRequest) -> tuple[int, dict[str, str], str]:
        seen.append(states())
        return 200, {}, ""

    responses.get(URL, status=503)
    for _ in range(3):
        http.get(URL)
    assert states() == (-1, 1, 0)
    with pytest.raises(CircuitOpen):
        http.get(URL)
    assert metrics("calls_total", upstream="numbers", outcome="rejected", reason="breaker_open") == 1
    assert metrics("retries_suppressed_total", upstream="numbers", reason="breaker_open") == 1
    clock.advance(15)
    responses.remove("GET", URL)
    responses.add_callback("GET", URL, probed)
    assert http.get(URL).status_code == 200
    assert seen == [(-1, 0, 1)]
    assert states() == (0, 0, 0)
    for state in ("closed", "open", "half_open"):
        assert metrics("breaker_transitions_total", upstream="numbers", state=state) == 1


def test_the_states_of_unnamed_hosts_are_counted_together(
    responses: responses_library.RequestsMock, clock: FakeClock
) -> None:
    """For `other`, each open breaker of a host is counted; the number of closed ones is not known."""
    metrics = growth()
    hosts = (URL, "https://example.net/")
    for url in hosts:
        responses.get(url, status=503)
        for _ in range(3):
            http.get(url)
    assert metrics("breaker_state", upstream="other", state="open") == 2
    clock.advance(15)
    for url in hosts:
        responses.replace("GET", url, status=200)
        http.get(url)
    for state in BreakerState:
        assert metrics("breaker_state", upstream="other", state=state.value) == 0


@override_settings(OUTBOUND_HTTP={"upstreams": {"several": {"hosts": ["example.org"]}}})
def test_no_state_is_negative_when_sessions_have_breakers_of_their_own(
    responses: responses_library.RequestsMock,
) -> None:
    """A session with a policy has a breaker of its own beside the process's: both may be open at once."""
    metrics = growth()
    responses.get(URL, status=503)
    with ResilientSession(Policy()) as session:
        for _ in range(3):
            http.get(URL)
            session.get(URL)
    assert metrics("breaker_state", upstream="several", state="open") >= 1
    assert metrics("breaker_state", upstream="several", state="closed") == -1  # from one to none


def test_a_host_that_is_forgotten_is_not_open_for_ever(
    responses: responses_library.RequestsMock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the least recently used host is dropped, its open breaker no longer counts, so the alert ends."""
    metrics = growth()
    monkeypatch.setattr(registry, "MOST_OTHER_HOSTS", 1)
    responses.get(URL, status=503)
    responses.get("https://example.net/", status=200)
    for _ in range(3):
        http.get(URL)
    assert metrics("breaker_state", upstream="other", state="open") == 1
    http.get("https://example.net/")
    assert metrics("breaker_state", upstream="other", state="open") == 0


@override_settings(
    OUTBOUND_HTTP={
        "default": {"circuit_breaker": None, "retry_budget": {"minimum": 4, "ratio": 0}},
        **NAMED,
    }
)
def test_a_used_up_budget_in_numbers(responses: responses_library.RequestsMock) -> None:
    """The ratio falls to 0, and each suppressed retry is counted."""
    metrics = growth()
    responses.get(URL, status=503)
    http.get(URL)
    assert value("retry_budget_remaining_ratio", upstream="example") == pytest.approx(0.25)
    http.get(URL)
    http.get(URL)
    assert value("retry_budget_remaining_ratio", upstream="example") == 0
    assert metrics("retries_suppressed_total", upstream="example", reason="budget_exhausted") == 2
    assert metrics("retries_total", upstream="example", reason="http_5xx") == 4


@override_settings(OUTBOUND_HTTP={"upstreams": {"hub": {"hosts": ["example.org"]}}})
def test_quotas_are_exported(responses: responses_library.RequestsMock) -> None:
    """The last known quota is exported; resources have GitHub's names, and all others are `other`."""
    reset = int(datetime.now(UTC).timestamp()) + 90
    for resource, remaining in (("core", "57"), ("search", "9"), ("x" * 20, "3"), ("core", "56")):
        headers = {
            "X-RateLimit-Limit": "60",
            "X-RateLimit-Remaining": remaining,
            "X-RateLimit-Reset": str(reset),
            "X-RateLimit-Resource": resource,
        }
        responses.get(URL, headers=headers)
    for _ in range(4):
        http.get(URL)
    for resource, remaining in (("core", 56), ("search", 9), ("other", 3)):
        assert value("ratelimit_limit", upstream="hub", partition="", resource=resource) == 60
        assert value("ratelimit_remaining", upstream="hub", partition="", resource=resource) == remaining
        said = value("ratelimit_reset_timestamp_seconds", upstream="hub", partition="", resource=resource)
        assert said == pytest.approx(reset, abs=1)
    assert value("ratelimit_limit", upstream="hub", resource="x" * 20) is None


def test_quotas_of_unnamed_hosts_are_not(responses: responses_library.RequestsMock) -> None:
    """Quotas of unnamed hosts are not exported, because one gauge for many hosts would show only the last."""
    responses.get(URL, headers={"X-RateLimit-Limit": "60", "X-RateLimit-Remaining": "5", "X-RateLimit-Reset": "10"})
    http.get(URL)
    for name in ("ratelimit_limit", "ratelimit_remaining", "ratelimit_reset_timestamp_seconds"):
        assert value(name, upstream="other", resource="other") is None


@override_settings(OUTBOUND_HTTP=NAMED)
def test_waiting_at_the_gate_in_numbers(responses: responses_library.RequestsMock, clock: FakeClock) -> None:
    """Seconds that a call waited at the gate, and the calls that were refused there."""
    metrics = growth()
    responses.get(URL, status=429, headers={"Retry-After": "90"})
    responses.get(URL, status=200)
    http.get(URL)
    with pytest.raises(RateLimited):
        http.get(URL)
    assert metrics("calls_total", upstream="example", outcome="rejected", reason="rate_limited") == 1
    assert metrics("retries_suppressed_total", upstream="example", reason="deadline") == 1
    assert metrics("ratelimit_wait_seconds_total", upstream="example") == 0
    clock.advance(60)
    http.get(URL)
    assert metrics("ratelimit_wait_seconds_total", upstream="example") == 30


def test_waiting_at_the_gate_in_pieces_is_counted_once() -> None:
    """If a driver waits in pieces, the reported waits add up to the time waited."""
    world = World()
    upstream = world.upstream
    once(upstream, answer(429, Retry_After="30"))
    call = Call(upstream, GET)
    for seconds in (10.0, 15.0, 5.0):
        assert isinstance(call.begin(), Wait)
        world.clock.advance(seconds)
    assert isinstance(call.begin(), Send)
    assert sum(event.seconds for event in world.events if isinstance(event, GateWaited)) == 30
