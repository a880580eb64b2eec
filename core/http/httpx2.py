"""The driver for httpx2: resilient clients and transports, for threads and for event loops.

    from core.http.httpx2 import AsyncResilientClient

    async with AsyncResilientClient() as client:
        response = await client.get("https://example.org/data.json")

It needs the extra `httpx2`. httpx has a separate driver with the same names: `core.http.httpx`.

Each of its errors derives from a class of `core.http` and from httpx2's own classes:

httpx2.HTTPError
├── httpx2.ConnectError, httpx2.HTTPStatusError
│   ├── CircuitOpen            has a response: 503 with Retry-After
│   └── RateLimited            has a response: 429 with Retry-After
├── httpx2.ConnectError
│   └── BlockedAddress
├── httpx2.TimeoutException
│   ├── httpx2.PoolTimeout
│   │   └── AttemptPoolTimeout     a pool with `max_connections` had no free connection in time
│   ├── httpx2.ConnectTimeout
│   │   └── AttemptConnectTimeout  an attempt timed out before its connection was established
│   ├── httpx2.WriteTimeout
│   │   └── AttemptWriteTimeout    an attempt timed out while sending
│   └── httpx2.ReadTimeout
│       ├── AttemptReadTimeout     an attempt timed out later
│       └── DeadlineExceeded
└── httpx2.ReadError
    └── ResponseTooLarge

For all other failures, httpx2's own error is raised. All errors have `attempts`.
"""

from __future__ import annotations

import httpcore2
import httpx2

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

compat.check(httpx2)


class CircuitOpen(exception_bases.CircuitOpen, httpx2.ConnectError, httpx2.HTTPStatusError):
    """The circuit breaker of the upstream is open."""

    client = httpx2


class RateLimited(exception_bases.RateLimited, httpx2.ConnectError, httpx2.HTTPStatusError):
    """The upstream asked for a pause that is longer than the call may wait."""

    client = httpx2


class BlockedAddress(exception_bases.BlockedAddress, httpx2.ConnectError):
    """An untrusted client refuses to send a request: the address, the port or the redirect is not allowed."""

    client = httpx2


class AttemptPoolTimeout(exception_bases.AttemptTimeout, httpx2.PoolTimeout):
    """An attempt timed out while waiting for a free connection of a full pool."""

    client = httpx2


class AttemptConnectTimeout(exception_bases.AttemptTimeout, httpx2.ConnectTimeout):
    """An attempt timed out in stage dns, connect or tls, before the connection was established. Nothing was sent."""

    client = httpx2


class AttemptWriteTimeout(exception_bases.AttemptTimeout, httpx2.WriteTimeout):
    """An attempt timed out while sending."""

    client = httpx2


class AttemptReadTimeout(exception_bases.AttemptTimeout, httpx2.ReadTimeout):
    """An attempt timed out while waiting for the response or while reading the body."""

    client = httpx2


class DeadlineExceeded(exception_bases.DeadlineExceeded, httpx2.ReadTimeout):
    """The total timeout of the call expired."""

    client = httpx2


class ResponseTooLarge(exception_bases.ResponseTooLarge, httpx2.ReadError):
    """The body exceeds `Policy.max_response_bytes`, or its JSON exceeds `Policy.max_json_nodes`."""

    client = httpx2


class Response(ResilientResponse, httpx2.Response):
    """An `httpx2.Response` with `attempts`, and with limits for decoding, text and JSON."""


class _SyncBody(response_body.SyncBody, httpx2.SyncByteStream):
    pass


class _AsyncBody(response_body.AsyncBody, httpx2.AsyncByteStream):
    pass


_LIBRARY = Library(
    httpx=httpx2,
    httpcore=httpcore2,
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
    most_kept=128,
)
Response.library = _LIBRARY
log_filter.install(httpx2)


class ResilientTransport(SyncTransport, httpx2.BaseTransport):
    __doc__ = SyncTransport.__doc__
    library = _LIBRARY


class AsyncResilientTransport(AsyncTransport, httpx2.AsyncBaseTransport):
    __doc__ = AsyncTransport.__doc__
    library = _LIBRARY


class ResilientClient(SyncClient[httpx2.Response], httpx2.Client):
    __doc__ = SyncClient.__doc__
    library = _LIBRARY
    transport_class = ResilientTransport


class AsyncResilientClient(AsyncClient[httpx2.Response], httpx2.AsyncClient):
    __doc__ = AsyncClient.__doc__
    library = _LIBRARY
    transport_class = AsyncResilientTransport
