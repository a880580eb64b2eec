"""The events of a call, which observers receive. Metrics and logging are two observers.

An observer is any callable that takes an event. It runs in the thread that emits the event, usually the thread of the
call, so it must be fast. Its exceptions never reach the caller. If it has an attribute `kinds`, a set or tuple of event
classes, it receives only events of those classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import StrEnum
from typing import TypeAlias

from .log import logger
from .outcome import Attempt, Outcome, Quota, Reason, Rejection, Result
from .value import value

OTHER = "other"
"""The name, in metrics and logs, of all hosts that the configuration does not assign to an upstream."""


class BreakerState(StrEnum):
    """The state of a circuit breaker."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@value
class Target:
    """Method and URL of a call, without the parts of the URL that can hold secrets (userinfo, query)."""

    method: str
    scheme: str
    host: str
    """Host name, with the port unless it is the default of the scheme."""
    path: str
    untrusted: bool = False
    """Whether a user submitted the URL."""


class Suppression(StrEnum):
    """Why a transient failure was not retried, although the call had retries left."""

    BREAKER_OPEN = "breaker_open"
    BUDGET_EXHAUSTED = "budget_exhausted"
    DEADLINE = "deadline"
    NOT_IDEMPOTENT = "not_idempotent"


class BackoffSource(StrEnum):
    """What determined a delay: the policy's formula, or the server's Retry-After."""

    COMPUTED = "computed"
    RETRY_AFTER = "retry_after"


@value
class AttemptStarted:
    """An attempt starts."""

    upstream: str
    target: Target


@value
class AttemptEnded:
    """An attempt got a response, failed or was cancelled."""

    upstream: str
    target: Target
    outcome: Outcome | None
    """None: cancelled."""
    seconds: float
    """Duration of the attempt."""


@value
class RetryScheduled:
    """A retry will start after a delay, unless the breaker, the gate or the total timeout still prevents it."""

    upstream: str
    target: Target
    reason: Reason
    """Why the last attempt failed."""
    delay: float
    """Seconds until the retry."""
    source: BackoffSource


@value
class RetryStarted:
    """A scheduled retry starts."""

    upstream: str
    target: Target
    reason: Reason
    """Why the attempt before the retry failed."""
    waited: float
    """Seconds that the call waited before the retry."""
    source: BackoffSource


@value
class RetrySuppressed:
    """A transient failure is not retried, although the call has retries left."""

    upstream: str
    target: Target
    reason: Suppression


@value
class CallEnded:
    """A request, with its retries, ended with a response or an error.

    A call that follows redirects emits one `CallEnded` for its first request and one for each redirect.
    """

    upstream: str
    target: Target
    result: Result
    reason: Reason | Rejection | None
    """None unless the result is a failure or a rejection."""
    attempts: tuple[Attempt, ...]
    """The attempts of this request, without those before a redirect; empty: no attempt was made."""
    seconds: float
    """Duration of this request with its retries, including delays and waiting."""
    suppressed: Suppression | None
    """Why another retry was suppressed; None: no retry was suppressed."""
    budget_remaining: float | None = None
    """The fraction of the retry budget that is left; None: the policy has no retry budget."""


@value
class BreakerChanged:
    """A circuit breaker opened, closed, or became half-open because it allowed a probe."""

    upstream: str
    target: Target
    """The target of the call that caused the change."""
    before: BreakerState
    state: BreakerState
    seconds: float
    """Seconds for which the breaker stays open, if it is open."""


@value
class BreakerFollowed:
    """A circuit breaker adopted the state of another process. The background thread that shares state emits this."""

    upstream: str
    host: str
    """The host, if `upstream` is "other"; otherwise empty."""
    before: BreakerState
    state: BreakerState
    seconds: float
    """Seconds for which the breaker stays open, if it is open."""


@value
class BreakerForgotten:
    """A circuit breaker that was open or half-open was discarded.

    Its host was the least recently used of more than 1,024 hosts outside the settings, or the settings changed, or the
    session that the breaker belonged to was closed.
    """

    upstream: str
    state: BreakerState


@value
class GateClosed:
    """The upstream asked for a pause, so the rate-limit gate closed."""

    upstream: str
    target: Target
    seconds: float
    """Length of the pause."""
    partition: str = ""
    """The partition whose calls the pause applies to (see `ResilientSession`); "": calls without a partition."""


@value
class GateWaited:
    """A call waited at the rate-limit gate."""

    upstream: str
    seconds: float
    """Duration of the wait."""


@value
class QuotaSeen:
    """The upstream announced how much of its rate limit is left."""

    upstream: str
    quota: Quota
    partition: str = ""
    """The partition that the quota belongs to (see `ResilientSession`); "": calls without a partition."""


@value
class FallbackServed:
    """The caller used stored data, because the upstream failed. The caller emits this event, not the engine."""

    upstream: str
    source: str
    """Where the data was stored: a name that the caller chooses. It is a label of a metric, so use few different
    names."""


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
    """Observers, and an index of them by class of event, so that not every observer is checked for each event."""

    __slots__ = ("_by_kind", "observers")

    def __init__(self, observers: Iterable[Observer]) -> None:
        self.observers = tuple(observers)
        self._by_kind: dict[type, tuple[Observer, ...]] = {}

    def tell(self, event: Event) -> None:
        """Pass `event` to the observers of its class. An exception of an observer is logged; the others still run."""
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
