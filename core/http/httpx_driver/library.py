"""What the driver needs of the library that it drives, and the classes that belong to both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

MOST_IDLE = 30.0
"""Seconds after which a connection is not used again: a NAT or a load balancer may have forgotten it without a word."""
MOST_OF_HEAD = 8 * 1024
"""Bytes that are read at a time before the headers are complete: httpcore parses all of them before it reads again, and
in an endless stream of "100 Continue" each 25 bytes are a response."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Errors:
    """The errors of this driver: each is the neutral one of `errors`, and in the families of the library."""

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
    """httpx or httpx2: their classes have the same names, and no type in common."""

    httpx: Any
    httpcore: Any
    errors: Errors
    response: Any
    sync_body: Any
    """A `SyncByteStream`: the body of a response that its caller reads."""
    async_body: Any
    most_kept: int
    """Idle connections that are kept. (httpx: 20, and its pool takes time that grows with their square at every call:
    with 100 of them a call over TLS took 14 ms, with 20 it took 3.)"""

    def limits(self) -> Any:
        """Make the default limits of a pool: any number of connections, because a full pool would time out calls."""
        return self.httpx.Limits(
            max_connections=None, max_keepalive_connections=self.most_kept, keepalive_expiry=MOST_IDLE
        )
