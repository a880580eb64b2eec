"""The errors that only this library raises, as classes that do not depend on an HTTP client.

Exception
├── NotSent                 base class, never raised itself
│   ├── CircuitOpen         the circuit breaker of the upstream is open
│   └── RateLimited         the upstream asked for a pause that is longer than the call may wait
├── AttemptTimeout          an attempt ran out of time
├── DeadlineExceeded        the total timeout of the call expired
├── BlockedAddress          an untrusted session refuses an address, a port or a redirect
└── ResponseTooLarge        the body or its JSON exceeds a limit of the policy

Each driver raises subclasses that are also subclasses of its client's own errors (`wire.requests_exceptions` for
requests). So ``except core.http.CircuitOpen`` works with all clients, and existing ``except`` clauses keep working.
"""

from __future__ import annotations

from datetime import datetime

from .outcome import Attempt


class NotSent(Exception):
    """The request was not sent, because the upstream is down or has asked for a pause."""

    attempts: tuple[Attempt, ...] = ()
    """All attempts of the call. If the request that was not sent follows a redirect or an authentication challenge,
    these are the attempts before it; otherwise there are none. All errors below have this attribute."""

    def __init__(self, message: str, retry_at: datetime) -> None:
        super().__init__(message)
        self.retry_at = retry_at
        """The time from which another call may be sent: an aware datetime in UTC."""


class CircuitOpen(NotSent):
    """The circuit breaker of the upstream is open."""


class RateLimited(NotSent):
    """The upstream asked for a pause that is longer than the call may wait."""


class AttemptTimeout(Exception):
    """An attempt ran out of time. `reached` and `received` say how far it got."""

    attempts: tuple[Attempt, ...] = ()
    reached: str = ""
    """The last stage that began: pool, dns, connect, tls, send, headers or body."""
    received: int = 0
    """Bytes of the response that were received."""


class DeadlineExceeded(Exception):
    """The total timeout of the call ended its last attempt, or left no time for the first one.

    The total timeout is `Policy.total_timeout`, or less inside `ResilientSession.within`. If
    `Policy.requests_per_second` allows no attempt before the total timeout, the call raises this error without waiting.
    """

    attempts: tuple[Attempt, ...] = ()
    reached: str = ""
    """As in `AttemptTimeout`; empty: no attempt was made."""
    received: int = 0
    """As in `AttemptTimeout`."""


class BlockedAddress(Exception):
    """An untrusted session refuses to send a request: the address, the port or the redirect is not allowed.

    The text of the error does not contain the address or the port, and does not say which of them is not allowed. So it
    reveals nothing about an internal network.
    """

    attempts: tuple[Attempt, ...] = ()


class ResponseTooLarge(Exception):
    """The body exceeds `Policy.max_response_bytes`, or its JSON exceeds `Policy.max_json_nodes`.

    A body that is too large is discarded. If only the JSON is too large, ``response.content`` remains available.
    """

    attempts: tuple[Attempt, ...] = ()
