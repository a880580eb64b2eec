"""A response whose `content`, `text` and `json` take time proportional to the bytes that the server sent."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ..outcome import Attempt
from ..wire import json_nodes, redaction, text_decoder
from ..wire.content_decoder import BodyBroken, BodyTooLarge, ContentDecoder
from . import compat
from .library import Library

if TYPE_CHECKING:

    class _Response:
        """The part of `httpx.Response` that `ResilientResponse` uses."""

        headers: Any
        request: Any
        url: Any
        charset_encoding: Any
        num_bytes_downloaded: int

        def iter_raw(self, chunk_size: int | None = None) -> Any: ...
        def aiter_raw(self, chunk_size: int | None = None) -> Any: ...
        def iter_bytes(self, chunk_size: int | None = None) -> Iterator[bytes]: ...
        def aiter_bytes(self, chunk_size: int | None = None) -> Any: ...
        def close(self) -> None: ...
        async def aclose(self) -> None: ...
        def json(self, **kwargs: Any) -> Any: ...
        def raise_for_status(self) -> Any: ...
        @property
        def text(self) -> str: ...

else:
    _Response = object


class ResilientResponse(_Response):
    """A response with limits for reading it.

    `core.http.httpx` and `core.http.httpx2` derive a class from this one and from the `Response` of their library.
    """

    library: Library
    """(Not declared as a class variable, because `Library` refers to the class.)"""
    attempts: tuple[Attempt, ...] = ()
    """All attempts of the call, including those of its redirects."""
    max_bytes: int | None = None
    """Maximum number of bytes of the decoded body in memory; None: no limit."""
    max_json_nodes: int | None = None
    decoded: tuple[bytes, int] | None = None
    """The decoded body and the number of received bytes, if the body was read during the attempt; otherwise None."""

    def read(self) -> bytes:
        """Read the body as httpx does.

        :raises ResponseTooLarge: if the body is larger than `Policy.max_response_bytes`.
        """
        if not compat.is_read(self):
            if self.decoded is None:
                content = b"".join(self._decode(self.iter_raw(), self.max_bytes))
                compat.set_content(self, content, self.num_bytes_downloaded)
            else:
                compat.set_content(self, *self.decoded)
                self.close()
        return compat.content_of(self)

    async def aread(self) -> bytes:
        """Read the body as `read` does."""
        if not compat.is_read(self):
            if self.decoded is None:
                pieces = [piece async for piece in self._adecode(self.aiter_raw(), self.max_bytes)]
                compat.set_content(self, b"".join(pieces), self.num_bytes_downloaded)
            else:
                compat.set_content(self, *self.decoded)
                await self.aclose()
        return compat.content_of(self)

    def iter_raw(self, chunk_size: int | None = None) -> Iterator[bytes]:
        with self._attempts_in_errors():
            yield from super().iter_raw(chunk_size)

    async def aiter_raw(self, chunk_size: int | None = None) -> Any:
        with self._attempts_in_errors():
            async for chunk in super().aiter_raw(chunk_size):
                yield chunk

    def iter_bytes(self, chunk_size: int | None = None) -> Iterator[bytes]:
        """Yield chunks as httpx does, decoded in pieces of about 64 KiB."""
        if compat.is_read(self):
            yield from super().iter_bytes(chunk_size)
            return
        yield from _chunked(self._decode(self.iter_raw(), None), chunk_size)

    async def aiter_bytes(self, chunk_size: int | None = None) -> Any:
        """Yield chunks as `iter_bytes` does."""
        if compat.is_read(self):
            async for chunk in super().aiter_bytes(chunk_size):
                yield chunk
            return
        rest = b""
        async for piece in self._adecode(self.aiter_raw(), None):
            *chunks, rest = _cut(rest + piece, chunk_size)
            for chunk in chunks:
                yield chunk
        if rest:
            yield rest

    @property
    def charset_encoding(self) -> str | None:
        """The charset in the headers, as in httpx, but None if Python has no text codec for it."""
        name: str | None = super().charset_encoding
        return name if name is not None and text_decoder.codec_of(name) else None

    def json(self, **kwargs: Any) -> Any:
        """Parse the body as httpx does.

        :raises ResponseTooLarge: if the document has more nodes than `Policy.max_json_nodes`.
        """
        if self.max_json_nodes is not None and json_nodes.more_than(self.max_json_nodes, self.text):
            raise self._too_large(f"The JSON document has more than max_json_nodes={self.max_json_nodes} nodes")
        return super().json(**kwargs)

    def raise_for_status(self) -> Any:
        """Raise an error as httpx does, but mask the query and the userinfo of URLs in its text."""
        try:
            return super().raise_for_status()
        except self.library.httpx.HTTPStatusError as exc:
            redaction.error(exc, redaction.secrets_of(str(self.url), self.headers.get("location")))
            exc.attempts = self.attempts
            raise

    def codings(self) -> list[str]:
        """Return the content codings in the headers, in their order."""
        return [
            coding.strip().lower() for coding in self.headers.get_list("content-encoding", split_commas=True) if coding
        ]

    @contextmanager
    def _attempts_in_errors(self) -> Iterator[None]:
        try:
            yield
        except self.library.httpx.RequestError as exc:
            exc.attempts = self.attempts
            raise

    def _decode(self, raw: Iterator[bytes], limit: int | None) -> Iterator[bytes]:
        try:
            decoder = ContentDecoder(self.codings(), limit)
            for data in raw:
                yield from decoder.decode(data)
            yield decoder.finish()
        except (BodyTooLarge, BodyBroken) as exc:
            self.close()
            raise self._error(exc) from exc

    async def _adecode(self, raw: AsyncIterator[bytes], limit: int | None) -> AsyncIterator[bytes]:
        try:
            decoder = ContentDecoder(self.codings(), limit)
            async for data in raw:
                for piece in decoder.decode(data):
                    yield piece
            yield decoder.finish()
        except (BodyTooLarge, BodyBroken) as exc:
            await self.aclose()
            raise self._error(exc) from exc

    def _error(self, exc: BodyTooLarge | BodyBroken) -> Exception:
        if isinstance(exc, BodyTooLarge):
            return self._too_large(f"The body is larger than max_response_bytes={self.max_bytes}")
        error: Exception = self.library.httpx.DecodingError(str(exc), request=self.request)
        error.attempts = self.attempts  # type: ignore[attr-defined]  # httpx does not declare it
        return error

    def _too_large(self, text: str) -> Exception:
        error: Exception = self.library.errors.response_too_large(text, request=self.request)
        error.attempts = self.attempts  # type: ignore[attr-defined]  # of ResponseTooLarge
        return error


def _chunked(pieces: Iterator[bytes], size: int | None) -> Iterator[bytes]:
    rest = b""
    for piece in pieces:
        *chunks, rest = _cut(rest + piece, size)
        yield from chunks
    if rest:
        yield rest


def _cut(data: bytes, size: int | None) -> list[bytes]:
    """Split `data` into chunks of `size` bytes. The last chunk may be shorter or empty."""
    if size is None:
        return [data, b""] if data else [b""]
    whole = len(data) // size * size
    return [*(data[start : start + size] for start in range(0, whole, size)), data[whole:]]
