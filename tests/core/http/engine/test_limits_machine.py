"""For any sequence of calls, no more attempts are in flight than the limit allows, and none waits forever."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from core.http import CircuitBreaker, CircuitOpen, DeadlineExceeded, Policy, RateLimited
from core.http.engine.call import Call
from core.http.engine.steps import Send, Stop
from core.http.outcome import Outcome
from tests.core.http.engine.call_helpers import answer
from tests.core.http.engine.world import BUSY, GET, GONE, OK, UNSENT, World


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


LimitsMachine.TestCase.settings = settings(max_examples=50, stateful_step_count=40, deadline=None)
TestLimitsMachine = LimitsMachine.TestCase
