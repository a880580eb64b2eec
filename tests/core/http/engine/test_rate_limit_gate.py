"""The rate-limit gate: closed for as long as the upstream asks, an hour at most, then one probe."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from core.http.engine.mergeable_state import GateSnapshot
from core.http.engine.rate_limit_gate import MAX_CLOSED, Gate

HOUR = 3600.0


class Caller:
    """A caller that asks the gate."""


CALLER = Caller()


def closed_gate(seconds: float, now: float = 1000.0) -> Gate:
    gate = Gate()
    gate.close(now, seconds)
    return gate


# Open


def test_a_new_gate_is_open() -> None:
    """Given that nothing was asked for, when anybody comes, then all may pass."""
    gate = Gate()
    assert [gate.closed_for(now, CALLER) for now in (0.0, 1.0, 1e9)] == [0, 0, 0]


def test_an_answer_leaves_an_open_gate_open() -> None:
    """Given an open gate, when answers come and attempts are given back, then it stays open."""
    gate = Gate()
    gate.answered(5.0)
    gate.release(CALLER)
    assert [gate.closed_for(5.0, CALLER) for _ in range(3)] == [0, 0, 0]


def test_a_lost_probe_does_not_block_the_next() -> None:
    """Given a probe whose call was lost to an interrupt, when the next comes, then it is the probe."""
    gate, lost = closed_gate(2 * HOUR), Caller()
    assert gate.closed_for(1000 + HOUR, lost) == 0
    assert gate.closed_for(1000 + HOUR, CALLER) > 0
    del lost
    assert gate.closed_for(1000 + HOUR, CALLER) == 0


# Closed for an hour at most


@pytest.mark.parametrize("seconds", [0.5, 30, HOUR])
def test_it_closes_for_what_was_asked(seconds: float) -> None:
    """Given a closed gate, when its time is over, then all calls may pass, and none before."""
    gate = Gate()
    assert gate.close(1000.0, seconds) == 1000 + seconds
    assert gate.closed_for(1000.0, CALLER) == seconds
    assert gate.closed_for(1000 + seconds / 2, CALLER) == seconds / 2
    assert [gate.closed_for(1000 + seconds, CALLER) for _ in range(3)] == [0, 0, 0]


def test_a_longer_time_wins() -> None:
    """Given a gate that is closed for 30 s, when another answer asks for 60 s, then it is closed for 60 s."""
    gate = closed_gate(30)
    assert gate.close(1010.0, 60) == 1070
    assert gate.closed_for(1030.0, CALLER) == 40


def test_a_shorter_time_does_not() -> None:
    """Given a gate that is closed for 60 s, when another answer asks for 5 s, then it stays closed for 60 s."""
    gate = closed_gate(60)
    assert gate.close(1010.0, 5) == 1060
    assert gate.closed_for(1015.0, CALLER) == 45


def test_an_earlier_answer_does_not_open_it() -> None:
    """Given a closed gate, when an answer to an earlier request arrives, then it stays closed."""
    gate = closed_gate(60)
    gate.answered(1000.0)
    gate.answered(1059.0)
    gate.release(CALLER)
    assert gate.closed_for(1059.0, CALLER) == 1


# Closed for more than an hour


def test_more_than_an_hour_is_an_hour() -> None:
    """Given that two hours were asked for, when one is over, then one may pass, and the others wait."""
    gate = Gate()
    assert gate.close(1000.0, 2 * HOUR) == 1000 + HOUR
    assert gate.closed_for(1000 + HOUR - 1, CALLER) == 1
    assert gate.closed_for(1000 + HOUR, CALLER) == 0
    assert gate.closed_for(1000 + HOUR, CALLER) == HOUR
    assert gate.closed_for(1060 + HOUR, CALLER) == HOUR - 60


def test_the_answer_to_a_probe_opens_it_for_all() -> None:
    """Given a probe on its way, when it is answered, then all may pass, an hour early."""
    gate = closed_gate(2 * HOUR)
    gate.closed_for(1000 + HOUR, CALLER)
    gate.answered(1001 + HOUR)
    assert [gate.closed_for(1001 + HOUR, CALLER) for _ in range(3)] == [0, 0, 0]


def test_a_gate_that_a_probe_opened_keeps_no_reason() -> None:
    """Given a reason of the pause, when a probe is answered, then no other process hears of it any more."""
    gate = Gate()
    gate.close(1000.0, 2 * HOUR, why="is busy")
    gate.closed_for(1000 + HOUR, CALLER)
    gate.answered(1001 + HOUR)
    assert gate.snapshot == GateSnapshot(1001 + HOUR, 1001 + HOUR, 1001 + HOUR)


def test_a_probe_that_is_told_to_wait_closes_it_again() -> None:
    """Given a probe in flight, when its answer asks for 5 minutes, then no call passes for 5 minutes, and then one."""
    gate = closed_gate(2 * HOUR)
    gate.closed_for(1000 + HOUR, CALLER)
    gate.close(1000 + HOUR, 300)
    assert gate.closed_for(1000 + HOUR, CALLER) == 300
    assert gate.closed_for(1300 + HOUR, CALLER) == 0
    assert gate.closed_for(1300 + HOUR, CALLER) > 0


def test_a_cancelled_probe_allows_the_next() -> None:
    """Given a probe in flight, when it is cancelled, then one next call may pass."""
    gate = closed_gate(2 * HOUR)
    gate.closed_for(1000 + HOUR, CALLER)
    gate.release(CALLER)
    assert gate.closed_for(1000 + HOUR, CALLER) == 0
    assert gate.closed_for(1000 + HOUR, CALLER) > 0


def test_a_probe_of_which_nothing_is_heard_is_given_up() -> None:
    """Given a day, when a probe never answers, then another goes after an hour."""
    gate = closed_gate(24 * HOUR)
    assert gate.closed_for(1000 + HOUR, CALLER) == 0
    assert gate.closed_for(1000 + 2 * HOUR - 1, CALLER) == 1
    assert gate.closed_for(1000 + 2 * HOUR, CALLER) == 0
    assert gate.closed_for(1000 + 2 * HOUR, CALLER) == HOUR


def test_the_end_of_the_requested_time_opens_it() -> None:
    """Given a probe that never answers, when the requested time is over, then all calls may pass."""
    gate = closed_gate(1.5 * HOUR)
    assert gate.closed_for(1000 + HOUR, CALLER) == 0
    assert gate.closed_for(1000 + HOUR, CALLER) == HOUR / 2
    assert [gate.closed_for(1000 + 1.5 * HOUR, CALLER) for _ in range(3)] == [0, 0, 0]


def test_closing_wins_against_an_answer_at_the_same_moment() -> None:
    """Given a probe's answer, when another thread closes the gate just before it takes effect, then it is closed."""
    gate = closed_gate(2 * HOUR)
    gate.closed_for(1000 + HOUR, CALLER)
    now = 1001 + HOUR

    class Interrupted:
        """A lock before which, once, another thread is faster."""

        first: Callable[[], object] | None = staticmethod(lambda: gate.close(now, 60))

        def __enter__(self) -> None:
            faster, Interrupted.first = Interrupted.first, None
            if faster:
                faster()

        def __exit__(
            self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
        ) -> None:
            pass

    gate._lock = Interrupted()  # type: ignore[assignment]
    gate.answered(now)
    assert gate.closed_for(now, CALLER) == 60


