"""The errors that only this library raises, as classes that know no HTTP client.

Exception
├── NotSent                 never raised itself
│   ├── CircuitOpen         the circuit breaker of the upstream is open
│   └── RateLimited         the upstream asked for a pause that is longer than the call may wait
├── AttemptTimeout          an attempt ran out of time
├── DeadlineExceeded        the total timeout of the call expired
├── BlockedAddress          a URL of an untrusted session leads to an address that it must not reach
└── ResponseTooLarge        the body exceeds `Policy.max_response_bytes`

Each driver raises subclasses that belong to its client's families as well (`wire.requests_exceptions` for requests), so
that ``except core.http.CircuitOpen`` serves all clients, and existing ``except`` clauses go on working.
"""

from __future__ import annotations

from datetime import datetime

from .outcome import Attempt


class NotSent(Exception):  # noqa: N818 - what it says is in its name, as for those below
    """Nothing was sent, because the upstream would not have answered."""

    attempts: tuple[Attempt, ...] = ()
    """Every attempt of the call, those of its redirects included. (So of all errors below.)"""

    def __init__(self, message: str, retry_at: datetime) -> None:
        super().__init__(message)
        self.retry_at = retry_at
        """When another call may be sent; aware, in UTC."""


class CircuitOpen(NotSent):
    """The circuit breaker of the upstream is open."""


class RateLimited(NotSent):
    """The upstream asked for a pause that is longer than the call may wait."""


class AttemptTimeout(Exception):  # noqa: N818
    """An attempt ran out of time; says how far it got."""

    attempts: tuple[Attempt, ...] = ()
    reached: str = ""
    """The last stage begun: pool, dns, connect, tls, send, headers or body."""
    received: int = 0
    """Bytes of the answer."""


class DeadlineExceeded(Exception):  # noqa: N818
    """`Policy.total_timeout` cut the last attempt off, or expired before the first one was sent."""

    attempts: tuple[Attempt, ...] = ()
    reached: str = ""
    """As of an `AttemptTimeout`; empty: nothing was sent."""
    received: int = 0


class BlockedAddress(Exception):  # noqa: N818
    """A URL of an untrusted session leads to an address that it must not reach. Says nothing of what is there."""

    attempts: tuple[Attempt, ...] = ()


class ResponseTooLarge(Exception):  # noqa: N818
    """The body, decoded, exceeds `Policy.max_response_bytes`, or its JSON `Policy.max_json_nodes`. It is dropped."""

    attempts: tuple[Attempt, ...] = ()
