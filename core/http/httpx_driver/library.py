"""The parts of httpx or httpx2 that the driver needs, and the classes that derive from the driver and the library."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

MOST_IDLE = 30.0
"""Seconds. A connection that was idle for longer is not reused, because a NAT or load balancer may have dropped it."""
MOST_OF_HEAD = 8 * 1024
"""Maximum number of bytes of a read before the headers are complete. httpcore parses all of them before the next read,
and in an endless stream of "100 Continue", every 25 bytes are a response."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Errors:
    """The classes of errors of this driver. Each derives from a class in `core.http.errors` and from the library's."""

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
    """Maximum number of idle connections. (20 for httpx, because the time that its pool takes at every call grows with
    the square of their number: with 100 idle connections, a call over TLS took 14 ms, with 20 it took 3 ms.)"""

    def limits(self) -> Any:
        """Return the default limits of a pool. Connections have no maximum number, so that no call waits for one."""
        return self.httpx.Limits(
            max_connections=None, max_keepalive_connections=self.most_kept, keepalive_expiry=MOST_IDLE
        )