# Any sequence of events


class GateMachine(RuleBasedStateMachine):
    """Upstreams that ask for anything, probes that are answered, cancelled or lost, at any time."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = Gate()
        self.now = 0.0
        self.closed_until = 0.0
        self.asked_until = 0.0
        self.probe_since: float | None = None

    @rule(seconds=st.floats(0, 100) | st.floats(0, 3 * HOUR))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(seconds=st.floats(0.001, 100) | st.floats(0.001, 24 * HOUR))
    def it_is_closed(self, seconds: float) -> None:
        before = self.closed_until
        until = self.gate.close(self.now, seconds)
        assert until >= before
        assert until <= max(before, self.now + MAX_CLOSED)
        self.closed_until = until
        self.asked_until = max(self.asked_until, self.now + seconds)
        self.probe_since = None

    @rule()
    def someone_comes(self) -> None:
        wait = self.gate.closed_for(self.now, CALLER)
        assert 0 <= wait <= MAX_CLOSED + 1e-6  # floats are rounded
        if self.now < self.closed_until:
            assert wait == self.closed_until - self.now
        elif self.now >= self.asked_until:
            assert wait == 0
        elif wait == 0:
            assert self.probe_since is None or self.now >= self.probe_since + HOUR, "two probes at once"
            self.probe_since = self.now
        else:
            assert self.probe_since is not None, "free, and nobody may go"

    @rule()
    def an_answer_from_before_comes(self) -> None:
        if self.now < self.closed_until:
            self.gate.answered(self.now)
            assert self.gate.closed_for(self.now, CALLER) == self.closed_until - self.now

    @precondition(lambda self: self.probe_since is not None)
    @rule()
    def the_probe_is_answered(self) -> None:
        self.gate.answered(self.now)
        self.closed_until = self.asked_until = min(self.asked_until, self.now)
        self.probe_since = None
        assert [self.gate.closed_for(self.now, CALLER) for _ in range(2)] == [0, 0]

    @precondition(lambda self: self.probe_since is not None)
    @rule()
    def the_probe_is_cancelled(self) -> None:
        self.gate.release(CALLER)
        self.probe_since = None

    @invariant()
    def it_never_closes_for_more_than_an_hour(self) -> None:
        assert self.gate._closed_until <= self.now + MAX_CLOSED
        assert self.gate._probe_until <= self.now + MAX_CLOSED


GateMachine.TestCase.settings = settings(max_examples=50, stateful_step_count=40, deadline=None)
TestGateMachine = GateMachine.TestCase


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(0, 1e6)), min_size=1, max_size=20))
def test_it_is_closed_for_the_longest_of_all(asked: list[tuple[float, float]]) -> None:
    """Many answers at once: the longest time counts, an hour at most."""
    gate, now, until = Gate(), 0.0, 0.0
    for passed, seconds in asked:
        now += passed
        until = max(until, now + min(seconds, HOUR))
        assert gate.close(now, seconds) == until


def test_threads_get_one_probe_between_them() -> None:
    """Given an hour that is over, when eight threads come again and again, then one of them passes, once."""
    for _ in range(20):
        gate = closed_gate(2 * HOUR)
        start = threading.Barrier(8)

        def work(_: int, gate: Gate = gate, start: threading.Barrier = start) -> int:
            start.wait()
            return sum(gate.closed_for(1000 + HOUR, CALLER) == 0 for _ in range(50))

        with ThreadPoolExecutor(8) as pool:
            assert sum(pool.map(work, range(8))) == 1
