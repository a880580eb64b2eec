"""The driver for httpx 0.28: resilient clients and transports, for threads and for event loops.

    from core.http.httpx import AsyncResilientClient

    async with AsyncResilientClient() as client:
        response = await client.get("https://example.org/data.json")

It needs the extra `httpx`. httpx2 has a separate driver with the same names: `core.http.httpx2`.

Each of its errors derives from a class of `core.http` and from httpx's own classes:

httpx.HTTPError
├── httpx.ConnectError, httpx.HTTPStatusError
│   ├── CircuitOpen            has a response: 503 with Retry-After
│   └── RateLimited            has a response: 429 with Retry-After
├── httpx.ConnectError
│   └── BlockedAddress
├── httpx.TimeoutException
│   ├── httpx.PoolTimeout
│   │   └── AttemptPoolTimeout     a pool with `max_connections` had no free connection in time
│   ├── httpx.ConnectTimeout
│   │   └── AttemptConnectTimeout  an attempt timed out before its connection was established
│   ├── httpx.WriteTimeout
│   │   └── AttemptWriteTimeout    an attempt timed out while sending
│   └── httpx.ReadTimeout
│       ├── AttemptReadTimeout     an attempt timed out later
│       └── DeadlineExceeded
└── httpx.ReadError
    └── ResponseTooLarge

For all other failures, httpx's own error is raised. All errors have `attempts`.
"""

from __future__ import annotations

import httpcore
import httpx

from .httpx_driver import compat, exception_bases, log_filter, response_body
from .httpx_driver.async_transport import AsyncTransport
from .httpx_driver.client import AsyncClient, SyncClient
from .httpx_driver.library import Errors, Library
from .httpx_driver.response import ResilientResponse
from .httpx_driver.sync_transport import SyncTransport

__all__ = [
    "AsyncResilientClient",
    "AsyncResilientTransport",
    "AttemptConnectTimeout",
    "AttemptPoolTimeout",
    "AttemptReadTimeout",
    "AttemptWriteTimeout",
    "BlockedAddress",
    "CircuitOpen",
    "DeadlineExceeded",
    "RateLimited",
    "ResilientClient",
    "ResilientTransport",
    "Response",
    "ResponseTooLarge",
]

compat.check(httpx)


class CircuitOpen(exception_bases.CircuitOpen, httpx.ConnectError, httpx.HTTPStatusError):
    """The circuit breaker of the upstream is open."""

    client = httpx


class RateLimited(exception_bases.RateLimited, httpx.ConnectError, httpx.HTTPStatusError):
    """The upstream asked for a pause that is longer than the call may wait."""

    client = httpx


class BlockedAddress(exception_bases.BlockedAddress, httpx.ConnectError):
    """An untrusted client refuses to send a request: the address, the port or the redirect is not allowed."""

    client = httpx


class AttemptPoolTimeout(exception_bases.AttemptTimeout, httpx.PoolTimeout):
    """An attempt timed out while waiting for a free connection of a full pool."""

    client = httpx


class AttemptConnectTimeout(exception_bases.AttemptTimeout, httpx.ConnectTimeout):
    """An attempt timed out in stage dns, connect or tls, before the connection was established. Nothing was sent."""

    client = httpx


class AttemptWriteTimeout(exception_bases.AttemptTimeout, httpx.WriteTimeout):
    """An attempt timed out while sending."""

    client = httpx


class AttemptReadTimeout(exception_bases.AttemptTimeout, httpx.ReadTimeout):
    """An attempt timed out while waiting for the response or while reading the body."""

    client = httpx


class DeadlineExceeded(exception_bases.DeadlineExceeded, httpx.ReadTimeout):
    """The total timeout of the call expired."""

    client = httpx


class ResponseTooLarge(exception_bases.ResponseTooLarge, httpx.ReadError):
    """The body exceeds `Policy.max_response_bytes`, or its JSON exceeds `Policy.max_json_nodes`."""

    client = httpx


class Response(ResilientResponse, httpx.Response):
    """An `httpx.Response` with `attempts`, and with limits for decoding, text and JSON."""


class _SyncBody(response_body.SyncBody, httpx.SyncByteStream):
    pass


class _AsyncBody(response_body.AsyncBody, httpx.AsyncByteStream):
    pass


_LIBRARY = Library(
    httpx=httpx,
    httpcore=httpcore,
    errors=Errors(
        circuit_open=CircuitOpen,
        rate_limited=RateLimited,
        deadline_exceeded=DeadlineExceeded,
        blocked_address=BlockedAddress,
        response_too_large=ResponseTooLarge,
        connect_timeout=AttemptConnectTimeout,
        read_timeout=AttemptReadTimeout,
        write_timeout=AttemptWriteTimeout,
        pool_timeout=AttemptPoolTimeout,
    ),
    response=Response,
    sync_body=_SyncBody,
    async_body=_AsyncBody,
    most_kept=20,
)
Response.library = _LIBRARY
log_filter.install(httpx)


class ResilientTransport(SyncTransport, httpx.BaseTransport):
    __doc__ = SyncTransport.__doc__
    library = _LIBRARY


class AsyncResilientTransport(AsyncTransport, httpx.AsyncBaseTransport):
    __doc__ = AsyncTransport.__doc__
    library = _LIBRARY


class ResilientClient(SyncClient[httpx.Response], httpx.Client):
    __doc__ = SyncClient.__doc__
    library = _LIBRARY
    transport_class = ResilientTransport


class AsyncResilientClient(AsyncClient[httpx.Response], httpx.AsyncClient):
    __doc__ = AsyncClient.__doc__
    library = _LIBRARY
    transport_class = AsyncResilientTransport
