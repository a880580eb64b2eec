"""What an attempt came to, and whether the same request may fare better later."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from functools import lru_cache

from core.http.backoff import Quota, quota, retry_after


class Result(StrEnum):
    """How an attempt or a call ended, coarsely. A client error counts as answered."""

    SUCCESS = "success"
    CLIENT_ERROR = "client_error"
    FAILURE = "failure"
    REJECTED = "rejected"


class Reason(StrEnum):
    """Why an attempt or a call failed."""

    CONNECT = "connect"
    DNS = "dns"
    TLS = "tls"
    TIMEOUT = "timeout"
    TRUNCATED = "truncated"
    TOO_LARGE = "too_large"
    BLOCKED = "blocked"
    HTTP_5XX = "http_5xx"
    HTTP_429 = "http_429"
    OTHER = "other"


class Verdict(StrEnum):
    """What an attempt says about the health of the upstream."""

    SUCCESS = "success"
    FAILURE = "failure"
    NEITHER = "neither"


class Rejection(StrEnum):
    """Why a call was refused before anything was sent."""

    BREAKER_OPEN = "breaker_open"
    RATE_LIMITED = "rate_limited"
    DEADLINE_EXCEEDED = "deadline_exceeded"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an attempt came to, in words that fit every HTTP client."""

    result: Result
    reason: Reason | None = None
    """None unless the result is a failure."""
    status: int | None = None
    """None where no answer came."""
    transient: bool = False
    """The same request may succeed later."""
    sent: bool = True
    """The server may have seen the request. False only where that is certain not to be."""
    retry_after: float | None = None
    """Seconds that the server asks to wait."""
    quota: Quota | None = None
    """What the server says of its rate limit."""
    detail: str = ""
    """For the log: the status or the kind of error, never anything that came from the URL or the server."""


def failed(reason: Reason, detail: str, *, transient: bool, sent: bool = True) -> Outcome:
    """Return the outcome of an attempt that ended in an error instead of an answer."""
    return Outcome(Result.FAILURE, reason, None, transient, sent, detail=detail)


def answered(status: int, headers: Mapping[str, str], *, retry_statuses: frozenset[int], now: datetime) -> Outcome:
    """Return the outcome of an attempt that was answered. `headers` are compared without case; `now` is aware."""
    asked = retry_after(headers.get("Retry-After"), now)
    left = quota(headers, now)
    limited = status == 429
    if limited or status == 403:
        exhausted = left is not None and left.remaining == 0
        # GitHub answers 403 for an exhausted quota, and 403 with Retry-After for its secondary limits.
        limited = limited or exhausted or asked is not None
        if left is not None and exhausted and left.reset is not None:
            asked = max(asked or 0.0, left.reset)
    outcome = _answered(status, limited, (429 if limited else status) in retry_statuses)
    return outcome if asked is None and left is None else replace(outcome, retry_after=asked, quota=left)


@lru_cache(256)
def _answered(status: int, limited: bool, transient: bool) -> Outcome:
    reason = Reason.HTTP_429 if limited else _reason(status)
    answer = Result.CLIENT_ERROR if status >= 400 else Result.SUCCESS
    return Outcome(answer if reason is None else Result.FAILURE, reason, status, transient, detail=str(status))


def verdict(outcome: Outcome, *, any_host: bool) -> Verdict:
    """Say what `outcome` tells of the upstream's health; `any_host`: of one that nobody configured."""
    reason = outcome.reason
    if reason is None:
        return Verdict.SUCCESS
    if reason in _SAYS_NOTHING or outcome.status == 425:
        return Verdict.NEITHER
    if reason is Reason.OTHER and outcome.status is not None:  # a status that HTTP does not know: an answer
        return Verdict.SUCCESS
    if reason is Reason.OTHER and not outcome.sent:  # a URL that leads nowhere
        return Verdict.NEITHER
    if reason is Reason.DNS and any_host and not outcome.transient:  # a name that does not exist: often a slip
        return Verdict.NEITHER
    return Verdict.FAILURE


_SAYS_NOTHING = frozenset({Reason.HTTP_429, Reason.BLOCKED, Reason.TOO_LARGE})


def _reason(status: int) -> Reason | None:
    if status == 408:
        return Reason.TIMEOUT
    if status == 425 or not 100 <= status < 600:
        return Reason.OTHER
    return Reason.HTTP_5XX if status >= 500 else None
