"""A closed circuit breaker, and the failures that open it."""

from __future__ import annotations

import pytest

from core.http.events import BreakerState
from core.http.policy import CircuitBreaker
from tests.core.http.engine.breaker_states import FAILURE, NEITHER, SUCCESS, a_closed_one


def test_closed_allows_all_calls() -> None:
    """Given a closed breaker, when many calls ask at once, then each is allowed."""
    patient = a_closed_one()
    assert [patient.refuses() for _ in range(100)] == [False] * 100


def test_closed_opens_at_the_tenth_failure_in_a_row() -> None:
    """Given a closed breaker, when nine attempts fail it stays closed, and at the tenth it opens."""
    patient = a_closed_one()
    assert patient.attempt(FAILURE, 9) is None
    assert patient.state is BreakerState.CLOSED
    assert patient.attempt(FAILURE) is BreakerState.OPEN
    assert patient.state is BreakerState.OPEN


def test_closed_counts_slow_failures_of_one_thread() -> None:
    """Given failures 29 s apart, when the tenth comes, then it opens: attempts of 10 s and backoff take minutes."""
    patient = a_closed_one()
    for _ in range(9):
        assert patient.attempt(FAILURE) is None
        patient.clock.advance(29)
    assert patient.attempt(FAILURE) is BreakerState.OPEN


@pytest.mark.parametrize(("pause", "opened"), [(30, BreakerState.OPEN), (30.5, None)])
def test_closed_begins_a_row_anew_after_a_pause(pause: float, opened: BreakerState | None) -> None:
    """Given nine failures, when the tenth comes more than 30 s after the ninth, then it is the first of a row."""
    patient = a_closed_one()
    patient.attempt(FAILURE, 9)
    patient.clock.advance(pause)
    assert patient.attempt(FAILURE) is opened
    if opened is None:
        assert patient.attempt(FAILURE, 8) is None
        assert patient.attempt(FAILURE) is BreakerState.OPEN


def test_closed_begins_a_row_anew_after_a_success() -> None:
    """Given nine failures, when a success comes between, then nine more do not open it, and a tenth does."""
    patient = a_closed_one()
    patient.attempt(FAILURE, 9)
    patient.attempt(SUCCESS)
    patient.attempt(SUCCESS, 10)  # or the rate would be too much already
    assert patient.attempt(FAILURE, 9) is None
    assert patient.attempt(FAILURE) is BreakerState.OPEN


def test_closed_ignores_attempts_without_a_result() -> None:
    """Given nine failures, when attempts end without a result, then they neither count nor end the row of failures."""
    patient = a_closed_one()
    patient.attempt(FAILURE, 9)
    assert patient.attempt(NEITHER, 1000) is None
    assert patient.attempt(FAILURE) is BreakerState.OPEN


def test_closed_opens_when_four_fifths_of_twenty_fail() -> None:
    """Given a success after every four failures, when the twentieth attempt fails, then it opens."""
    patient = a_closed_one()
    for _ in range(3):
        assert patient.attempt(SUCCESS) is None
        assert patient.attempt(FAILURE, 4) is None
    assert patient.attempt(SUCCESS) is None
    assert patient.attempt(FAILURE, 3) is None
    assert patient.attempt(FAILURE) is BreakerState.OPEN


def test_closed_needs_twenty_attempts_for_a_rate() -> None:
    """Given 16 failures of 19, when they are not in a row, then it stays closed: 19 are too few to judge."""
    patient = a_closed_one()
    for failures in (8, 8):
        patient.attempt(SUCCESS)
        assert patient.attempt(FAILURE, failures) is None
    patient.attempt(SUCCESS)
    assert patient.state is BreakerState.CLOSED


def test_closed_stays_so_in_a_brown_out() -> None:
    """Given three failures in four attempts, when this continues for ten minutes, then it stays closed."""
    patient = a_closed_one()
    for number in range(600):
        patient.attempt(SUCCESS if number % 4 == 0 else FAILURE)
        patient.clock.advance(1)
    assert patient.state is BreakerState.CLOSED


def test_closed_forgets_what_is_older_than_its_window() -> None:
    """Given 15 failures in 18 attempts, when half a minute passes, then they no longer count with the next two."""
    patient = a_closed_one()
    for _ in range(3):
        patient.attempt(SUCCESS)
        patient.attempt(FAILURE, 5)
    patient.clock.advance(32)
    assert patient.attempt(FAILURE, 9) is None
    patient.attempt(SUCCESS)
    assert patient.attempt(FAILURE, 9) is None


def test_closed_does_not_open_for_missing_pages() -> None:
    """Given 99 successes in 100 answers (a 404 is one), when 10,000 follow, then it never opens."""
    patient = a_closed_one()
    for number in range(10_000):
        patient.attempt(FAILURE if number % 100 == 0 else SUCCESS)
        patient.clock.advance(0.01)
    assert patient.state is BreakerState.CLOSED


def test_closed_takes_back_a_permit_without_counting() -> None:
    """Given nine failures, when permits are released, then nothing has changed."""
    patient = a_closed_one()
    patient.attempt(FAILURE, 9)
    for _ in range(100):
        patient.breaker.release(patient.permit())
    assert patient.state is BreakerState.CLOSED
    assert patient.attempt(FAILURE) is BreakerState.OPEN


def test_closed_opens_by_the_settings_given() -> None:
    """Given other settings, when two of two attempts fail, then it opens for the configured time."""
    patient = a_closed_one(CircuitBreaker(failures_in_a_row=2, window=5, open_for=1, open_max=2))
    assert patient.attempt(FAILURE, 2) is BreakerState.OPEN
    patient.clock.advance(0.75)
    assert patient.refuses()
    patient.clock.advance(0.25)
    assert patient.permit()


def test_closed_ignores_permits_from_before_it_opened() -> None:
    """Given a breaker that has opened and closed since, when ten old attempts fail, then it stays closed."""
    patient = a_closed_one()
    old = [patient.permit() for _ in range(10)]
    patient.attempt(FAILURE, 10)
    patient.clock.advance(15)
    assert patient.attempt(SUCCESS) is BreakerState.CLOSED
    assert [patient.report(permit, FAILURE) for permit in old] == [None] * 10
    assert patient.state is BreakerState.CLOSED
    assert patient.attempt(FAILURE, 9) is None
    assert patient.attempt(FAILURE) is BreakerState.OPEN
