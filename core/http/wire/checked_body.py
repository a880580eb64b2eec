"""What `Response.raw` is: urllib3's response, which says so when a compressed body lacks its end.

urllib3 takes what a decompressor made of half a body for the whole. `Response.content` and `iter_content` would be
easy to check afterwards; who reads `Response.raw` gets the same answer only from here.
"""

from __future__ import annotations

from collections.abc import Generator

from urllib3.exceptions import DecodeError, HTTPError, ProtocolError
from urllib3.response import HTTPResponse

from . import compat

_OVERHEAD = 64 * 1024
"""Bytes by which a body may be longer compressed than not."""
_MOST_SILENT = 256 * 1024
"""Bytes that decompress to nothing, one after another. (A block of zstd may have 128 KiB.)"""


class EncodedBodyTooLargeError(HTTPError):
    """The body is too large before it is decompressed."""


class CheckedBody(HTTPResponse):
    """A `urllib3.HTTPResponse` whose reading ends with a `ProtocolError` where a compressed body is cut short."""

    most_bytes: int | None = None
    """Limit of the body, before it is decompressed too: it may be endless and decompress to nothing."""
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
        if self._encoded and compat.is_cut_short(self):  # an empty body is no gzip either, but accepted
            raise ProtocolError("The compressed body ends in the middle")

    def _decode(
        self, data: bytes, decode_content: bool | None, flush_decoder: bool, max_length: int | None = None
    ) -> bytes:
        self._encoded += len(data)
        if self.most_bytes is not None and self._encoded > self.most_bytes + _OVERHEAD:
            raise EncodedBodyTooLargeError
        decoded = super()._decode(data, decode_content, flush_decoder, max_length)
        self._silent = 0 if decoded else self._silent + len(data)
        if self._silent > _MOST_SILENT:
            raise DecodeError("What was received decompresses to nothing")
        return decoded

    def _flush_decoder(self) -> bytes:
        try:
            return super()._flush_decoder()
        except self.DECODER_ERROR_CLASSES as exc:  # _decode has them caught, but not those of the end
            raise DecodeError("The end of the body cannot be decompressed", exc) from exc
