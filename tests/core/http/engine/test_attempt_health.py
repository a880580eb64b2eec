"""How the circuit breaker counts an attempt: as a success, as a failure or not at all."""

from __future__ import annotations

import http.client as http_client
import socket
import ssl
from dataclasses import replace

import pytest
import requests

from core.http import Policy
from core.http.engine.attempt_health import Health, health_of
from core.http.engine.upstream import Upstream
from core.http.errors import BlockedAddress, ResponseTooLarge
from core.http.events import (
    BreakerChanged,
    BreakerState,
)
from core.http.outcome import Outcome, Reason, failed
from core.http.testing import FakeClock
from core.http.wire.error_outcomes import diagnose
from tests.core.http.engine.call_helpers import SILENT
from tests.core.http.engine.outage import answer, once
from tests.core.http.engine.world import GONE, OK, World

GITHUB_EXHAUSTED = {"X_RateLimit_Limit": "60", "X_RateLimit_Remaining": "0", "X_RateLimit_Reset": "120"}
CERTIFICATE = requests.exceptions.SSLError(ssl.SSLCertVerificationError(1, "certificate verify failed"))
NO_SUCH_NAME = requests.ConnectionError(socket.gaierror(socket.EAI_NONAME, "no such name"))
NAMES_FAIL = requests.ConnectionError(socket.gaierror(socket.EAI_AGAIN, "try again"))


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [
        *((answer(status), Health.SUCCESS) for status in (200, 204, 301, 304, 400, 401, 403, 404, 405, 410, 422, 451)),
        *((answer(status), Health.FAILURE) for status in (408, 500, 501, 502, 503, 504, 599)),
        *((answer(status), Health.NEITHER) for status in (425, 429)),
        (answer(999), Health.SUCCESS),  # some servers' own; an answer, and no 5xx
        (answer(429, Retry_After="5"), Health.NEITHER),
        (answer(403, Retry_After="5"), Health.NEITHER),
        (answer(403, **GITHUB_EXHAUSTED), Health.NEITHER),
        (answer(403, X_RateLimit_Limit="60", X_RateLimit_Remaining="5"), Health.SUCCESS),
        (answer(503, Retry_After="5"), Health.FAILURE),
        (diagnose(requests.ConnectionError()), Health.FAILURE),
        (diagnose(requests.ConnectionError(http_client.BadStatusLine("SSH-2.0"))), Health.FAILURE),
        (diagnose(requests.ConnectTimeout()), Health.FAILURE),
        (diagnose(requests.ReadTimeout()), Health.FAILURE),
        (diagnose(requests.exceptions.ChunkedEncodingError()), Health.FAILURE),
        (diagnose(requests.exceptions.ProxyError()), Health.FAILURE),
        (diagnose(CERTIFICATE), Health.FAILURE),
        (diagnose(NAMES_FAIL), Health.FAILURE),
        (diagnose(NO_SUCH_NAME), Health.FAILURE),
        (diagnose(BlockedAddress()), Health.NEITHER),
        (diagnose(ResponseTooLarge()), Health.NEITHER),
        (diagnose(requests.exceptions.InvalidURL()), Health.NEITHER),
        (failed(Reason.OTHER, "garbage", transient=False), Health.FAILURE),
        (replace(SILENT, stale=True), Health.NEITHER),
    ],
    ids=lambda value: f"{value.status or value.detail}-{value.reason}" if isinstance(value, Outcome) else None,
)
def test_how_the_breaker_counts_an_attempt(outcome: Outcome, expected: Health) -> None:
    """Answers count as successes; 408, 5xx and transport errors as failures; refused calls do not count."""
    assert health_of(outcome, any_host=False) is expected


def test_a_name_that_does_not_exist_is_no_outage() -> None:
    """For hosts without a configured upstream, an unknown name does not count, but a failing resolver does."""
    assert health_of(diagnose(NO_SUCH_NAME), any_host=True) is Health.NEITHER
    assert health_of(diagnose(NAMES_FAIL), any_host=True) is Health.FAILURE
    assert health_of(answer(503), any_host=True) is Health.FAILURE
    assert health_of(answer(404), any_host=True) is Health.SUCCESS


@pytest.mark.parametrize(("name", "state"), [("other", BreakerState.CLOSED), ("named", BreakerState.OPEN)])
def test_names_that_do_not_exist_open_the_breaker_of_a_named_upstream_only(name: str, state: BreakerState) -> None:
    """Whether the configuration names the upstream is known by its name."""
    upstream = Upstream(name, Policy(), clock=FakeClock(), random=lambda: 0.0, observe=lambda _: None)
    for _ in range(10):
        once(upstream, diagnose(NO_SUCH_NAME))
    assert upstream.breaker is not None
    assert upstream.breaker.state is state


@pytest.mark.parametrize("outcome", [OK, GONE, answer(429), answer(425), diagnose(BlockedAddress())])
def test_outcomes_that_are_no_failures_never_open_the_breaker(outcome: Outcome) -> None:
    """After 100 such outcomes, the breaker is still closed."""
    world = World()
    upstream = world.upstream
    for _ in range(100):
        once(upstream, outcome)
    assert world.seen(BreakerChanged) == []
