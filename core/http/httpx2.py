"""The driver for httpx2: clients and transports that are resilient, for threads and for event loops.

    from core.http.httpx2 import AsyncResilientClient

    async with AsyncResilientClient() as client:
        response = await client.get("https://example.org/data.json")

It needs the extra `httpx2`. httpx has a driver of its own, with the same names: `core.http.httpx`.

What it raises is the neutral error of `core.http` and in the families of httpx2:

httpx2.HTTPError
├── httpx2.ConnectError, httpx2.HTTPStatusError
│   ├── CircuitOpen            has a response: 503 with Retry-After
│   └── RateLimited            has a response: 429 with Retry-After
├── httpx2.ConnectError
│   └── BlockedAddress
├── httpx2.TimeoutException
│   ├── httpx2.PoolTimeout
│   │   └── AttemptPoolTimeout     no connection of a pool with `max_connections` came free
│   ├── httpx2.ConnectTimeout
│   │   └── AttemptConnectTimeout  an attempt ran out of time before its connection was established
│   ├── httpx2.WriteTimeout
│   │   └── AttemptWriteTimeout    … while sending
│   └── httpx2.ReadTimeout
│       ├── AttemptReadTimeout     … or later
│       └── DeadlineExceeded
└── httpx2.ReadError
    └── ResponseTooLarge

Everything else that goes wrong is the error that httpx2 itself raises for it. All have `attempts`.
"""

from __future__ import annotations

import httpcore2
import httpx2

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

compat.check(httpx2)


class CircuitOpen(exceptions.CircuitOpen, httpx2.ConnectError, httpx2.HTTPStatusError):
    """The circuit breaker of the upstream is open."""

    client = httpx2


class RateLimited(exceptions.RateLimited, httpx2.ConnectError, httpx2.HTTPStatusError):
    """The upstream asked for a pause that is longer than the call may wait."""

    client = httpx2


class BlockedAddress(exceptions.BlockedAddress, httpx2.ConnectError):
    """A URL of an untrusted client leads to an address that it must not reach."""

    client = httpx2


class AttemptPoolTimeout(exceptions.AttemptTimeout, httpx2.PoolTimeout):
    """An attempt ran out of time while it waited for a connection of a pool that is full."""

    client = httpx2


class AttemptConnectTimeout(exceptions.AttemptTimeout, httpx2.ConnectTimeout):
    """An attempt ran out of time before its connection was established: in dns, connect or tls. Nothing was sent."""

    client = httpx2


class AttemptWriteTimeout(exceptions.AttemptTimeout, httpx2.WriteTimeout):
    """An attempt ran out of time while sending."""

    client = httpx2


class AttemptReadTimeout(exceptions.AttemptTimeout, httpx2.ReadTimeout):
    """An attempt ran out of time while it waited for the answer, or in the body."""

    client = httpx2


class DeadlineExceeded(exceptions.DeadlineExceeded, httpx2.ReadTimeout):
    """The total timeout of the call expired."""

    client = httpx2


class ResponseTooLarge(exceptions.ResponseTooLarge, httpx2.ReadError):
    """The body exceeds `Policy.max_response_bytes`, or its JSON `Policy.max_json_nodes`."""

    client = httpx2


class Response(ResilientResponse, httpx2.Response):
    """An `httpx2.Response` that has `attempts`, and of which decoding, text and JSON are bounded."""


class _SyncBody(body.SyncBody, httpx2.SyncByteStream):
    pass


class _AsyncBody(body.AsyncBody, httpx2.AsyncByteStream):
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
