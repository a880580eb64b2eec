"""Calls to an upstream on a fake clock."""

from __future__ import annotations

from dataclasses import dataclass, field

from core.http import Policy
from core.http.engine.call import Call
from core.http.engine.steps import Stop, Wait
from core.http.engine.upstream import Upstream
from core.http.events import (
    CallEnded,
    Event,
    Target,
)
from core.http.outcome import Outcome, Reason, Result, failed
from core.http.testing import FakeClock

GET = Target("GET", "https", "example.org", "/")
POST = Target("POST", "https", "example.org", "/")
OK = Outcome(Result.SUCCESS, status=200)
BUSY = Outcome(Result.FAILURE, Reason.HTTP_5XX, 503, transient=True)
GONE = Outcome(Result.CLIENT_ERROR, status=410)
UNSENT = failed(Reason.CONNECT, "refused", transient=True, sent=False)


@dataclass
class World:
    """An upstream on a fake clock, and the events that it sends to its observers."""

    policy: Policy = field(default_factory=Policy)
    chance: float = 0.0
    clock: FakeClock = field(default_factory=FakeClock)
    events: list[Event] = field(default_factory=list)

    @property
    def upstream(self) -> Upstream:
        return Upstream(
            "example", self.policy, clock=self.clock, random=lambda: self.chance, observe=self.events.append
        )

    def play(self, call: Call, *outcomes: Outcome, seconds: float = 0.0) -> int:
        """Drive `call` with an attempt of `seconds` for each outcome; return how many were made."""
        made = 0
        while not isinstance(step := call.begin(), Stop):
            if isinstance(step, Wait):
                self.clock.wait(step.seconds)
                continue
            self.clock.advance(min(seconds, step.seconds))
            made += 1
            if not call.end(outcomes[made - 1]):
                break
        return made

    def seen(self, kind: type[Event]) -> list[Event]:
        return [event for event in self.events if isinstance(event, kind)]

    @property
    def ended(self) -> CallEnded:
        (event,) = self.seen(CallEnded)
        assert isinstance(event, CallEnded)
        return event
