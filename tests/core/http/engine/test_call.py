"""The decisions of a call, as arithmetic, and the same decisions behind two drivers."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from core.http import CircuitBreaker, CircuitOpen, DeadlineExceeded, Policy, RateLimited, RetryBudget
from core.http.engine.call import Call
from core.http.engine.steps import Send, Stop
from core.http.events import (
    BackoffSource,
    BreakerChanged,
    RetryScheduled,
    RetrySuppressed,
    Suppression,
)
from core.http.outcome import Outcome, Reason, Result
from tests.core.http.engine.call_helpers import SILENT, answer, sends
from tests.core.http.engine.world import BUSY, GET, GONE, OK, POST, UNSENT, World


def test_a_success_is_one_attempt() -> None:
    """A call that is answered well is sent once and waits for nothing."""
    world = World()
    assert world.play(Call(world.upstream, GET), OK) == 1
    assert world.clock.waits == []
    assert (world.ended.result, world.ended.reason, len(world.ended.attempts)) == (Result.SUCCESS, None, 1)


def test_a_transient_failure_is_tried_again_after_1_2_and_4_seconds() -> None:
    """By default there are four attempts, 1, 2 and 4 s apart."""
    world = World()
    assert world.play(Call(world.upstream, GET), BUSY, BUSY, BUSY, BUSY) == 4
    assert world.clock.waits == [1, 2, 4]
    assert (world.ended.result, world.ended.reason, world.ended.seconds) == (Result.FAILURE, Reason.HTTP_5XX, 7)


def test_retries_end_with_the_first_answer() -> None:
    """A success after failures ends the call, with the history of what came before."""
    world = World()
    assert world.play(Call(world.upstream, GET), BUSY, UNSENT, OK, seconds=0.5) == 3
    assert [(a.outcome, a.seconds, a.waited) for a in world.ended.attempts] == [
        (BUSY, 0.5, 0),
        (UNSENT, 0.5, 1),
        (OK, 0.5, 2),
    ]


STALE = replace(SILENT, stale=True)


def test_a_stale_connection_is_replaced_at_once() -> None:
    """The retry goes out without a delay, on a new connection, once per call; it is one of the three."""
    world = World()
    made = sends(Call(world.upstream, GET), world, STALE, replace(STALE), BUSY, BUSY)
    assert [send.fresh for send in made] == [False, True, False, False]
    assert world.clock.waits == [1, 2]
    assert [(event.delay, event.source) for event in world.seen(RetryScheduled)] == [
        (delay, BackoffSource.COMPUTED) for delay in (0, 1, 2)
    ]


def test_a_stale_connection_costs_the_budget() -> None:
    """A server that hangs looks like stale connections: what is sent again stays within the budget."""
    world = World(Policy(retry_budget=RetryBudget(minimum=0)))
    sends(Call(world.upstream, GET), world, STALE)
    assert world.seen(RetrySuppressed) == [RetrySuppressed("example", GET, Suppression.BUDGET_EXHAUSTED)]


def test_a_stale_connection_repeats_no_post() -> None:
    """The request may have arrived, though nothing came back."""
    world = World()
    sends(Call(world.upstream, POST), world, STALE)
    assert world.seen(RetrySuppressed) == [RetrySuppressed("example", POST, Suppression.NOT_IDEMPOTENT)]


def test_stale_connections_open_no_breaker() -> None:
    """Twelve threads after a pause, each with a connection that a NAT has forgotten: the server is well."""
    world = World(Policy(retries=0))
    upstream = world.upstream
    for _ in range(12):
        sends(Call(upstream, GET), world, STALE)
    assert world.seen(BreakerChanged) == []


class LimitsMachine(RuleBasedStateMachine):
    """Calls that begin, end, are retried or cancelled, while the upstream fails, heals and asks for time."""

    LIMIT = 2

    def __init__(self) -> None:
        super().__init__()
        self.world = World(
            Policy(
                max_concurrency=self.LIMIT,
                requests_per_second=2,
                circuit_breaker=CircuitBreaker(failures_in_a_row=3),
            )
        )
        self.upstream = self.world.upstream
        self.calls: dict[Call, bool] = {}
        """Calls that are not over, and whether they have an attempt in flight."""

    def some(self, data: st.DataObject, *, in_flight: bool) -> Call | None:
        calls = [call for call, sent in self.calls.items() if sent is in_flight]
        return data.draw(st.sampled_from(calls)) if calls else None

    @rule()
    def a_call_comes(self) -> None:
        self.calls[Call(self.upstream, GET)] = False

    @rule(seconds=st.floats(0, 20))
    def time_passes(self, seconds: float) -> None:
        self.world.clock.advance(seconds)

    @rule(data=st.data())
    def a_call_asks(self, data: st.DataObject) -> None:
        call = self.some(data, in_flight=False)
        if call is None:
            return
        try:
            step = call.begin()
        except (CircuitOpen, RateLimited, DeadlineExceeded):
            step = Stop()
        if isinstance(step, Stop):
            del self.calls[call]
        elif isinstance(step, Send):
            self.calls[call] = True

    @rule(data=st.data(), outcome=st.sampled_from([OK, BUSY, GONE, UNSENT]), patience=st.none() | st.just("3"))
    def an_attempt_ends(self, data: st.DataObject, outcome: Outcome, patience: str | None) -> None:
        call = self.some(data, in_flight=True)
        if call is None:
            return
        self.calls[call] = False
        if not call.end(answer(429, patience) if patience else outcome):
            del self.calls[call]

    @rule(data=st.data(), in_flight=st.booleans())
    def a_call_is_cancelled(self, data: st.DataObject, in_flight: bool) -> None:
        call = self.some(data, in_flight=in_flight)
        if call is not None:
            del self.calls[call]
            call.cancel()

    @invariant()
    def no_more_are_in_flight_than_may_be(self) -> None:
        assert sum(self.calls.values()) <= self.LIMIT

    def teardown(self) -> None:
        for call in self.calls:
            call.cancel()
        del self.calls
        self.world.clock.advance(1000)
        assert isinstance(Call(self.upstream, GET).begin(), Send), "a slot or a turn was lost"
