"""urllib3's pools and connections on sockets that keep deadlines, with a stricter reading of answers.

Where a test tool has put its own connections or sockets in place of urllib3's or Python's, these step aside.
"""

from __future__ import annotations

import http.client
import io
import re
import socket
import ssl
import sys
from typing import Any

import urllib3.connectionpool
import urllib3.util.connection

# Not those of urllib3.connection: this may be imported while vcrpy has put its own there.
from urllib3.connectionpool import HTTPConnection, HTTPSConnection  # type: ignore[attr-defined]
from urllib3.exceptions import (
    ConnectTimeoutError,
    EmptyPoolError,
    HeaderParsingError,
    InvalidHeader,
    NameResolutionError,
    NewConnectionError,
)
from urllib3.util.response import assert_header_parsing

from core.http import dial
from core.http.dial import DeadlineSSLSocket, Stage

_urllib3: Any = urllib3
if re.match(r"\d+\.\d+\.9\d\d", _urllib3.__version__):  # how its releases are numbered
    raise ImportError(
        "urllib3-future has taken the place of urllib3 (niquests installs it): core.http needs the real one. "
        "Uninstall urllib3-future and reinstall urllib3."
    )

_LONGEST_HEAD = 1024 * 1024
"""Bytes of status lines and headers, interim answers included. (http.client bounds a line and their number.)"""
_LONGEST_LINE = 65537
"""Bytes of a line of which http.client or urllib3 ask for the whole: chunk sizes and trailers."""
_REAL = (socket.socket, socket.create_connection, urllib3.util.connection.create_connection)


_readline = io.BufferedReader.readline


class HeadCutShort(http.client.IncompleteRead):
    """The server closed in the middle of status line or headers."""


class _Lines(io.BufferedReader):
    """What an answer is read from. In its head, what http.client would take for the end is an error."""

    in_head = True
    _head_left = _LONGEST_HEAD

    def readline(self, size: int | None = -1, /) -> bytes:
        limit = _LONGEST_LINE if size is None or size < 0 else size
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
        if self.in_head and (line or self._head_left < _LONGEST_HEAD):
            raise HeadCutShort(line)


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
            self._close_conn()  # type: ignore[attr-defined]  # http.client's, private

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


class _Dialling:
    """What connections for http and https share."""

    response_class = StrictResponse

    def _new_conn(self) -> socket.socket:
        attempt = dial.current()
        if attempt is None or (_replaced() and attempt.check is None):  # a guard is not given up for a test tool
            return super()._new_conn()  # type: ignore[misc,no-any-return]  # urllib3's
        connection: Any = self
        host, port = connection._dns_host, connection.port  # noqa: SLF001 - the name without the root dot cut off
        try:
            sock = dial.connect(
                attempt,
                host,
                port,
                timeout=connection.timeout,
                source_address=connection.source_address,
                socket_options=connection.socket_options or (),
            )
        except socket.gaierror as exc:
            raise NameResolutionError(host, connection, exc) from exc
        except TimeoutError as exc:
            raise ConnectTimeoutError(connection, f"Connection to {host} timed out") from exc
        except OSError as exc:
            raise NewConnectionError(connection, f"Failed to establish a new connection: {exc}") from exc
        attempt.stage = self._next_stage
        sys.audit("http.client.connect", self, host, port)
        return sock

    _next_stage = Stage.SEND

    @property
    def is_connected(self) -> bool:
        """As in urllib3; but what TLS has unpacked already, and the system does not see, is a stray answer too."""
        connection: Any = super()
        pending = getattr(getattr(self, "sock", None), "pending", None)
        return bool(connection.is_connected) and not (pending and pending())

    def request(self, *args: Any, **kwargs: Any) -> None:
        _reach(Stage.SEND)
        super().request(*args, **kwargs)  # type: ignore[misc]  # urllib3's

    def getresponse(self) -> Any:
        _reach(Stage.HEADERS)
        response = super().getresponse()  # type: ignore[misc]  # urllib3's
        _reach(Stage.BODY)
        return response


class DeadlineHTTPConnection(_Dialling, HTTPConnection):  # type: ignore[misc]  # a stricter response_class
    pass


class DeadlineHTTPSConnection(_Dialling, HTTPSConnection):  # type: ignore[misc]  # as above
    _next_stage = Stage.TLS

    def connect(self) -> None:
        super().connect()
        if type(self.sock) is ssl.SSLSocket:  # from a context that is not ours
            self.sock.__class__ = DeadlineSSLSocket


class Unless:
    """A pool's ConnectionCls: ours, unless somebody (vcrpy) has replaced urllib3's. Decided at each access."""

    def __init__(self, ours: type, pool: Any, urllib3s: type) -> None:
        self._ours = ours
        self._pool = pool
        self._urllib3s = urllib3s  # said, not read off the pool, where vcrpy's may be already

    def __get__(self, instance: object, owner: type) -> type:
        found: type = self._pool.ConnectionCls
        attempt = dial.current()
        guarded = attempt is not None and attempt.check is not None
        return self._ours if found is self._urllib3s or guarded else found


class _Waiting:
    """What pools for http and https share."""

    def _get_conn(self, timeout: float | None = None) -> Any:
        attempt = dial.current()
        if attempt is not None:  # a pool with block=True would wait for a free connection without any limit
            try:
                left = attempt.left()
            except TimeoutError:
                pool: Any = self
                raise EmptyPoolError(pool, "no time is left to wait for a connection") from None
            timeout = left if timeout is None else min(left, timeout)
        return super()._get_conn(timeout)  # type: ignore[misc]  # urllib3's


class DeadlineHTTPConnectionPool(_Waiting, urllib3.connectionpool.HTTPConnectionPool):
    ConnectionCls = Unless(DeadlineHTTPConnection, urllib3.connectionpool.HTTPConnectionPool, HTTPConnection)


class DeadlineHTTPSConnectionPool(_Waiting, urllib3.connectionpool.HTTPSConnectionPool):
    ConnectionCls = Unless(DeadlineHTTPSConnection, urllib3.connectionpool.HTTPSConnectionPool, HTTPSConnection)


POOLS: dict[str, type] = {"http": DeadlineHTTPConnectionPool, "https": DeadlineHTTPSConnectionPool}
"""For `PoolManager.pool_classes_by_scheme`."""


def _reach(stage: Stage) -> None:
    attempt = dial.current()
    if attempt is not None:
        attempt.stage = stage


def _replaced() -> bool:
    return (socket.socket, socket.create_connection, urllib3.util.connection.create_connection) != _REAL
