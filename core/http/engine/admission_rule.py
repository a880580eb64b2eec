"""The one shape of every policy that admits attempts: asked before, told after, given back on cancellation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from ..events import Observer, Suppression, Target
from ..outcome import Outcome, Rejection
from .steps import Wait


@dataclass(frozen=True, slots=True)
class Refused:
    """No attempt before the deadline of the call."""

    rejection: Rejection
    """What a call is told that has sent nothing."""
    suppression: Suppression
    """Why a call that has sent something is not retried."""
    why: str
    retry_in: float = 0.0
    """Seconds until another call may be sent."""


class CallContext:
    """What a policy needs to know of the call that asks. One is made for each call, so it is no dataclass."""

    __slots__ = ("deadline", "observe", "target", "upstream", "wake_waiters")

    def __init__(
        self, upstream: str, target: Target, deadline: float, observe: Observer, wake_waiters: Callable[[], object]
    ) -> None:
        """Make one. `deadline`: on the upstream's clock; `wake_waiters`: wakes all calls that wait for the upstream."""
        self.upstream = upstream
        self.target = target
        self.deadline = deadline
        self.observe = observe
        self.wake_waiters = wake_waiters


class AdmissionRule(Protocol):
    """One policy, as one call sees it. Not safe for threads: a call belongs to one thread or task at a time."""

    def ask(self, now: float) -> Wait | Refused | None:
        """Ask for leave to make an attempt; None: granted."""

    def tell(self, outcome: Outcome, now: float) -> None:
        """Tell what the attempt came to, which also uses up what was granted."""

    def give_back(self) -> None:
        """Give back what was granted: no attempt was made, or it was cancelled. Harmless if nothing was granted."""
