"""Decodes a body piece by piece, within a limit, with urllib3's decoders: so every driver bounds and checks alike."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import urllib3.response
from urllib3.exceptions import DecodeError

from . import compat

_PIECE = 64 * 1024
"""Bytes that are decoded at a time, and compressed ones that a decoder is fed at a time."""
OVERHEAD = 64 * 1024
"""Bytes by which a body may be longer compressed than not."""
_MOST_SILENT = 256 * 1024
"""Bytes that decompress to nothing, one after another. (A block of zstd may have 128 KiB.)"""
_BROKEN: tuple[type[Exception], ...] = (DecodeError, *urllib3.response.HTTPResponse.DECODER_ERROR_CLASSES)


class BodyTooLarge(Exception):  # noqa: N818 - turned into ResponseTooLarge where the request is known
    """The body exceeds its limit, decoded or not."""


class BodyBroken(Exception):  # noqa: N818 - turned into an error of the client
    """The body cannot be decoded, or ends in the middle."""


def is_known(coding: str) -> bool:
    """Say whether bodies with this content coding can be decoded: that depends on what is installed."""
    return coding in urllib3.response.HTTPResponse.CONTENT_DECODERS


class ContentDecoder:
    """Decodes one body. Raises `BodyTooLarge` and `BodyBroken`."""

    def __init__(self, codings: Sequence[str], limit: int | None) -> None:
        """Make one.

        :param codings: of the header Content-Encoding, in its order; those that nobody knows are left alone, as httpx
            and urllib3 do.
        :param limit: bytes, decoded; None: no limit.
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
        """Yield what `data` decodes to, in pieces of 64 KiB or so."""
        self._received += len(data)
        if self._limit is not None and self._received > self._limit + OVERHEAD:
            raise BodyTooLarge
        if self._decoder is None:
            yield self._counted(data)
            return
        for start in range(0, len(data), _PIECE):
            yield from self._decode(data[start : start + _PIECE])

    def finish(self) -> bytes:
        """Return what is left. Raises `BodyBroken` where the body lacks its end."""
        if self._decoder is None or not self._received:  # an empty body is no gzip either, but accepted
            return b""
        try:
            rest = self._counted(self._decoder.flush())
        except _BROKEN as exc:
            raise BodyBroken("The end of the body cannot be decompressed") from exc
        if compat.lacks_end(self._decoder):
            raise BodyBroken("The compressed body ends in the middle")
        return rest

    def _decode(self, data: bytes) -> Iterator[bytes]:
        while True:
            try:
                piece: bytes = self._decoder.decompress(data, max_length=_PIECE)
            except _BROKEN as exc:
                raise BodyBroken(f"The body is not what its Content-Encoding says: {type(exc).__name__}") from exc
            self._silent = 0 if piece else self._silent + len(data)
            if self._silent > _MOST_SILENT:
                raise BodyBroken("What was received decompresses to nothing")
            yield self._counted(piece)
            data = b""
            if not self._decoder.has_unconsumed_tail:
                return

    def _counted(self, piece: bytes) -> bytes:
        self._decoded += len(piece)
        if self._limit is not None and self._decoded > self._limit:
            raise BodyTooLarge
        return piece
