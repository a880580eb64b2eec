"""A half-open circuit breaker: one probe at a time decides."""

from __future__ import annotations

import pytest

from core.http.engine.attempt_health import Health
from core.http.engine.circuit_breaker import Permit
from core.http.events import BreakerState
from tests.core.http.engine.breaker_states import FAILURE, NEITHER, SUCCESS, Patient, a_closed_one, an_open_one


def a_half_open_one() -> tuple[Patient, Permit]:
    """Return a half-open breaker whose probe is in flight."""
    patient = an_open_one()
    patient.clock.advance(15)
    return patient, patient.permit()


def test_half_open_lets_one_probe_through() -> None:
    """Given a probe in flight, when other calls ask, then they are refused."""
    patient, _ = a_half_open_one()
    assert [patient.refuses() for _ in range(100)] == [True] * 100


def test_half_open_closes_with_a_success() -> None:
    """Given a probe in flight, when it succeeds, then all calls are allowed again."""
    patient, probe = a_half_open_one()
    assert patient.report(probe, SUCCESS) is BreakerState.CLOSED
    assert [patient.refuses() for _ in range(100)] == [False] * 100


def test_half_open_closes_and_resets_the_count() -> None:
    """Given a breaker that closed again, when nine attempts fail, then failures from before the outage do not count."""
    patient, probe = a_half_open_one()
    patient.report(probe, SUCCESS)
    assert patient.attempt(FAILURE, 9) is None
    assert patient.attempt(FAILURE) is BreakerState.OPEN


def test_half_open_opens_again_with_a_failure() -> None:
    """Given a probe in flight, when it fails, then the breaker is open for twice as long."""
    patient, probe = a_half_open_one()
    assert patient.report(probe, FAILURE) is BreakerState.OPEN
    patient.clock.advance(29.9)
    assert patient.refuses()
    patient.clock.advance(0.2)
    assert patient.permit()


def test_half_open_doubles_up_to_five_minutes() -> None:
    """Given an open breaker, when every probe fails, then the times are 15, 30, … and 300 s at most."""
    patient = an_open_one()
    times = []
    for _ in range(7):
        times.append(patient.breaker.probe_at - patient.clock.now)
        patient.clock.now = patient.breaker.probe_at
        assert patient.attempt(FAILURE) is BreakerState.OPEN
    assert times == [15, 30, 60, 120, 240, 300, 300]


def test_half_open_begins_with_15_seconds_again_after_a_success() -> None:
    """Given times that had doubled, when a probe succeeds, then the next outage begins with 15 s."""
    patient = an_open_one()
    for _ in range(3):
        patient.clock.now = patient.breaker.probe_at
        patient.attempt(FAILURE)
    patient.clock.now = patient.breaker.probe_at
    assert patient.attempt(SUCCESS) is BreakerState.CLOSED
    patient.attempt(FAILURE, 10)
    assert patient.breaker.probe_at - patient.clock.now == 15


def test_half_open_allows_another_probe_after_a_cancelled_one() -> None:
    """Given a probe in flight, when it is cancelled, then the next call is the probe, without delay."""
    patient, probe = a_half_open_one()
    patient.breaker.release(probe)
    assert patient.state is BreakerState.HALF_OPEN
    next_one = patient.permit()
    assert next_one != probe
    assert patient.refuses()


def test_half_open_allows_another_probe_after_an_interrupt() -> None:
    """Given a probe in flight, when an interrupt discards its call, then the next call is the probe."""
    patient, probe = a_half_open_one()
    assert patient.refuses()
    del probe
    assert not patient.refuses()


def test_half_open_allows_another_probe_after_one_without_a_result() -> None:
    """Given a probe in flight, when it ends without a result, then the next call is the probe."""
    patient, probe = a_half_open_one()
    assert patient.report(probe, NEITHER) is None
    assert patient.state is BreakerState.HALF_OPEN
    assert patient.attempt(SUCCESS) is BreakerState.CLOSED


def test_half_open_drops_a_probe_without_an_answer() -> None:
    """Given a probe whose thread was killed, when five minutes have passed, then another probe is allowed."""
    patient, lost = a_half_open_one()
    patient.clock.advance(299)
    assert patient.refuses()
    patient.clock.advance(1)
    found = patient.permit()
    assert found != lost
    assert patient.refuses()


@pytest.mark.parametrize("verdict", list(Health))
def test_half_open_ignores_a_dropped_probe(verdict: Health) -> None:
    """Given a second probe, when the first one answers after all, then only the second decides."""
    patient, lost = a_half_open_one()
    patient.clock.advance(300)
    second = patient.permit()
    assert patient.report(lost, verdict) is None
    patient.breaker.release(lost)
    assert patient.state is BreakerState.HALF_OPEN
    assert patient.refuses()
    assert patient.report(second, SUCCESS) is BreakerState.CLOSED


@pytest.mark.parametrize("verdict", list(Health))
def test_half_open_ignores_attempts_from_before(verdict: Health) -> None:
    """Given attempts sent while it was closed, when they answer, then the probe alone decides."""
    patient = a_closed_one()
    late = patient.permit()
    patient.attempt(FAILURE, 10)
    patient.clock.advance(15)
    probe = patient.permit()
    assert patient.report(late, verdict) is None
    patient.breaker.release(late)
    assert patient.state is BreakerState.HALF_OPEN
    assert patient.refuses()
    assert patient.report(probe, FAILURE) is BreakerState.OPEN
