"""The invariants of a circuit breaker hold after any sequence of events."""

from __future__ import annotations

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from core.http.engine.attempt_health import Health
from core.http.engine.circuit_breaker import Breaker, Permit
from core.http.events import BreakerState
from core.http.policy import CircuitBreaker
from tests.core.http.engine.breaker_states import FAILURE, NEITHER, SUCCESS, a_closed_one


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
            window.advance(self.now)  # entries that are too old are dropped at the next count
            assert min(window._buckets) >= 0
        assert 0 <= self.breaker._failures.total <= self.breaker._attempts.total
        assert self.breaker._in_a_row <= self.settings.failures_in_a_row

    @invariant()
    def it_is_half_open_while_a_probe_is_out(self) -> None:
        if self.probe is not None:
            assert self.breaker.state is BreakerState.HALF_OPEN


BreakerMachine.TestCase.settings = settings(max_examples=50, stateful_step_count=50, deadline=None)
TestBreakerMachine = BreakerMachine.TestCase


@given(
    verdicts=st.lists(st.tuples(st.sampled_from([SUCCESS, FAILURE, NEITHER]), st.floats(0, 5)), max_size=80),
    row=st.integers(1, 12),
    minimum=st.integers(1, 25),
)
def test_a_closed_breaker_opens_when_and_only_when_it_should(
    verdicts: list[tuple[Health, float]], row: int, minimum: int
) -> None:
    """The breaker opens exactly when a model that keeps all results opens."""
    patient = a_closed_one(CircuitBreaker(failures_in_a_row=row, minimum_attempts=minimum))
    heard: list[tuple[float, Health]] = []
    for verdict, passed in verdicts:
        patient.clock.advance(passed)
        now = patient.clock.now
        opened = patient.attempt(verdict) is BreakerState.OPEN
        if verdict is not NEITHER:
            heard.append((now, verdict))
        recent = [v for time, v in heard if int(now) - int(time) <= 30]
        failures = recent.count(FAILURE)
        last = heard[-row:]
        close = all(later - earlier <= 30 for (earlier, _), (later, _) in itertools.pairwise(last))
        in_a_row = len(last) == row and all(v is FAILURE for _, v in last) and close
        too_often = len(recent) >= minimum and failures >= 0.8 * len(recent)
        assert opened == (verdict is FAILURE and (in_a_row or too_often))
        if opened:
            break
