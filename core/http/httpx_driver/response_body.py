"""Reads response bodies, during the attempt or for the caller."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from typing import Any, Self

import anyio
import anyio.lowlevel

from .. import response_size_limits
from ..engine.concurrency_and_pacing import Slot
from ..wire import attempt_context
from ..wire.content_decoder import OVERHEAD, BodyBroken, BodyTooLarge, ContentDecoder
from . import compat
from .library import Library

_CHUNKS_A_STEP = 64
_BYTES_A_STEP = 256 * 1024
"""Numbers of chunks and of bytes that are read or decoded before other tasks of the event loop run."""


class Reading:
    """Collects the body of one response up to its limit, and decodes it."""

    def __init__(self, library: Library, response: Any, limit: int | None) -> None:
        self._library = library
        self._response = response
        self._limit = response_size_limits.of_redirect(limit) if response.has_redirect_location else limit
        self._codings = response.codings()
        self.raw = bytearray()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self.raw.clear()  # the traceback of the error keeps this object alive

    def add(self, chunk: bytes) -> None:
        """Add a chunk. Raises `BodyTooLarge`."""
        self.raw += chunk
        if self._limit is not None and len(self.raw) > self._limit + (OVERHEAD if self._codings else 0):
            raise BodyTooLarge

    def pieces(self) -> Iterator[bytes]:
        """Yield the decoded body in pieces. Raises `BodyTooLarge` and `BodyBroken`."""
        decoder = ContentDecoder(self._codings, self._limit)
        yield from decoder.decode(bytes(self.raw))
        yield decoder.finish()

    @property
    def is_encoded(self) -> bool:
        return bool(self._codings)

    def check(self, exc: BodyTooLarge | BodyBroken) -> None:
        """Raise the error of this driver for `exc`. Does nothing for a redirect, because only its Location matters."""
        if self._response.has_redirect_location:
            return
        if isinstance(exc, BodyBroken):
            raise self._library.httpx.DecodingError(str(exc)) from exc
        text = f"The body is larger than max_response_bytes={self._limit}"
        raise self._library.errors.response_too_large(text) from exc

    def finish(self, content: bytes) -> None:
        """Set the decoded body of the response, from which its methods read after this call."""
        response = self._response
        response.decoded = (content, len(self.raw))
        response.stream = self._library.httpx.ByteStream(bytes(self.raw) if self._codings else content)


def read(library: Library, response: Any, limit: int | None) -> None:
    """Read the whole body of `response`. Raises `ResponseTooLarge` and the errors of httpx."""
    if compat.is_read(response):
        return  # the response is from a mock
    attempt, content = attempt_context.current(), b""
    stream = response.stream
    with Reading(library, response, limit) as reading:
        try:
            for chunk in stream:
                reading.add(chunk)
                if attempt is not None:
                    attempt.left()
            content = b"".join(_in_time(reading.pieces())) if reading.is_encoded else bytes(reading.raw)
        except (BodyTooLarge, BodyBroken) as exc:
            reading.check(exc)
        finally:
            stream.close()
    reading.finish(content)


def _in_time(pieces: Iterator[bytes]) -> Iterator[bytes]:
    attempt = attempt_context.current()
    for piece in pieces:
        if attempt is not None:
            attempt.left()  # decoding takes time too
        yield piece


async def aread(library: Library, response: Any, limit: int | None) -> None:
    """Read the whole body as `read` does, and let other tasks run while a large body is read and decoded."""
    if compat.is_read(response):
        return
    stream, content = response.stream, b""
    chunks = aiter(stream)
    with Reading(library, response, limit) as reading:
        try:
            await _gather(chunks, reading)
            content = await _adecoded(reading) if reading.is_encoded else bytes(reading.raw)
        except (BodyTooLarge, BodyBroken) as exc:
            reading.check(exc)
        finally:
            with anyio.CancelScope(shield=True):
                await stream.aclose()
    reading.finish(content)


async def _gather(chunks: AsyncIterator[bytes], reading: Reading) -> None:
    count = 0
    try:
        async for chunk in chunks:
            reading.add(chunk)
            count += 1
            if not count % _CHUNKS_A_STEP:
                await anyio.lowlevel.checkpoint()
    except BaseException:
        await _give_up(chunks)
        raise


async def _give_up(chunks: AsyncIterator[bytes]) -> None:
    """End the generators of httpx and httpcore by a cancellation, which takes effect at their next network operation.

    If only the outer generator were closed, the inner ones would be left to the garbage collector, which trio reports
    as an error.
    """
    with anyio.CancelScope(shield=True) as scope, suppress(Exception):
        scope.cancel()
        async for _ in chunks:
            pass


async def _adecoded(reading: Reading) -> bytes:
    content, step = bytearray(), 0
    try:
        for piece in reading.pieces():
            content += piece
            step += len(piece) + 1024
            if step > _BYTES_A_STEP:
                await anyio.lowlevel.checkpoint()
                step = 0
    except BaseException:
        content.clear()  # the traceback of the error keeps it alive
        raise
    return bytes(content)


class SyncBody:
    """A response body that the caller reads. It keeps the concurrency slot until it is closed or garbage-collected."""

    def __init__(self, stream: Any, slot: Slot | None) -> None:
        self._stream = stream
        self._slot = slot

    def __iter__(self) -> Iterator[bytes]:
        yield from self._stream

    def close(self) -> None:
        try:
            self._stream.close()
        finally:
            if self._slot is not None:
                self._slot.leave()


class AsyncBody:
    """A response body that an asynchronous caller reads: see `SyncBody`.

    It raises a read timeout if no chunk arrives for `seconds`. (A timeout of httpcore would also end all other streams
    of an HTTP/2 connection.)
    """

    def __init__(self, stream: Any, slot: Slot | None, seconds: float, read_timeout: Any) -> None:
        self._stream = stream
        self._slot = slot
        self._seconds = seconds
        self._read_timeout = read_timeout

    async def __aiter__(self) -> AsyncIterator[bytes]:
        chunks = aiter(self._stream)
        try:
            while True:
                with anyio.move_on_after(self._seconds) as scope:
                    chunk: bytes | None = await anext(chunks, None)
                if scope.cancelled_caught:
                    raise self._read_timeout(f"The server sent no more of the body for {self._seconds:g} s")
                if chunk is None:
                    return
                yield chunk
        finally:
            await _give_up(chunks)

    async def aclose(self) -> None:
        try:
            await self._stream.aclose()
        finally:
            if self._slot is not None:
                self._slot.leave()
