"""Reads the head of an answer, and refuses what http.client would take for a shorter one."""

from __future__ import annotations

import http.client
import io
from typing import Any

from urllib3.exceptions import (
    HeaderParsingError,
    InvalidHeader,
)
from urllib3.util.response import assert_header_parsing

from . import compat

_MAX_HEAD = 1024 * 1024
"""Bytes of status lines and headers, interim answers included. (http.client bounds a line and their number.)"""
_MAX_LINE = 65537
"""Bytes of a line of which http.client or urllib3 ask for the whole: chunk sizes and trailers."""
_readline = io.BufferedReader.readline


class HeadCutShort(http.client.IncompleteRead):
    """The server closed in the middle of status line or headers."""


class _Lines(io.BufferedReader):
    """What an answer is read from. In its head, what http.client would take for the end is an error."""

    in_head = True
    _head_left = _MAX_HEAD

    def readline(self, size: int | None = -1, /) -> bytes:
        limit = _MAX_LINE if size is None or size < 0 else size
        line = _readline(self, limit)
        if line[-1:] != b"\n":
            self._check_end(line, limit)
        if self.in_head:
            self._head_left -= len(line)
            if self._head_left < 0:
                raise http.client.HTTPException("the head of the answer is too long")
            if b"\0" in line:
                raise http.client.HTTPException("the head of the answer holds a NUL")
        return line

    def _check_end(self, line: bytes, limit: int) -> None:
        if len(line) >= limit:
            raise http.client.LineTooLong("answer")
        if self.in_head and (line or self._head_left < _MAX_HEAD):
            raise HeadCutShort(line)
        if line:  # half a chunk size, "0" of "0400" say, which would be taken for the last one
            raise http.client.IncompleteRead(line)


class StrictResponse(http.client.HTTPResponse):
    """An answer whose head has to be whole and well-formed. http.client takes half of the headers for all of them."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fp: Any = self.fp
        if type(self.fp) is io.BufferedReader:  # and not what a test tool made of a string
            self.fp = _Lines(self.fp.detach())

    def begin(self) -> None:
        super().begin()
        if isinstance(self.fp, _Lines):
            self.fp.in_head = False
        if self.msg.defects:
            try:
                assert_header_parsing(self.msg)  # which defects count is for urllib3 to say
            except (HeaderParsingError, TypeError):
                raise http.client.HTTPException("a line in the head of the answer is no header") from None
        lengths = {value.strip() for value in self.msg.get_all("Content-Length", ())}
        if len(lengths) > 1 or any(not (value.isascii() and value.isdigit() and len(value) <= 18) for value in lengths):
            raise InvalidHeader("Content-Length is not one number")

        if self.status == http.client.SWITCHING_PROTOCOLS:  # nobody asked for it: who knows what comes next
            self.will_close = True
        elif self.length == 0 and self.chunked:  # 204, 304 or HEAD: urllib3 would wait for chunks
            compat.close_connection(self)

    def _safe_read(self, amt: int) -> bytes:
        if amt < 0:  # a negative chunk size: read() would take it for "everything"
            raise http.client.IncompleteRead(b"")
        return super()._safe_read(amt)  # type: ignore[misc,no-any-return]  # private; urllib3 reads chunks by it

    def _read_status(self) -> tuple[str, int, str]:
        version, status, reason = super()._read_status()  # type: ignore[misc]  # private, and there since Python 2
        while 100 < status < 200 and status != 101:  # an interim answer; http.client knows 100 only
            http.client.parse_headers(self.fp)
            version, status, reason = super()._read_status()  # type: ignore[misc]  # as above
        return version, status, reason
