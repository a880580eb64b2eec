"""The errors that only this library raises, as classes that do not depend on an HTTP client.

Exception
├── NotSent                 base class, never raised itself
│   ├── CircuitOpen         the circuit breaker of the upstream is open
│   └── RateLimited         the upstream asked for a pause that is longer than the call may wait
├── AttemptTimeout          an attempt ran out of time
├── DeadlineExceeded        the total timeout of the call expired
├── BlockedAddress          a URL of an untrusted session leads to an address that is not allowed
└── ResponseTooLarge        the body exceeds `Policy.max_response_bytes`

Each driver raises subclasses that are also subclasses of its client's own errors (`wire.requests_exceptions` for
requests). So ``except core.http.CircuitOpen`` works with all clients, and existing ``except`` clauses keep working.
"""

from __future__ import annotations

from datetime import datetime

from .outcome import Attempt


class NotSent(Exception):  # noqa: N818 - the name says what happened, as do the names below
    """The request was not sent, because the upstream is down or has asked for a pause."""

    attempts: tuple[Attempt, ...] = ()
    """All attempts of the call. If the request that was not sent follows a redirect, these are the attempts before that
    redirect; otherwise there are none. All errors below have this attribute."""

    def __init__(self, message: str, retry_at: datetime) -> None:
        super().__init__(message)
        self.retry_at = retry_at
        """The time from which another call may be sent: an aware datetime in UTC."""


class CircuitOpen(NotSent):
    """The circuit breaker of the upstream is open."""


class RateLimited(NotSent):
    """The upstream asked for a pause that is longer than the call may wait."""


class AttemptTimeout(Exception):  # noqa: N818
    """An attempt ran out of time. `reached` and `received` say how far it got."""

    attempts: tuple[Attempt, ...] = ()
    reached: str = ""
    """The last stage that began: pool, dns, connect, tls, send, headers or body."""
    received: int = 0
    """Bytes of the response that were received."""


class DeadlineExceeded(Exception):  # noqa: N818
    """`Policy.total_timeout` ended the last attempt, or expired before the first one was sent."""

    attempts: tuple[Attempt, ...] = ()
    reached: str = ""
    """As in `AttemptTimeout`; empty: no attempt was made."""
    received: int = 0
    """As in `AttemptTimeout`."""


class BlockedAddress(Exception):  # noqa: N818
    """A URL of an untrusted session leads to an address that is not allowed.

    The text of the error contains neither the address nor the reason, so it reveals nothing about an internal network.
    """

    attempts: tuple[Attempt, ...] = ()


class ResponseTooLarge(Exception):  # noqa: N818
    """The decoded body exceeds `Policy.max_response_bytes`, or its JSON exceeds `Policy.max_json_nodes`.

    The body is discarded.
    """

    attempts: tuple[Attempt, ...] = ()
