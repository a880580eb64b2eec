"""The class of `Response.raw`: urllib3's response, with an error for truncated compressed bodies.

urllib3 accepts the output of a decompressor for a truncated body as complete. `Response.content` and `iter_content`
could be checked afterwards, but callers that read `Response.raw` need the check here.
"""

from __future__ import annotations

from collections.abc import Generator

from urllib3.exceptions import DecodeError, HTTPError, ProtocolError
from urllib3.response import HTTPResponse

from . import compat

_OVERHEAD = 64 * 1024
"""Number of bytes by which a compressed body may exceed the limit for decompressed bytes."""
_MOST_SILENT = 256 * 1024
"""Maximum number of consecutive bytes without decompressed output. (A zstd block may have 128 KiB.)"""


class EncodedBodyTooLargeError(HTTPError):
    """The compressed body is too large."""


class CheckedBody(HTTPResponse):
    """A `urllib3.HTTPResponse` that raises `ProtocolError` at the end of a truncated compressed body."""

    most_bytes: int | None = None
    """Maximum number of bytes of the body, before and after decompression, because an endless body may decompress to
    nothing. None: no limit."""
    _encoded = 0
    _silent = 0

    def read(self, amt: int | None = None, decode_content: bool | None = None, cache_content: bool = False) -> bytes:
        data = super().read(amt, decode_content, cache_content)
        if amt is None or amt < 0 or (amt and not data):
            self._check_end()
        return data

    def read1(self, amt: int | None = None, decode_content: bool | None = None) -> bytes:
        data = super().read1(amt, decode_content)
        if amt != 0 and not data:
            self._check_end()
        return data

    def stream(self, amt: int | None = 2**16, decode_content: bool | None = None) -> Generator[bytes]:
        yield from super().stream(amt, decode_content)
        self._check_end()

    def read_chunked(self, amt: int | None = None, decode_content: bool | None = None) -> Generator[bytes]:
        yield from super().read_chunked(amt, decode_content)
        self._check_end()

    def _check_end(self) -> None:
        if self._encoded and compat.is_cut_short(self):  # an empty body is not valid gzip, but accepted
            raise ProtocolError("The compressed body is truncated")

    def _decode(
        self, data: bytes, decode_content: bool | None, flush_decoder: bool, max_length: int | None = None
    ) -> bytes:
        self._encoded += len(data)
        if self.most_bytes is not None and self._encoded > self.most_bytes + _OVERHEAD:
            raise EncodedBodyTooLargeError
        decoded = super()._decode(data, decode_content, flush_decoder, max_length)
        self._silent = 0 if decoded else self._silent + len(data)
        if self._silent > _MOST_SILENT:
            raise DecodeError("The compressed data decompresses to nothing")
        return decoded

    def _flush_decoder(self) -> bytes:
        try:
            return super()._flush_decoder()
        except self.DECODER_ERROR_CLASSES as exc:  # urllib3 translates them in _decode, but not here
            raise DecodeError("The end of the body cannot be decompressed", exc) from exc
