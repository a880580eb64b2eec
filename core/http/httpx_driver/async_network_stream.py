"""The network stream that httpcore uses in an event loop, on a stream of anyio.

It replaces httpcore's own stream, which creates a cancel scope for each operation, with or without a timeout. Most
operations of an attempt have no timeout of their own, because one cancel scope bounds the whole attempt.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from ssl import SSLContext, SSLError
from typing import Any

import anyio
import anyio.lowlevel
from anyio.abc import ByteStream, SocketAttribute
from anyio.streams.tls import TLSAttribute, TLSStream

from ..wire import attempt_context
from ..wire.attempt_context import AttemptContext, Stage
from .library import MOST_OF_HEAD
from .readability import is_readable

_MOST_LINES = 256
"""Maximum number of lines passed to httpcore at once. Data with more lines is passed in pieces of `_PIECE` bytes."""
_PIECE = 1024
"""Number of bytes of a piece. They contain at most 170 chunks, or 40 responses "100 Continue"."""
_MOST_SENT = 256 * 1024
"""Bytes sent at once. The event loop of Python 3.11 copies all data that the network does not take at once, and TLS
encrypts it at once, while no other task runs."""
_LONGEST_TURN = 0.01
"""Seconds for which reads may keep other tasks of the loop from running."""
_LOST = (anyio.BrokenResourceError, anyio.ClosedResourceError, anyio.EndOfStream)
_UNLIMITED: AbstractContextManager[object] = nullcontext()
_ATTRIBUTES = {
    "ssl_object": TLSAttribute.ssl_object,
    "client_addr": SocketAttribute.local_address,
    "server_addr": SocketAttribute.remote_address,
    "socket": SocketAttribute.raw_socket,
}


class AsyncStream:
    """An `httpcore.AsyncNetworkStream` that records the stage of its attempt.

    A cancellation takes effect only when the task waits. httpcore parses all received data before its next read, and
    64 KiB may contain 10,000 chunks, which take several tenths of a second. So data with many lines is passed to
    httpcore in pieces, and other tasks run before each further piece. anyio returns one TLS record per read, without
    waiting if a record has already arrived, so a server that sends many small records would keep the task running.
    Therefore each read checks the deadline, and lets other tasks run if they have not run for 10 ms.
    """

    def __init__(self, stream: ByteStream, httpcore: Any, socks_replies: int = 0) -> None:
        """Create the stream.

        :param socks_replies: replies of the SOCKS proxy before the connection to the server is ready; 0: no proxy.
        """
        self._stream = stream
        self._httpcore = httpcore
        self._socket: Any = None
        self._socks_replies = socks_replies
        self._ran = 0.0
        """When other tasks last ran for certain, in seconds of the monotonic clock."""
        self._rest = b""
        """Received data that has not been passed to httpcore yet."""

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109 - httpcore's
        now, attempt = time.monotonic(), attempt_context.current()
        _reach(attempt, Stage.HEADERS)
        if attempt is not None and now >= attempt.ends:
            await _expire(attempt)
        if self._rest or now - self._ran > _LONGEST_TURN:
            await anyio.lowlevel.checkpoint()
            self._ran = time.monotonic()
        if self._rest:
            data, self._rest = self._rest[:_PIECE], self._rest[_PIECE:]
            return data
        data = await self._received(attempt, max_bytes, timeout)
        self._socks_replies -= self._socks_replies > 0
        if data.count(b"\r\n") > _MOST_LINES:  # each chunk and each head has at least one
            data, self._rest = data[:_PIECE], data[_PIECE:]
        return data

    async def _received(
        self,
        attempt: AttemptContext | None,
        max_bytes: int,
        timeout: float | None,  # noqa: ASYNC109 - httpcore's
    ) -> bytes:
        if attempt is not None and attempt.stage is Stage.HEADERS:
            max_bytes = min(max_bytes, MOST_OF_HEAD)
        data = b""
        try:
            with within(timeout if attempt is None or attempt.read_limit is None else attempt.read_limit):
                data = await self._stream.receive(max_bytes)
        except anyio.EndOfStream:
            pass
        except TimeoutError as exc:
            if attempt is None or attempt.read_limit is None:
                raise self._httpcore.ReadTimeout(str(exc)) from exc
            await _expire(attempt)
        except _LOST as exc:
            raise self._httpcore.ReadError(str(exc)) from exc
        if attempt is not None:
            attempt.received += len(data)
            attempt.hung_up = not data
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109 - httpcore's
        attempt = attempt_context.current()
        _reach(attempt, Stage.SEND)
        self._negotiated(attempt)
        try:
            with mapped(self._httpcore.WriteTimeout, self._httpcore.WriteError), within(timeout):
                for start in range(0, len(buffer), _MOST_SENT):
                    await self._stream.send(buffer[start : start + _MOST_SENT])
        except BaseException:
            # The data may be incomplete, so the server would misread all further data, over HTTP/2 of other calls too.
            with anyio.CancelScope(shield=True):
                await self._stream.aclose()
            raise
        self._ran = time.monotonic()

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def start_tls(
        self,
        ssl_context: SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's
    ) -> AsyncStream:
        attempt = attempt_context.current()
        self._negotiated(attempt)
        if attempt is not None:
            attempt.stage = Stage.TLS
        try:
            with mapped(self._httpcore.ConnectTimeout, self._httpcore.ConnectError, SSLError), within(timeout):
                stream = await TLSStream.wrap(
                    self._stream,
                    server_side=False,
                    hostname=server_hostname,
                    ssl_context=ssl_context,
                    standard_compatible=False,  # as HTTP does: the server may close without TLS's own end
                )
        except BaseException:  # httpcore closes the stream after errors, but not after a cancellation
            with anyio.CancelScope(shield=True):
                await self._stream.aclose()
            raise
        if attempt is not None:
            attempt.stage = Stage.SEND
        return AsyncStream(stream, self._httpcore)

    def _negotiated(self, attempt: AttemptContext | None) -> None:
        if attempt is not None and attempt.negotiation is self and not self._socks_replies:
            attempt.negotiation = None

    def get_extra_info(self, info: str) -> Any:
        if info != "is_readable":
            return extra(self._stream, info)
        if self._rest:
            return True  # data without a request means that the connection cannot be reused
        # httpcore calls this for every idle connection at every call, and anyio takes long to find the socket.
        if self._socket is None:
            self._socket = extra(self._stream, "socket")
        return self._socket is None or is_readable(self._socket)


def extra(stream: ByteStream, info: str) -> Any:
    """Return the attribute of a stream that httpcore names `info`; None if the name or the attribute is unknown."""
    attribute: Any = _ATTRIBUTES.get(info)
    return None if attribute is None else stream.extra(attribute, None)  # noqa: S610 - it is not Django's `extra`


@contextmanager
def mapped(timed_out: Any, failed: Any, *more: type[Exception]) -> Iterator[None]:
    """Raise `timed_out` for a `TimeoutError`, and `failed` for anyio's errors of a lost connection and for `more`."""
    try:
        yield
    except TimeoutError as exc:
        raise timed_out(str(exc)) from exc
    except _LOST + more as exc:
        raise failed(str(exc)) from exc


def within(seconds: float | None) -> AbstractContextManager[object]:
    """Return a context manager that raises `TimeoutError` after `seconds`; None: no limit."""
    return _UNLIMITED if seconds is None else anyio.fail_after(seconds)


async def _expire(attempt: AttemptContext) -> None:
    """Cancel the attempt: after an error, httpcore would end all calls that share an HTTP/2 connection."""
    if attempt.expire is not None:
        attempt.expire()
    await anyio.lowlevel.checkpoint()


def _reach(attempt: AttemptContext | None, stage: Stage) -> None:
    if attempt is not None and attempt.stage < stage:
        attempt.stage = stage
