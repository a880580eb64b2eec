"""Decodes a body in pieces, up to a limit. It uses urllib3's decoders, so that all drivers apply the same checks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import urllib3.response
from urllib3.exceptions import DecodeError

from . import compat

_PIECE = 64 * 1024
"""Maximum number of bytes that are given to a decoder at once, and that it returns at once."""
OVERHEAD = 64 * 1024
"""Number of bytes by which a compressed body may exceed the limit for decompressed bytes."""
_MOST_SILENT = 256 * 1024
"""Maximum number of consecutive bytes without decompressed output. (A zstd block may have 128 KiB.)"""
_BROKEN: tuple[type[Exception], ...] = (DecodeError, *urllib3.response.HTTPResponse.DECODER_ERROR_CLASSES)


class BodyTooLarge(Exception):  # noqa: N818 - turned into ResponseTooLarge where the request is known
    """The body exceeds its limit, before or after decoding."""


class BodyBroken(Exception):  # noqa: N818 - turned into an error of the client
    """The body cannot be decoded or is truncated."""


def is_known(coding: str) -> bool:
    """Return whether this content coding can be decoded, which depends on the installed packages."""
    return coding in urllib3.response.HTTPResponse.CONTENT_DECODERS


class ContentDecoder:
    """Decodes one body. Raises `BodyTooLarge` and `BodyBroken`."""

    def __init__(self, codings: Sequence[str], limit: int | None) -> None:
        """Create the decoders.

        :param codings: the codings in the Content-Encoding header, in its order. Unknown codings are ignored, as in
            httpx. (urllib3 raises an error if a list contains known and unknown codings.)
        :param limit: maximum number of decoded bytes; None: no limit.
        """
        known = [coding for coding in codings if is_known(coding)]
        try:
            self._decoder: Any = urllib3.response.MultiDecoder(",".join(known)) if known else None
        except DecodeError as exc:
            raise BodyBroken(str(exc)) from exc
        self._limit = limit
        self._received = 0
        self._decoded = 0
        self._silent = 0

    def decode(self, data: bytes) -> Iterator[bytes]:
        """Yield the decoded `data` in pieces of about 64 KiB, or unchanged if the body has no known coding."""
        self._received += len(data)
        if self._limit is not None and self._received > self._limit + OVERHEAD:
            raise BodyTooLarge
        if self._decoder is None:
            yield self._counted(data)
            return
        for start in range(0, len(data), _PIECE):
            yield from self._decode(data[start : start + _PIECE])

    def finish(self) -> bytes:
        """Return the remaining decoded bytes. Raises `BodyBroken` if the body is truncated."""
        if self._decoder is None or not self._received:  # an empty body is not valid gzip, but accepted
            return b""
        try:
            rest = self._counted(self._decoder.flush())
        except _BROKEN as exc:
            raise BodyBroken("The end of the body cannot be decompressed") from exc
        if compat.lacks_end(self._decoder):
            raise BodyBroken("The compressed body is truncated")
        return rest

    def _decode(self, data: bytes) -> Iterator[bytes]:
        while True:
            try:
                piece: bytes = self._decoder.decompress(data, max_length=_PIECE)
            except _BROKEN as exc:
                raise BodyBroken(f"The body does not match its Content-Encoding: {type(exc).__name__}") from exc
            self._silent = 0 if piece else self._silent + len(data)
            if self._silent > _MOST_SILENT:
                raise BodyBroken("The compressed data decompresses to nothing")
            yield self._counted(piece)
            data = b""
            # A full piece may have been cut off. (Brotli has no unconsumed input then, but more output.)
            if len(piece) < _PIECE and not self._decoder.has_unconsumed_tail:
                return

    def _counted(self, piece: bytes) -> bytes:
        self._decoded += len(piece)
        if self._limit is not None and self._decoded > self._limit:
            raise BodyTooLarge
        return piece
