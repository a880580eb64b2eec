"""A call that a signal handler makes in the middle of another call."""

from __future__ import annotations

import sys
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

import core.http
from core.http import Policy
from core.http.engine.call import Call
from core.http.engine.steps import Wait
from core.http.events import BreakerState, Target
from core.http.observers.prometheus import PrometheusObserver
from core.http.origin import Origin
from core.http.outcome import Outcome, Reason, Result
from core.http.registry import Config, Registry, Runtime
from core.http.testing import FakeClock

ENGINE = str(Path(core.http.__file__).parent / "engine")
HERE = Origin("https", "a.test", 443)
TARGET = Target("GET", "https", "a.test", "/")


class Caller:
    """Makes calls, and one more call at a given bytecode instruction of the engine."""

    def __init__(self) -> None:
        self.clock = FakeClock(1000.0)
        policy = Policy(retries=0, max_concurrency=5, requests_per_second=1000)
        observer = PrometheusObserver(CollectorRegistry(), frozenset())
        runtime = Runtime(clock=self.clock)
        self.registry = Registry(Config(default=policy), runtime=runtime, observers=(observer,))
        self.left = 0

    def call(self, outcome: Outcome) -> None:
        call = Call(self.registry.upstream(HERE), TARGET)
        while isinstance(step := call.begin(), Wait):
            self.clock.advance(step.seconds)
        call.end(outcome)

    def call_interrupted(self, outcome: Outcome, instruction: int) -> bool:
        """Make a call, and another one before its `instruction`. Returns False if the call has fewer instructions."""
        self.left = instruction
        before = sys.gettrace()
        sys.settrace(self._enter)
        try:
            self.call(outcome)
        finally:
            sys.settrace(before)
        return self.left <= 0

    def _enter(self, frame: FrameType, _event: str, _argument: Any) -> Any:
        if not frame.f_code.co_filename.startswith(ENGINE):
            return None
        frame.f_trace_opcodes = True
        return self._step

    def _step(self, _frame: FrameType, event: str, _argument: Any) -> Any:
        if event == "opcode":
            self.left -= 1
            if self.left == 0:
                sys.settrace(None)  # the rest of the call runs at full speed
                self.clock.advance(1)
                self.call(Outcome(Result.SUCCESS, status=200))
        return self._step


@pytest.mark.parametrize(
    "outcome",
    [Outcome(Result.SUCCESS, status=200), Outcome(Result.FAILURE, reason=Reason.HTTP_5XX, status=500)],
    ids=["success", "failure"],
)
def test_a_call_at_any_instruction_of_another_one_disturbs_neither(outcome: Outcome) -> None:
    """Wherever the signal arrives, both calls end as they would alone, and no slot is lost."""
    caller, instruction = Caller(), 1
    while caller.call_interrupted(outcome, instruction):
        caller.clock.advance(31)  # so that each call drops entries that left the breaker's window
        instruction += 1
    upstream = caller.registry.upstream(HERE)
    assert instruction > 100
    assert upstream.breaker is not None
    assert upstream.breaker.state is BreakerState.CLOSED
    assert not upstream.limits.slots._holders
