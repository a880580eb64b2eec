"""The interface of admission rules, such as the circuit breaker, the rate-limit gate and the retry budget.

A rule decides whether an attempt may be sent, and receives its outcome afterwards.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from ..events import Observer, Suppression, Target
from ..outcome import Outcome, Rejection
from ..policy import Policy
from .steps import Wait


@dataclass(frozen=True, slots=True)
class Refused:
    """A rule allows no attempt before the deadline of the call."""

    rejection: Rejection
    """The reason to report if the call has made no attempt."""
    suppression: Suppression
    """The reason to report if the call has made an attempt, and its retry is refused."""
    why: str
    """The reason as text, for the error."""
    retry_in: float = 0.0
    """Seconds until another call may be sent."""


class UpstreamContext(Protocol):
    """The part of an upstream that rules use."""

    name: str
    partition: str
    policy: Policy
    observe: Observer

    def wake(self) -> None:
        """Wake every call that waits for the upstream."""


class CallContext(Protocol):
    """The part of a call that rules use.

    Each method of a rule receives the call as an argument. A rule that stored it would create a reference cycle with
    the call, and the slot and the probe of the call would be released only by the garbage collector.
    """

    @property
    def upstream(self) -> UpstreamContext: ...

    @property
    def target(self) -> Target: ...

    @property
    def deadline(self) -> float:
        """When the total timeout expires, on the upstream's clock."""

    @property
    def granted(self) -> float:
        """Seconds that the current or the next attempt may take: the policy's attempt timeout, or less."""

    @property
    def duration(self) -> float:
        """Seconds that the last attempt took."""


class AdmissionRule(Protocol):
    """One rule, with the state of one call. Not thread-safe: a call belongs to one thread or task at a time."""

    def ask(self, call: CallContext, now: float) -> Wait | Refused | None:
        """Ask for permission to make an attempt. None: the rule grants it."""

    def tell(self, call: CallContext, outcome: Outcome, now: float) -> None:
        """Report the outcome of the attempt. After that, the rule no longer holds the permission."""

    def give_back(self) -> None:
        """Release the permission, if there is one, because the attempt was not made or was cancelled."""
