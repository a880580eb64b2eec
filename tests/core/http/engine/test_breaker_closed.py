"""A closed circuit breaker: what makes it open."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from core.http.engine.attempt_health import Health
from core.http.engine.circuit_breaker import Breaker, Permit
from core.http.events import BreakerState
from core.http.policy import CircuitBreaker
from tests.core.http.engine.breaker_states import FAILURE, NEITHER, SUCCESS, a_closed_one


def test_closed_lets_everyone_through() -> None:
    """Given a closed breaker, when many ask at once, then each gets leave."""
    patient = a_closed_one()
    assert [patient.refuses() for _ in range(100)] == [False] * 100


def test_closed_probe_at_the_tenth_failure_in_a_row() -> None:
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


def test_closed_takes_no_notice_of_what_says_nothing() -> None:
    """Given nine failures, when attempts come to neither, then they do not end the row, and count for nothing."""
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
    """Given that three of four attempts fail, when that goes on for ten minutes, then it stays closed."""
    patient = a_closed_one()
    for number in range(600):
        patient.attempt(SUCCESS if number % 4 == 0 else FAILURE)
        patient.clock.advance(1)
    assert patient.state is BreakerState.CLOSED


def test_closed_forgets_what_is_older_than_its_window() -> None:
    """Given 15 failures of 18, when half a minute passes, then they no longer weigh on the next two."""
    patient = a_closed_one()
    for _ in range(3):
        patient.attempt(SUCCESS)
        patient.attempt(FAILURE, 5)
    patient.clock.advance(32)
    assert patient.attempt(FAILURE, 9) is None
    patient.attempt(SUCCESS)
    assert patient.attempt(FAILURE, 9) is None


def test_closed_does_not_open_for_missing_pages() -> None:
    """Given 99 answers of 100 that are successes (404s are), when that goes on for 10,000, then it never opens."""
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
    """Given other settings, when two of two attempts fail, then it opens for the time that they say."""
    patient = a_closed_one(CircuitBreaker(failures_in_a_row=2, window=5, open_for=1, open_max=2))
    assert patient.attempt(FAILURE, 2) is BreakerState.OPEN
    patient.clock.advance(0.75)
    assert patient.refuses()
    patient.clock.advance(0.25)
    assert patient.permit()


def test_closed_hears_only_permits_that_it_gave() -> None:
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


class BreakerMachine(RuleBasedStateMachine):
    """Attempts that begin, end, are cancelled, are lost or come late, in any order and at any time."""

    def __init__(self) -> None:
        super().__init__()
        self.settings = CircuitBreaker(
            failures_in_a_row=3, minimum_attempts=4, window=10, open_for=5, open_max=40, failure_rate=0.6
        )
        self.breaker = Breaker(self.settings)
        self.now = 0.0
        self.out: list[tuple[Permit, BreakerState]] = []
        self.probe: Permit | None = None
        self.probe_since = 0.0
        self.earliest = 0.0
        self.open_for = self.settings.open_for

    @rule(seconds=st.floats(0, 60))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def someone_asks(self) -> None:
        before = self.breaker.state
        permit = self.breaker.acquire(self.now, 10.0)
        if before is BreakerState.CLOSED:
            assert permit is not None
        elif permit is None:
            assert self.now < self.earliest or self.probe is not None, "free, and nobody may go"
        else:
            assert self.now >= self.earliest, "let through before its time"
            if self.probe is not None:
                assert self.now >= self.probe_since + self.settings.open_max, "two probes at once"
            self.probe, self.probe_since = permit, self.now
        if permit is not None:
            self.out.append((permit, self.breaker.state))

    @precondition(lambda self: self.out)
    @rule(data=st.data(), verdict=st.sampled_from(Health))
    def an_answer_comes(self, data: st.DataObject, verdict: Health) -> None:
        permit, given_in = self.out.pop(data.draw(st.integers(0, len(self.out) - 1)))
        before, probe_at, is_probe = self.breaker.state, self.breaker.probe_at, permit is self.probe
        state = self.breaker.record(permit, verdict, self.now)
        if state is None:
            assert (self.breaker.state, self.breaker.probe_at) == (before, probe_at)
        else:
            assert state is self.breaker.state is not before
            assert given_in is before, "an answer from before has changed the state"
        if before is BreakerState.HALF_OPEN:
            assert (state is not None) == (is_probe and verdict is not NEITHER)
        if is_probe:
            self.probe = None
        if state is BreakerState.OPEN:
            self.open_for = min(self.open_for * 2, 40) if before is BreakerState.HALF_OPEN else self.settings.open_for
            # a failed probe's cool-down counts from its beginning: the upstream may have healed at any time since
            self.earliest = (self.probe_since if before is BreakerState.HALF_OPEN else self.now) + self.open_for
        if state is BreakerState.CLOSED:
            assert before is BreakerState.HALF_OPEN
            assert is_probe
            assert verdict is SUCCESS

    @precondition(lambda self: self.out)
    @rule(data=st.data())
    def an_attempt_is_cancelled(self, data: st.DataObject) -> None:
        permit, _ = self.out.pop(data.draw(st.integers(0, len(self.out) - 1)))
        before = self.breaker.state
        self.breaker.release(permit)
        assert self.breaker.state is before
        if permit is self.probe:
            self.probe = None

    @precondition(lambda self: self.out)
    @rule(data=st.data())
    def an_attempt_is_never_heard_of_again(self, data: st.DataObject) -> None:
        self.out.pop(data.draw(st.integers(0, len(self.out) - 1)))

    @invariant()
    def counts_make_sense(self) -> None:
        for window in (self.breaker._attempts, self.breaker._failures):
            window.advance(self.now)  # what is too old is forgotten when somebody counts
            assert min(window._buckets) >= 0
        assert 0 <= self.breaker._failures.total <= self.breaker._attempts.total
        assert self.breaker._in_a_row <= self.settings.failures_in_a_row

    @invariant()
    def it_is_half_open_while_a_probe_is_out(self) -> None:
        if self.probe is not None:
            assert self.breaker.state is BreakerState.HALF_OPEN
