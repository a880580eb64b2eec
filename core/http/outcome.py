"""The result of an attempt, in terms that the engine, the drivers and the observers share."""

from __future__ import annotations

from enum import StrEnum

from .value import value


class Result(StrEnum):
    """The kind of result of an attempt or a call.

    A client error is a status from 400 to 499, for example 404. It is not a failure, because it shows that the server
    works. Some of these statuses are failures: 408, 425, 429, and 403 with Retry-After or an exhausted quota.
    `Policy.classify` may decide otherwise.
    """

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
    """What an upstream last announced about a rate limit. A field is None if the upstream did not announce it."""

    limit: int | None
    remaining: int | None
    reset: float | None
    """Seconds until the quota is full again."""
    resource: str | None


@value
class Outcome:
    """The result of an attempt, independent of the HTTP client."""

    result: Result
    reason: Reason | None = None
    """None unless the result is a failure."""
    status: int | None = None
    """The HTTP status; None: there was no response."""
    transient: bool = False
    """Whether the same request may succeed later."""
    sent: bool = True
    """Whether the server may have received the request. False only if it certainly has not."""
    retry_after: float | None = None
    """Seconds that the server asks the client to wait."""
    doubled: bool = False
    """Whether `retry_after` is doubled each time that the server still refuses after the pause."""
    why: str = ""
    """The reason for the pause of `retry_after` seconds, from `Verdict.why`; "": the upstream asked for a pause."""
    quota: Quota | None = None
    """What the server announced about its rate limit."""
    patience: float | None = None
    """Seconds of the part of the caller's timeout (connect, write or read) that applied when the attempt timed out.
    None: the attempt did not time out, or the timeout has no separate parts."""
    stale: bool = False
    """Whether the attempt failed on a reused connection without receiving a byte. The network, for example a NAT, may
    have dropped that connection."""
    detail: str = ""
    """For the log: the status or the kind of error, never text from the URL or the server."""


@value
class Attempt:
    """One attempt in the history of a call."""

    outcome: Outcome
    seconds: float
    """Duration of the attempt."""
    waited: float
    """Seconds that the call waited before this attempt, since the end of the attempt before it."""


def failed(reason: Reason, detail: str, *, transient: bool, sent: bool = True) -> Outcome:
    """Return the outcome of an attempt that ended in an error instead of a response."""
    return Outcome(Result.FAILURE, reason, None, transient, sent, detail=detail)
