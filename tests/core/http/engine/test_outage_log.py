"""The log lines of an outage."""

from __future__ import annotations

import logging

import pytest
import responses as responses_library
from django.test import override_settings

from core import http
from core.http import (
    CircuitOpen,
    RateLimited,
)
from core.http.testing import FakeClock
from tests.core.http.engine.outage import NAMED, URL


def lines(caplog: pytest.LogCaptureFixture, level: int) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == level and record.name == "core.http"]


@override_settings(OUTBOUND_HTTP=NAMED)
def test_an_outage_in_the_log(
    responses: responses_library.RequestsMock, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    """An opened breaker is a WARNING, a closed one an INFO, and each refused call a DEBUG line."""
    caplog.set_level(logging.DEBUG, "core.http")
    responses.get(URL, status=503)
    for _ in range(3):
        http.get(URL)
    warnings = lines(caplog, logging.WARNING)
    assert warnings[2] == "Breaker of upstream example (example.org) opens: nothing is sent for 15 s"
    assert warnings[3].endswith("not retried: breaker_open)")
    assert len(warnings) == 4
    caplog.clear()
    with pytest.raises(CircuitOpen):
        http.get(URL)
    assert lines(caplog, logging.DEBUG) == [
        "GET https://example.org/ rejected: breaker_open (upstream example, 0 attempts in 0.0 s: none)"
    ]
    assert (lines(caplog, logging.INFO), lines(caplog, logging.WARNING)) == ([], [])
    clock.advance(15)
    responses.replace("GET", URL, status=200)
    http.get(URL)
    assert lines(caplog, logging.INFO) == [
        "Breaker of upstream example (example.org) closes: the upstream answers again"
    ]
    assert lines(caplog, logging.WARNING) == []


@override_settings(OUTBOUND_HTTP={"default": {"retry_budget": {"minimum": 0, "ratio": 0}}, **NAMED})
def test_a_retry_that_the_budget_forbids_is_in_the_warning(
    responses: responses_library.RequestsMock, caplog: pytest.LogCaptureFixture
) -> None:
    """The one line about the failed call says that it was not retried, and why."""
    caplog.set_level(logging.DEBUG, "core.http")
    responses.get(URL, status=503)
    http.get(URL)
    (warning,) = lines(caplog, logging.WARNING)
    assert warning.endswith("1 attempt in 0.0 s: 503 in 0.0 s, not retried: budget_exhausted)")


@override_settings(OUTBOUND_HTTP=NAMED)
def test_a_call_refused_at_the_gate_is_a_debug_line(
    responses: responses_library.RequestsMock, caplog: pytest.LogCaptureFixture
) -> None:
    """A 429 is one WARNING; calls that the gate refuses are DEBUG lines."""
    responses.get(URL, status=429, headers={"Retry-After": "300"})
    http.get(URL)
    caplog.clear()
    caplog.set_level(logging.DEBUG, "core.http")
    with pytest.raises(RateLimited):
        http.get(URL)
    assert lines(caplog, logging.DEBUG) == [
        "GET https://example.org/ rejected: rate_limited (upstream example, 0 attempts in 0.0 s: none)"
    ]
    assert lines(caplog, logging.WARNING) == []
