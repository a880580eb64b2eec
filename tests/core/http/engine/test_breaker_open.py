"""An open circuit breaker: it refuses calls until its time is over."""

from __future__ import annotations

import pytest

from core.http.engine.attempt_health import Health
from core.http.events import BreakerState
from tests.core.http.engine.breaker_states import FAILURE, a_closed_one, an_open_one


def test_open_refuses_all_calls_for_15_seconds() -> None:
    """Given an open breaker, when a call asks before its 15 s are over, then it is refused."""
    patient = an_open_one()
    assert patient.refuses()
    patient.clock.advance(14.999)
    assert patient.refuses()
    assert patient.state is BreakerState.OPEN


def test_open_returns_the_remaining_time() -> None:
    """Given an open breaker, when asked how long to wait, then it returns the remaining time, at least one second."""
    patient = an_open_one()
    assert patient.breaker.retry_in(patient.clock.now) == 15
    patient.clock.advance(10)
    assert patient.breaker.retry_in(patient.clock.now) == 5
    patient.clock.advance(100)
    assert patient.breaker.retry_in(patient.clock.now) == 1


@pytest.mark.parametrize("verdict", list(Health))
def test_open_is_not_moved_by_late_answers(verdict: Health) -> None:
    """Given attempts sent before it opened, when their answers arrive, then neither state nor time changes."""
    patient = a_closed_one()
    late = [patient.permit() for _ in range(30)]
    patient.attempt(FAILURE, 10)
    probe_at = patient.breaker.probe_at
    patient.clock.advance(10)
    assert [patient.report(permit, verdict) for permit in late] == [None] * 30
    assert (patient.state, patient.breaker.probe_at) == (BreakerState.OPEN, probe_at)


def test_open_is_not_moved_by_late_releases() -> None:
    """Given an attempt sent before it opened, when it is cancelled, then the state of the breaker does not change."""
    patient = a_closed_one()
    late = patient.permit()
    patient.attempt(FAILURE, 10)
    patient.breaker.release(late)
    assert patient.refuses()


def test_open_becomes_half_open_with_the_first_call_after_its_time() -> None:
    """Given an open breaker, when its time is over, then it stays open until the next call, which is the probe."""
    patient = an_open_one()
    patient.clock.advance(1000)
    assert patient.state is BreakerState.OPEN
    assert patient.permit()
    assert patient.state is BreakerState.HALF_OPEN
