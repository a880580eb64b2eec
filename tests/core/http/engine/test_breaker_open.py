"""An open circuit breaker: who is refused, and until when."""

from __future__ import annotations

import pytest

from core.http.engine.attempt_health import Health
from core.http.events import BreakerState
from tests.core.http.engine.breaker_states import FAILURE, a_closed_one, an_open_one


def test_open_lets_nobody_through_for_15_seconds() -> None:
    """Given an open breaker, when anybody asks before its 15 s are over, then the answer is no."""
    patient = an_open_one()
    assert patient.refuses()
    patient.clock.advance(14.999)
    assert patient.refuses()
    assert patient.state is BreakerState.OPEN


def test_open_says_when_to_ask_again() -> None:
    """Given an open breaker, when asked how long to wait, then it says what is left, and at least a second."""
    patient = an_open_one()
    assert patient.breaker.retry_in(patient.clock.now) == 15
    patient.clock.advance(10)
    assert patient.breaker.retry_in(patient.clock.now) == 5
    patient.clock.advance(100)
    assert patient.breaker.retry_in(patient.clock.now) == 1


@pytest.mark.parametrize("verdict", list(Health))
def test_open_is_not_moved_by_late_answers(verdict: Health) -> None:
    """Given answers to what was sent before it opened, when they come in, then neither state nor time changes."""
    patient = a_closed_one()
    late = [patient.permit() for _ in range(30)]
    patient.attempt(FAILURE, 10)
    probe_at = patient.breaker.probe_at
    patient.clock.advance(10)
    assert [patient.report(permit, verdict) for permit in late] == [None] * 30
    assert (patient.state, patient.breaker.probe_at) == (BreakerState.OPEN, probe_at)


def test_open_is_not_moved_by_late_releases() -> None:
    """Given an attempt from before, when it is cancelled, then the breaker stays as open as it was."""
    patient = a_closed_one()
    late = patient.permit()
    patient.attempt(FAILURE, 10)
    patient.breaker.release(late)
    assert patient.refuses()


def test_open_becomes_half_open_with_the_first_who_asks_in_time() -> None:
    """Given an open breaker, when its time is up, then it stays open until someone asks, who gets the probe."""
    patient = an_open_one()
    patient.clock.advance(1000)
    assert patient.state is BreakerState.OPEN
    assert patient.permit()
    assert patient.state is BreakerState.HALF_OPEN
