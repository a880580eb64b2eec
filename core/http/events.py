"""What happens to a call, as values handed to observers. Metrics and logging are two observers.

An observer is any callable that takes an event. It runs in the thread of the call, so it must be quick; what
it raises never reaches the caller.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import StrEnum
from typing import TypeAlias

from .log import logger
from .outcome import Attempt, Outcome, Quota, Reason, Rejection, Result
from .value import value

OTHER = "other"
"""The name, in metrics and logs, of every upstream that the configuration does not name."""


class BreakerState(StrEnum):
    """The state of a circuit breaker."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@value
class Target:
    """What a call asks for, without the parts of a URL that can hold secrets (userinfo, query)."""

    method: str
    scheme: str
    host: str
    """With the port where it is not the scheme's own."""
    path: str
    untrusted: bool = False
    """A user submitted the URL."""


class Suppression(StrEnum):
    """Why a retry that was wanted was not made."""

    BREAKER_OPEN = "breaker_open"
    BUDGET_EXHAUSTED = "budget_exhausted"
    DEADLINE = "deadline"
    NOT_IDEMPOTENT = "not_idempotent"


class BackoffSource(StrEnum):
    """Who chose a delay: the policy's formula, or the server."""

    COMPUTED = "computed"
    RETRY_AFTER = "retry_after"


@value
class AttemptStarted:
    upstream: str
    target: Target


@value
class AttemptEnded:
    upstream: str
    target: Target
    outcome: Outcome | None
    """None: cancelled."""
    seconds: float


@value
class RetryScheduled:
    upstream: str
    target: Target
    reason: Reason
    delay: float
    source: BackoffSource


@value
class RetryStarted:
    upstream: str
    target: Target
    reason: Reason
    waited: float
    source: BackoffSource


@value
class RetrySuppressed:
    upstream: str
    target: Target
    reason: Suppression


@value
class CallEnded:
    upstream: str
    target: Target
    result: Result
    reason: Reason | Rejection | None
    attempts: tuple[Attempt, ...]
    seconds: float
    suppressed: Suppression | None
    budget_remaining: float | None = None
    """What is left of the retry budget, as a fraction; None: there is none."""


@value
class BreakerChanged:
    upstream: str
    target: Target
    """The call that brought it about."""
    before: BreakerState
    state: BreakerState
    seconds: float
    """For how long it stays open, if it is."""


@value
class BreakerFollowed:
    """It took over what another process found. Told by a thread of its own, not by that of a call."""

    upstream: str
    host: str
    """Of an upstream that the configuration does not name, else empty."""
    before: BreakerState
    state: BreakerState
    seconds: float
    """For how long it stays open, if it is."""


@value
class BreakerForgotten:
    upstream: str
    state: BreakerState


@value
class GateClosed:
    upstream: str
    target: Target
    seconds: float
    partition: str = ""


@value
class GateWaited:
    upstream: str
    seconds: float


@value
class QuotaSeen:
    upstream: str
    quota: Quota
    partition: str = ""
    """Of which credential, as the code that made the session calls it."""


@value
class FallbackServed:
    """What the caller had stored had to serve, because the upstream failed. Told by callers, not by the engine."""

    upstream: str
    source: str
    """Where it was stored: a word of the caller's, out of a handful."""


Event: TypeAlias = (
    AttemptStarted
    | AttemptEnded
    | RetryScheduled
    | RetryStarted
    | RetrySuppressed
    | CallEnded
    | FallbackServed
    | BreakerChanged
    | BreakerFollowed
    | BreakerForgotten
    | GateClosed
    | GateWaited
    | QuotaSeen
)
Observer: TypeAlias = Callable[[Event], None]


def emit(event: Event, observers: Iterable[Observer]) -> None:
    """Hand `event` to each observer; one that raises is logged, and the others still get theirs."""
    for observer in observers:
        try:
            observer(event)
        except Exception:  # noqa: BLE001 - logged, with its traceback
            logger.exception("Observer %r failed on %s", observer, type(event).__name__)
