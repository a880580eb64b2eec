"""The one shape of every policy that admits attempts: asked before, told after, given back on cancellation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from ..events import Observer, Suppression, Target
from ..outcome import Outcome, Rejection
from ..policy import Policy
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


class UpstreamContext(Protocol):
    """What a policy needs to know of the upstream that is called."""

    name: str
    partition: str
    policy: Policy
    observe: Observer

    def wake(self) -> None:
        """Wake every call that waits for the upstream."""


class CallContext(Protocol):
    """What a policy needs to know of the call that asks.

    It is handed over with each question: a rule that kept it would close a circle of references with the call, and
    what the call holds would be given back only when the garbage collector comes by.
    """

    @property
    def upstream(self) -> UpstreamContext: ...

    @property
    def target(self) -> Target: ...

    @property
    def deadline(self) -> float:
        """On the upstream's clock."""

    @property
    def granted(self) -> float:
        """Seconds that the attempt in hand, or the next one, may take: the policy's attempt timeout, or less."""

    @property
    def duration(self) -> float:
        """Seconds that the last attempt took."""


class AdmissionRule(Protocol):
    """One policy, as one call sees it. Not safe for threads: a call belongs to one thread or task at a time."""

    def ask(self, call: CallContext, now: float) -> Wait | Refused | None:
        """Ask for leave to make an attempt; None: granted."""

    def tell(self, call: CallContext, outcome: Outcome, now: float) -> None:
        """Tell what the attempt came to, which also uses up what was granted."""

    def give_back(self) -> None:
        """Give back what was granted: no attempt was made, or it was cancelled. Harmless if nothing was granted."""
