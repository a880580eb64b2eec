"""A response of which decoding, text and JSON cost no more than work that is linear in what the server sent."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any

from ..outcome import Attempt
from ..wire import charsets, json_nodes, redaction
from ..wire.content_decoder import BodyBroken, BodyTooLarge, ContentDecoder
from . import compat
from .library import Library

if TYPE_CHECKING:

    class _Response:
        """What `ResilientResponse` uses of `httpx.Response`."""

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
    """Goes before `httpx.Response` in the bases of the class that a binding makes."""

    library: Library
    """(Not a class variable: the class is one of the things in it.)"""
    attempts: tuple[Attempt, ...] = ()
    """What it took: every attempt of the call, those of its redirects included."""
    max_bytes: int | None = None
    """Limit of the body, decoded, where it is read into memory."""
    max_json_nodes: int | None = None
    decoded: tuple[bytes, int] | None = None
    """The body, decoded, and how many bytes were received: where it was read inside of its attempt."""

    def read(self) -> bytes:
        """As in httpx. Raises `ResponseTooLarge` where the body is longer than `Policy.max_response_bytes`."""
        if not compat.is_read(self):
            if self.decoded is None:
                content = b"".join(self._decode(self.iter_raw(), self.max_bytes))
                compat.set_content(self, content, self.num_bytes_downloaded)
            else:
                compat.set_content(self, *self.decoded)
                self.close()
        return compat.content_of(self)

    async def aread(self) -> bytes:
        """As `read`."""
        if not compat.is_read(self):
            if self.decoded is None:
                pieces = [piece async for piece in self._adecode(self.aiter_raw(), self.max_bytes)]
                compat.set_content(self, b"".join(pieces), self.num_bytes_downloaded)
            else:
                compat.set_content(self, *self.decoded)
                await self.aclose()
        return compat.content_of(self)

    def iter_bytes(self, chunk_size: int | None = None) -> Iterator[bytes]:
        """As in httpx, decoded in pieces of 64 KiB at most."""
        if compat.is_read(self):
            yield from super().iter_bytes(chunk_size)
            return
        yield from _chunked(self._decode(self.iter_raw(), None), chunk_size)

    async def aiter_bytes(self, chunk_size: int | None = None) -> Any:
        """As `iter_bytes`."""
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
        """As in httpx; but a charset that the server names counts only where Python's codec for it is one of text."""
        name: str | None = super().charset_encoding
        return name if name is not None and charsets.codec_of(name) else None

    def json(self, **kwargs: Any) -> Any:
        """As in httpx. Raises `ResponseTooLarge` for more nodes than `Policy.max_json_nodes`."""
        if self.max_json_nodes is not None and json_nodes.more_than(self.max_json_nodes, self.text):
            raise self._too_large(f"The JSON document has more than max_json_nodes={self.max_json_nodes} nodes")
        return super().json(**kwargs)

    def raise_for_status(self) -> Any:
        """As in httpx; the text of the error has neither query nor userinfo of a URL."""
        try:
            return super().raise_for_status()
        except self.library.httpx.HTTPStatusError as exc:
            redaction.error(exc, redaction.secrets_of(str(self.url), self.headers.get("location")))
            exc.attempts = self.attempts
            raise

    def codings(self) -> list[str]:
        """Return the content codings that the server names, in its order."""
        return [
            coding.strip().lower() for coding in self.headers.get_list("content-encoding", split_commas=True) if coding
        ]

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
        return error

    def _too_large(self, text: str) -> Exception:
        error: Exception = self.library.errors.response_too_large(text, request=self.request)
        error.attempts = self.attempts  # type: ignore[attr-defined]  # that of ResponseTooLarge
        return error


def _chunked(pieces: Iterator[bytes], size: int | None) -> Iterator[bytes]:
    rest = b""
    for piece in pieces:
        *chunks, rest = _cut(rest + piece, size)
        yield from chunks
    if rest:
        yield rest


def _cut(data: bytes, size: int | None) -> list[bytes]:
    """Cut `data` into chunks of `size` bytes; the last one may be shorter, or empty."""
    if size is None:
        return [data, b""] if data else [b""]
    whole = len(data) // size * size
    return [*(data[start : start + size] for start in range(0, whole, size)), data[whole:]]
