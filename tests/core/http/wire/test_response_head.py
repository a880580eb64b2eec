"""Response heads that are parsed at once equal those that http.client parses."""

from __future__ import annotations

import http.client
import io
from typing import Any
from unittest import mock

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from urllib3.exceptions import HTTPError

from core.http import ResilientSession
from core.http.wire import fast_response_head
from core.http.wire.response_head import StrictResponse
from tests.core.http.conftest import Serve
from tests.core.http.misbehave import reply

PLAIN = b"HTTP/1.1 200 OK\r\nServer: nginx\r\nContent-Length: 2\r\n\r\nok"
FIRST = (
    *(b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 404 Not Found\r\n", b"HTTP/1.1 304 Not Modified\r\n", b"HTTP/1.1 204 \r\n"),
    *(b"HTTP/1.0 200 OK\r\n", b"HTTP/1.1 200\r\n", b"HTTP/1.1  200 OK\r\n", b"HTTP/1.1 200 OK \r\n"),
    *(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n", b"HTTP/1.1 101 Up\r\n", b"HTTP/1.1 200 \xe9\r\n"),
    *(b"HTTP/1.1 600 No\r\n", b"HTTP/2 200\r\n", b"\r\n", b"HTTP/1.1 200 OK\n"),
)
LINES = (
    *(b"Content-Length: 2\r\n", b"content-length:2\r\n", b"Content-Length: 1\r\n", b"Content-Length: +2\r\n"),
    *(b"Content-Length: 2 \r\n", b"Content-Length: 2, 2\r\n", b"Content-Length: \r\n", b"Content-Length : 2\r\n"),
    *(b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: Chunked\r\n", b"Transfer-Encoding: gzip, chunked\r\n"),
    *(b"Connection: close\r\n", b"Connection: Keep-Alive, Close\r\n", b"Connection: keep-alive\r\n"),
    *(b"Content-Type: application/json\r\n", b"Content-Type: multipart/mixed; boundary=a\r\n", b"--a\r\n"),
    *(b"Content-Type: message/rfc822\r\n", b"Content-Transfer-Encoding: base64\r\n", b"MIME-Version: 1.0\r\n"),
    *(
        b"Set-Cookie: a=1; Path=/\r\n",
        b"Set-Cookie: b=2\r\n",
        b"X-Empty:\r\n",
        b"X-Empty: \t \r\n",
        b"X-Tab: \ta\tb\r\n",
    ),
    *(
        b"X-Folded: a\r\n b\r\n",
        b" b\r\n",
        b"X-Bare: a\nX-Next: b\r\n",
        b"X-Return: a\rb\r\n",
        b"X-Latin: \xe9\x85\r\n",
    ),
    *(
        b"X-Nul: a\0b\r\n",
        b"no header\r\n",
        b": no name\r\n",
        b"From me\r\n",
        b"X~Y: 1\r\n",
        b"X-Control: \x01\x0b\r\n",
    ),
    *(b"@X-Inside: 1\r\n", b"X-Spaces:   a  b  \r\n", b"Content-Encoding: gzip\r\n", b"X-Colons: a:b::c\r\n"),
)


class Connection:
    """A connection with a canned answer."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def makefile(self, _: str) -> io.BufferedReader:
        return io.BufferedReader(io.BytesIO(self._data))  # type: ignore[arg-type]  # as good as raw


def read(data: bytes, method: str) -> Any:
    """Return status, headers and body of an answer, or the class of its error."""
    answer = StrictResponse(Connection(data), method=method)
    try:
        answer.begin()
    except (http.client.HTTPException, HTTPError) as exc:
        return type(exc)
    rest = None if answer.fp is None else answer.fp.read()
    message = answer.msg
    assert answer.headers is message
    said = {name: value for name, value in vars(answer).items() if name not in {"fp", "headers", "msg"}}
    return said, message.items(), message.is_multipart() or message.get_payload(), rest


def read_line_by_line(data: bytes, method: str) -> Any:
    with mock.patch.object(fast_response_head, "parse", return_value=None):
        return read(data, method)


@given(st.sampled_from(FIRST), st.lists(st.sampled_from(LINES), max_size=6), st.sampled_from(["GET", "HEAD"]))
@example(FIRST[0], [LINES[0]], "GET")
@example(FIRST[0], [LINES[0]] * 2, "GET")
@example(FIRST[0], [b"Transfer-Encoding: gzip, chunked\r\n"], "GET")
@example(FIRST[0], [LINES[0], b"Transfer-Encoding: chunked\r\n"], "GET")
def test_a_head_is_read_as_http_client_reads_it(first: bytes, lines: list[bytes], method: str) -> None:
    """For any lines, the head equals that of http.client, which reads all heads that are not plain."""
    data = first + b"".join(lines) + b"\r\nok"
    assert read(data, method) == read_line_by_line(data, method)


@given(st.integers(0, len(PLAIN) - 1), st.binary(min_size=1, max_size=3))
def test_a_damaged_head_is_read_as_http_client_reads_it(place: int, bytes_: bytes) -> None:
    """A head with damaged bytes anywhere is read as http.client reads it."""
    data = PLAIN[:place] + bytes_ + PLAIN[place + len(bytes_) :]
    assert read(data, "GET") == read_line_by_line(data, "GET")


@pytest.mark.parametrize("count", [98, 99, 100, 101])
def test_a_head_of_many_headers_is_read_as_http_client_reads_it(count: int) -> None:
    """The number of headers has the same limit as in http.client."""
    data = PLAIN.replace(b"Server: nginx\r\n", b"X-Many: 1\r\n" * (count - 1))
    assert read(data, "GET") == read_line_by_line(data, "GET")


def test_a_plain_head_is_read_at_once() -> None:
    """A plain head is parsed at once; without this test, a fallback to http.client would not be noticed."""
    head = fast_response_head.parse(PLAIN)
    assert head is not None
    assert (head.status, head.reason, head.length, PLAIN[head.size :]) == (200, "OK", 2, b"ok")


def test_debuglevel_prints_the_head(
    serve: Serve, session: ResilientSession, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The usual way to see what is received, `http.client.HTTPConnection.debuglevel`, prints plain heads too."""
    monkeypatch.setattr(http.client.HTTPConnection, "debuglevel", 1)
    session.get(serve(reply(200)).url)
    out = capsys.readouterr().out
    assert "reply: 'HTTP/1.1 200 Scripted" in out
    assert "header: Content-Length: 2" in out


def test_a_replaced_begin_is_called(serve: Serve, session: ResilientSession) -> None:
    """A tool that replaces `http.client.HTTPResponse.begin` sees plain heads too."""
    begin, seen = http.client.HTTPResponse.begin, []

    def noting(answer: http.client.HTTPResponse) -> None:
        begin(answer)
        seen.append(answer.status)

    with mock.patch.object(http.client.HTTPResponse, "begin", noting):
        assert session.get(serve(reply(200)).url).content == b"ok"
    assert seen == [200]
