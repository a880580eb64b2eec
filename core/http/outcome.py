"""What an attempt came to: the vocabulary that the engine, the drivers and the observers share."""

from __future__ import annotations

from enum import StrEnum

from .value import value


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


class Rejection(StrEnum):
    """Why a call was refused before anything was sent."""

    BREAKER_OPEN = "breaker_open"
    RATE_LIMITED = "rate_limited"
    DEADLINE_EXCEEDED = "deadline_exceeded"


@value
class Quota:
    """What an upstream last said of a rate limit; None where it said nothing."""

    limit: int | None
    remaining: int | None
    reset: float | None
    """Seconds until the quota is full again."""
    resource: str | None


@value
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
    """The server may have seen the request. False only where it certainly has not."""
    retry_after: float | None = None
    """Seconds that the server asks to wait."""
    doubled: bool = False
    """`retry_after` grows each time that the server still refuses afterwards."""
    why: str = ""
    """Why the server is to be left alone for `retry_after`, if not for the usual reason."""
    quota: Quota | None = None
    """What the server says of its rate limit."""
    patience: float | None = None
    """Seconds after which the caller gave up waiting, where it was not the whole attempt that ran out of time."""
    stale: bool = False
    """It failed on a connection that had been used before, and nothing came: the network may have forgotten it."""
    detail: str = ""
    """For the log: the status or the kind of error, never anything that came from the URL or the server."""


@value
class Attempt:
    """One attempt of a call, for its history."""

    outcome: Outcome
    seconds: float
    """How long it took."""
    waited: float
    """Seconds of backoff before it."""


def failed(reason: Reason, detail: str, *, transient: bool, sent: bool = True) -> Outcome:
    """Return the outcome of an attempt that ended in an error instead of an answer."""
    return Outcome(Result.FAILURE, reason, None, transient, sent, detail=detail)
