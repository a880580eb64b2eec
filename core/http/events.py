"""What happens to a call, as values handed to observers. Metrics and logging are two observers.

An observer is any callable that takes an event. It runs in the thread of the call, so it must be quick; what
it raises never reaches the caller. If it has an attribute `kinds`, a set or tuple of classes of
events, it gets only those.
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
    """A request goes out."""

    upstream: str
    target: Target


@value
class AttemptEnded:
    """It was answered, failed or was cancelled."""

    upstream: str
    target: Target
    outcome: Outcome | None
    """None: cancelled."""
    seconds: float
    """How long it took."""


@value
class RetryScheduled:
    """Another attempt is to follow, after a delay: it may still be prevented."""

    upstream: str
    target: Target
    reason: Reason
    """What makes it necessary."""
    delay: float
    """Seconds until then."""
    source: BackoffSource


@value
class RetryStarted:
    """That attempt goes out now."""

    upstream: str
    target: Target
    reason: Reason
    """What made it necessary."""
    waited: float
    """Seconds of backoff before it."""
    source: BackoffSource


@value
class RetrySuppressed:
    """Another attempt was wanted, and is not made."""

    upstream: str
    target: Target
    reason: Suppression


@value
class CallEnded:
    """The caller gets a response or an error."""

    upstream: str
    target: Target
    result: Result
    reason: Reason | Rejection | None
    """None unless the result is a failure or a rejection."""
    attempts: tuple[Attempt, ...]
    """Those of this hop; empty: nothing was sent."""
    seconds: float
    """How long it took, delays and waiting included."""
    suppressed: Suppression | None
    """Why no further retry was made that was wanted; None: none was."""
    budget_remaining: float | None = None
    """What is left of the retry budget, as a fraction; None: there is none."""


@value
class BreakerChanged:
    """A circuit breaker opened, closed, or lets a probe through."""

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
    """A circuit breaker is gone: of a host that was not asked for long, or of settings that were replaced."""

    upstream: str
    state: BreakerState


@value
class GateClosed:
    """The upstream asked to be left alone."""

    upstream: str
    target: Target
    seconds: float
    """For how long."""
    partition: str = ""
    """Of which credential, as the code that made the session calls it."""


@value
class GateWaited:
    """A call has waited because of that."""

    upstream: str
    seconds: float
    """How long."""


@value
class QuotaSeen:
    """The upstream said how much of its rate limit is left."""

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


class Audience:
    """Observers, and which of them get the events of each kind: looked up once for a kind, not at each event."""

    __slots__ = ("_by_kind", "observers")

    def __init__(self, observers: Iterable[Observer]) -> None:
        self.observers = tuple(observers)
        self._by_kind: dict[type, tuple[Observer, ...]] = {}

    def tell(self, event: Event) -> None:
        """Hand `event` to those that ask for its kind; one that raises is logged, and the others still get theirs."""
        kind = type(event)
        listeners = self._by_kind.get(kind)
        if listeners is None:
            listeners = self._by_kind[kind] = tuple(each for each in self.observers if _wants(each, kind))
        for observer in listeners:
            try:
                observer(event)
            except Exception:  # noqa: BLE001 - logged, with its traceback
                logger.exception("Observer %r failed on %s", observer, kind.__name__)


def _wants(observer: Observer, kind: type) -> bool:
    kinds = getattr(observer, "kinds", None)
    return kind in kinds if isinstance(kinds, set | frozenset | tuple | list) else True  # a mock has any attribute
