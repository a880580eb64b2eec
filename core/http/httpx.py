"""The driver for httpx 0.28: clients and transports that are resilient, for threads and for event loops.

    from core.http.httpx import AsyncResilientClient

    async with AsyncResilientClient() as client:
        response = await client.get("https://example.org/data.json")

It needs the extra `httpx`. httpx2 has a driver of its own, with the same names: `core.http.httpx2`.

What it raises is the neutral error of `core.http` and in the families of httpx:

httpx.HTTPError
├── httpx.ConnectError, httpx.HTTPStatusError
│   ├── CircuitOpen            has a response: 503 with Retry-After
│   └── RateLimited            has a response: 429 with Retry-After
├── httpx.ConnectError
│   └── BlockedAddress
├── httpx.TimeoutException
│   ├── httpx.PoolTimeout
│   │   └── AttemptPoolTimeout     no connection of a pool with `max_connections` came free
│   ├── httpx.ConnectTimeout
│   │   └── AttemptConnectTimeout  an attempt ran out of time before its connection was established
│   ├── httpx.WriteTimeout
│   │   └── AttemptWriteTimeout    … while sending
│   └── httpx.ReadTimeout
│       ├── AttemptReadTimeout     … or later
│       └── DeadlineExceeded
└── httpx.ReadError
    └── ResponseTooLarge

Everything else that goes wrong is the error that httpx itself raises for it. All have `attempts`.
"""

from __future__ import annotations

import httpcore
import httpx

from .httpx_driver import body, compat, exceptions, log_filter
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


class CircuitOpen(exceptions.CircuitOpen, httpx.ConnectError, httpx.HTTPStatusError):
    """The circuit breaker of the upstream is open."""

    client = httpx


class RateLimited(exceptions.RateLimited, httpx.ConnectError, httpx.HTTPStatusError):
    """The upstream asked for a pause that is longer than the call may wait."""

    client = httpx


class BlockedAddress(exceptions.BlockedAddress, httpx.ConnectError):
    """A URL of an untrusted client leads to an address that it must not reach."""

    client = httpx


class AttemptPoolTimeout(exceptions.AttemptTimeout, httpx.PoolTimeout):
    """An attempt ran out of time while it waited for a connection of a pool that is full."""

    client = httpx


class AttemptConnectTimeout(exceptions.AttemptTimeout, httpx.ConnectTimeout):
    """An attempt ran out of time before its connection was established: in dns, connect or tls. Nothing was sent."""

    client = httpx


class AttemptWriteTimeout(exceptions.AttemptTimeout, httpx.WriteTimeout):
    """An attempt ran out of time while sending."""

    client = httpx


class AttemptReadTimeout(exceptions.AttemptTimeout, httpx.ReadTimeout):
    """An attempt ran out of time while it waited for the answer, or in the body."""

    client = httpx


class DeadlineExceeded(exceptions.DeadlineExceeded, httpx.ReadTimeout):
    """The total timeout of the call expired."""

    client = httpx


class ResponseTooLarge(exceptions.ResponseTooLarge, httpx.ReadError):
    """The body exceeds `Policy.max_response_bytes`, or its JSON `Policy.max_json_nodes`."""

    client = httpx


class Response(ResilientResponse, httpx.Response):
    """An `httpx.Response` that has `attempts`, and of which decoding, text and JSON are bounded."""


class _SyncBody(body.SyncBody, httpx.SyncByteStream):
    pass


class _AsyncBody(body.AsyncBody, httpx.AsyncByteStream):
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
