"""What happens between two instructions of a call: a signal handler makes another call, or another thread ends one."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

import pytest
from prometheus_client import CollectorRegistry

import core.http
from core.http import Policy
from core.http.engine.call import Call
from core.http.engine.steps import Send, Wait
from core.http.events import BreakerState, Target
from core.http.observers.prometheus import PrometheusObserver
from core.http.origin import Origin
from core.http.outcome import Outcome, Reason, Result
from core.http.registry import Config, Registry, Runtime
from core.http.testing import FakeClock

ENGINE = str(Path(core.http.__file__).parent / "engine")
HERE = Origin("https", "a.test", 443)
T = TypeVar("T")
TARGET = Target("GET", "https", "a.test", "/")


class Caller:
    """Makes calls, and does something else at a given instruction ("opcode") or line ("line") of the engine."""

    def __init__(self, event: str = "opcode", max_concurrency: int = 5) -> None:
        self._event = event
        self.clock = FakeClock(1000.0)
        policy = Policy(retries=0, max_concurrency=max_concurrency, requests_per_second=1000)
        observer = PrometheusObserver(CollectorRegistry(), frozenset())
        runtime = Runtime(clock=self.clock)
        self.registry = Registry(Config(default=policy), runtime=runtime, observers=(observer,))
        self.left = 0

    def call(self, outcome: Outcome) -> None:
        call = Call(self.registry.upstream(HERE), TARGET)
        while isinstance(step := call.begin(), Wait):
            self.clock.advance(step.seconds)
        call.end(outcome)

    def interrupted(self, act: Callable[[], T], position: int, between: Callable[[], object]) -> T | None:
        """Return the result of `act`, and call `between` before its instruction `position`; None: it has fewer."""
        self.left, self._between = position, between
        before = sys.gettrace()
        sys.settrace(self._enter)
        try:
            result = act()
        finally:
            sys.settrace(before)
        return result if self.left <= 0 else None

    def _enter(self, frame: FrameType, _event: str, _argument: Any) -> Any:
        if not frame.f_code.co_filename.startswith(ENGINE):
            return None
        frame.f_trace_opcodes = self._event == "opcode"
        return self._step

    def _step(self, _frame: FrameType, event: str, _argument: Any) -> Any:
        if event == self._event:
            self.left -= 1
            if self.left == 0:
                sys.settrace(None)  # the rest of the call runs at full speed
                self._between()
        return self._step


@pytest.mark.parametrize(
    "outcome",
    [Outcome(Result.SUCCESS, status=200), Outcome(Result.FAILURE, reason=Reason.HTTP_5XX, status=500)],
    ids=["success", "failure"],
)
def test_a_call_at_any_instruction_of_another_one_disturbs_neither(outcome: Outcome) -> None:
    """Wherever the signal arrives, both calls end as they would alone, and no slot is lost."""
    caller, instruction = Caller(), 1

    def call() -> bool:
        caller.call(outcome)
        return True

    def another_call() -> None:
        caller.clock.advance(1)
        caller.call(Outcome(Result.SUCCESS, status=200))

    while caller.interrupted(call, instruction, another_call):
        caller.clock.advance(31)  # so that each call drops entries that left the breaker's window
        instruction += 1
    upstream = caller.registry.upstream(HERE)
    assert instruction > 100
    assert upstream.breaker is not None
    assert upstream.breaker.state is BreakerState.CLOSED
    assert not upstream.limits.slots._holders


def test_no_call_takes_the_slot_of_one_that_has_closed_the_gate() -> None:
    """Wherever the only slot is released during `begin`, the call does not send into the pause that was asked for."""
    limited = Outcome(Result.FAILURE, reason=Reason.HTTP_429, status=429, retry_after=30.0)
    line, steps = 1, []
    while True:
        caller = Caller("line", max_concurrency=1)
        first, second = (Call(caller.registry.upstream(HERE), TARGET) for _ in range(2))
        assert isinstance(first.begin(), Send)
        caller.clock.advance(1)
        step = caller.interrupted(second.begin, line, lambda first=first: first.end(limited))
        if step is None:
            break
        steps.append(step)
        line += 1
    assert len(steps) > 20
    assert {type(step) for step in steps} == {Wait}
