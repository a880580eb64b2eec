"""Reads the head of a response (status line and headers), and rejects truncated heads, which http.client accepts."""

from __future__ import annotations

import http.client
import io
from typing import Any

from urllib3.exceptions import (
    HeaderParsingError,
    InvalidHeader,
)
from urllib3.util.response import assert_header_parsing

from . import compat, fast_response_head

_MAX_HEAD = 1024 * 1024
"""Maximum number of bytes of status lines and headers, including interim responses. (http.client limits only the length
and the number of lines.)"""
_MAX_LINE = 65537
"""Maximum number of bytes of lines that http.client or urllib3 read without a limit: chunk sizes and trailers."""
_readline = io.BufferedReader.readline
_begin = http.client.HTTPResponse.begin


class HeadCutShort(http.client.IncompleteRead):
    """The server closed the connection in the middle of the status line or headers."""


class _Lines(io.BufferedReader):
    """The reader of a response. It raises an error if the head is truncated, which http.client accepts."""

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
                raise http.client.HTTPException("the response headers are longer than 1 MiB")
            if b"\0" in line:
                raise http.client.HTTPException("the response headers contain a NUL")
        return line

    def _check_end(self, line: bytes, limit: int) -> None:
        if len(line) >= limit:
            raise http.client.LineTooLong("response")
        if self.in_head and (line or self._head_left < _MAX_HEAD):
            raise HeadCutShort(line)
        if line:  # a truncated chunk size, for example "0" of "0400", which would end the body
            raise http.client.IncompleteRead(line)


class StrictResponse(http.client.HTTPResponse):
    """A response whose head must be complete and well-formed. http.client accepts truncated headers as complete."""

    def __init__(self, sock: Any, debuglevel: int = 0, method: str | None = None, url: str | None = None) -> None:
        super().__init__(sock, debuglevel, method, url)
        self.fp: Any = self.fp
        self._has_no_body = method == "HEAD"
        if type(self.fp) is io.BufferedReader:  # not a test tool's reader of a string
            self.fp = _Lines(self.fp.detach())

    def begin(self) -> None:
        head = None
        # If other code has replaced the method of http.client, the replacement is called.
        is_original = http.client.HTTPResponse.begin is _begin and not self.debuglevel
        if is_original and self.msg is None and isinstance(self.fp, _Lines):
            head = fast_response_head.parse(self.fp.peek())
        if head is None:
            super().begin()
            self._check_head()
        else:
            self._begin_with(head)
        if isinstance(self.fp, _Lines):
            self.fp.in_head = False
        if self.status == http.client.SWITCHING_PROTOCOLS:  # was not requested, so the following bytes have no meaning
            self.will_close = True
        elif self.length == 0 and self.chunked:  # 204, 304 or HEAD: urllib3 would wait for chunks
            compat.close_connection(self)

    def _begin_with(self, head: fast_response_head.PlainHead) -> None:
        """Set the attributes that `begin` of http.client sets, from a head that was parsed without it."""
        self.fp.read(head.size)
        self.code = self.status = head.status
        self.reason, self.version = head.reason, 11
        self.headers = self.msg = head.message
        self.chunked, self.length, self.will_close = head.length is None, head.length, head.closes
        if self.chunked:
            self.chunk_left = None
        if self._has_no_body or head.status in {http.client.NO_CONTENT, http.client.NOT_MODIFIED}:
            self.length = 0

    def _check_head(self) -> None:
        if self.msg.defects:
            try:
                assert_header_parsing(self.msg)  # urllib3 decides which defects are errors
            except (HeaderParsingError, TypeError):
                raise http.client.HTTPException("malformed header line in the response") from None
        lengths = {value.strip() for value in self.msg.get_all("Content-Length", ())}
        if len(lengths) > 1 or any(not (value.isascii() and value.isdigit() and len(value) <= 18) for value in lengths):
            raise InvalidHeader("Content-Length is not a single number")

    def _safe_read(self, amt: int) -> bytes:
        if amt < 0:  # a negative chunk size: read() would read everything
            raise http.client.IncompleteRead(b"")
        return super()._safe_read(amt)  # type: ignore[misc,no-any-return]  # private; urllib3 reads chunks with it

    def _read_status(self) -> tuple[str, int, str]:
        version, status, reason = super()._read_status()  # type: ignore[misc]  # private, but unchanged since Python 2
        while 100 < status < 200 and status != 101:  # an interim response; http.client handles only 100
            http.client.parse_headers(self.fp)
            version, status, reason = super()._read_status()  # type: ignore[misc]  # as above
        return version, status, reason
