"""httpcore's network backend for event loops: asyncio, uvloop or trio.

DNS lookups run in the threads of `wire.resolver`, which notify the event loop. (They do not run in the executor of the
loop, because `asyncio.run` waits for the executor at exit, so a hanging lookup would keep the program from ending.) A
cancel scope enforces the timeout of the whole attempt, so single operations have a timeout only if the caller sets one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any

import anyio
import anyio.lowlevel

from ..wire import address_guard, attempt_context, connect, resolver
from ..wire.attempt_context import AttemptContext, Stage
from ..wire.resolver import AddressInfo
from .library import MOST_OF_HEAD
from .readability import is_readable

_MOST_LINES = 256
"""Maximum number of lines passed to httpcore at once. Data with more lines is passed in pieces of `_PIECE` bytes."""
_PIECE = 1024
"""Number of bytes of a piece. They contain at most 170 chunks, or 40 responses "100 Continue"."""
_LONGEST_TURN = 0.01
"""Seconds for which reads may keep other tasks of the loop from running."""


def waker(event: anyio.Event) -> Callable[[], None]:
    """Return a function that sets `event` from any thread or finalizer. It acquires no lock and raises nothing."""
    native: Any = anyio.lowlevel.current_token().native_token
    soon = (
        native.run_sync_soon if hasattr(native, "run_sync_soon") else native.call_soon_threadsafe
    )  # trio's, asyncio's

    def wake() -> None:
        with suppress(RuntimeError):  # the loop is closed, so no task is waiting
            soon(event.set)

    return wake


class AsyncBackend:
    """An `httpcore.AsyncNetworkBackend` that enforces the deadline of each attempt."""

    def __init__(self, httpcore: Any, socks_replies: int = 0) -> None:
        """Create the backend.

        :param socks_replies: number of replies of the SOCKS proxy before the connection to the server is ready; 0: no
            proxy.
        """
        self._httpcore = httpcore
        self._socks_replies = socks_replies
        self._plain = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> Any:
        """Resolve `host` and connect to the first address that accepts the connection.

        All addresses share the remaining time of the attempt.
        """
        attempt = attempt_context.current() or AttemptContext(float("inf"))  # None if other code uses the pool
        attempt.connected = True
        try:
            addresses = await _resolve(attempt, host, port)
        except OSError as exc:
            raise self._httpcore.ConnectError(str(exc)) from exc
        if attempt.untrusted:
            address_guard.check_addresses(str(info[4][0]) for info in addresses)
        attempt.stage = Stage.CONNECT
        error: Exception = self._httpcore.ConnectError("the host name has no address")
        for tried, info in enumerate(addresses):
            share = attempt.left() / (len(addresses) - tried)
            try:
                stream = await self._plain.connect_tcp(
                    str(info[4][0]),
                    int(info[4][1]),  # the port from the lookup, because a test may resolve a name to its own server
                    timeout=share if timeout is None else min(share, timeout),
                    local_address=local_address,
                    socket_options=socket_options,
                )
            except (self._httpcore.ConnectError, self._httpcore.ConnectTimeout) as exc:
                error = exc
            else:
                attempt.stage = Stage.SEND
                made = AsyncStream(stream, self._socks_replies)
                attempt.negotiation = made if self._socks_replies else None
                return made
        raise error

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's
        socket_options: Iterable[Any] | None = None,
    ) -> Any:
        _reach(Stage.CONNECT)
        return AsyncStream(await self._plain.connect_unix_socket(path, timeout, socket_options))

    async def sleep(self, seconds: float) -> None:
        await anyio.sleep(seconds)


class AsyncStream:
    """An `httpcore.AsyncNetworkStream` that records the stage of its attempt.

    A cancellation takes effect only when the task waits. httpcore parses all received data before its next read, and
    64 KiB may contain 10,000 chunks, which take several tenths of a second. So data with many lines is passed to
    httpcore in pieces. And while TLS records have arrived, anyio returns one at each read without waiting, so that a
    server that sends many small ones keeps the task running. So each read checks the deadline and lets other tasks run.
    """

    def __init__(self, stream: Any, socks_replies: int = 0) -> None:
        self._stream = stream
        self._socket: Any = None
        self._socks_replies = socks_replies
        self._ran = 0.0
        """When other tasks last ran for certain, in seconds of the monotonic clock."""
        self._rest = b""
        """Received data that has not been passed to httpcore yet."""

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109 - httpcore's
        now, attempt = time.monotonic(), attempt_context.current()
        if attempt is not None and attempt.expire is not None and now >= attempt.ends:
            await _expire(attempt.expire)
        if self._rest or now - self._ran > _LONGEST_TURN:
            await anyio.lowlevel.checkpoint()
            self._ran = time.monotonic()
        if self._rest:
            data, self._rest = self._rest[:_PIECE], self._rest[_PIECE:]
            return data
        data = await self._received(max_bytes, timeout)
        self._socks_replies -= self._socks_replies > 0
        if data.count(b"\r\n") > _MOST_LINES:  # each chunk and each head has at least one line
            data, self._rest = data[:_PIECE], data[_PIECE:]
        return data

    async def _received(self, max_bytes: int, timeout: float | None) -> bytes:  # noqa: ASYNC109 - httpcore's
        attempt = attempt_context.current()
        if attempt is not None and attempt.stage <= Stage.HEADERS:
            attempt.stage = Stage.HEADERS
            max_bytes = min(max_bytes, MOST_OF_HEAD)
        data: bytes = b""
        with anyio.move_on_after(None if attempt is None else attempt.read_limit) as scope:
            data = await self._stream.read(max_bytes, timeout)
        if scope.cancelled_caught and attempt is not None and attempt.expire is not None:
            await _expire(attempt.expire)
        if attempt is not None:
            attempt.received += len(data)
            attempt.hung_up = not data
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109 - httpcore's
        _reach(Stage.SEND)
        self._negotiated()
        try:
            await self._stream.write(buffer, timeout)
        except BaseException:
            # The data may be incomplete, so the server would misread all further data (over HTTP/2, of other calls
            # too).
            with anyio.CancelScope(shield=True):
                await self._stream.aclose()
            raise
        self._ran = time.monotonic()

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def start_tls(
        self,
        ssl_context: Any,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's
    ) -> AsyncStream:
        self._negotiated()
        attempt = attempt_context.current()
        if attempt is not None:
            attempt.stage = Stage.TLS
        try:
            stream = AsyncStream(await self._stream.start_tls(ssl_context, server_hostname, timeout))
        except BaseException:  # httpcore closes the stream after errors, but not after a cancellation
            with anyio.CancelScope(shield=True):
                await self._stream.aclose()
            raise
        if attempt is not None:
            attempt.stage = Stage.SEND
        return stream

    def _negotiated(self) -> None:
        attempt = attempt_context.current()
        if attempt is not None and attempt.negotiation is self and not self._socks_replies:
            attempt.negotiation = None

    def get_extra_info(self, info: str) -> Any:
        if info != "is_readable":
            return self._stream.get_extra_info(info)
        if self._rest:
            return True  # data without a request means that the connection cannot be reused
        # httpcore calls this for every idle connection at every call, and anyio takes long to find the socket.
        if self._socket is None:
            self._socket = self._stream.get_extra_info("socket")
        return self._socket is None or is_readable(self._socket)


async def _expire(expire: Callable[[], object]) -> None:
    """Cancel the attempt: after an error, httpcore would end all calls that share an HTTP/2 connection."""
    expire()
    await anyio.lowlevel.checkpoint()


async def _resolve(attempt: AttemptContext, host: str, port: int) -> Sequence[AddressInfo]:
    attempt.stage = Stage.DNS
    found = connect.literal(host, port)
    if found:
        return found
    names = connect.names(attempt)
    look_up = names.begin(host, port)
    done = anyio.Event()
    look_up.notify(waker(done))
    while not look_up.done:
        names.provide_thread(look_up)
        with anyio.move_on_after(resolver.CHECK_THREADS):
            await done.wait()
    return look_up.result()


def _reach(stage: Stage) -> None:
    attempt = attempt_context.current()
    if attempt is not None and attempt.stage < stage:
        attempt.stage = stage
