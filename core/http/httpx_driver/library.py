"""The parts of httpx or httpx2 that the driver needs, and the classes that derive from both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

MOST_IDLE = 30.0
"""Idle seconds after which a connection is not reused: a NAT or load balancer may have dropped it silently."""
MOST_OF_HEAD = 8 * 1024
"""Maximum bytes of a read before the headers are complete: httpcore parses all of them before the next read, and in an
endless stream of "100 Continue" each 25 bytes are a response."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Errors:
    """The errors of this driver. Each derives from a class in `errors` and from the library's own classes."""

    circuit_open: Any
    rate_limited: Any
    deadline_exceeded: Any
    blocked_address: Any
    response_too_large: Any
    connect_timeout: Any
    read_timeout: Any
    write_timeout: Any
    pool_timeout: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Library:
    """httpx or httpx2. Their classes have the same names, but no common base classes."""

    httpx: Any
    httpcore: Any
    errors: Errors
    response: Any
    sync_body: Any
    """The `SyncByteStream` subclass for the body of a response that the caller reads."""
    async_body: Any
    most_kept: int
    """Maximum idle connections. (httpx: 20, because the time that its pool takes at every call grows with the square of
    their number: with 100 of them, a call over TLS took 14 ms, with 20 it took 3 ms.)"""

    def limits(self) -> Any:
        """Return the default limits of a pool, without a maximum of connections: with one, calls could time out."""
        return self.httpx.Limits(
            max_connections=None, max_keepalive_connections=self.most_kept, keepalive_expiry=MOST_IDLE
        )
