"""Servers whose status line or headers are endless, malformed, contradictory or another protocol's."""

from __future__ import annotations

from contextlib import suppress

import pytest
import requests

from core.http.events import Event
from core.http.outcome import Reason
from tests.core.http.conftest import Serve
from tests.core.http.hostile.scenarios import (
    FINE,
    PATIENT,
    Scenario,
    certificate,
    each,
    meet,
    methods,
    schemes,
    session_for,
)
from tests.core.http.misbehave import Reply, Then, reply

OK = b"HTTP/1.1 200 OK\r\n"
SIZED = OK + b"Content-Length: 2\r\n"


def malformed(name: str, data: bytes, repeat: bytes = b"", then: Then = Then.CLOSE) -> Scenario:
    return Scenario(name, Reply(data, then, repeat), reason=Reason.OTHER)


def sane(name: str, data: bytes, content: bytes | None = None, then: Then = Then.CLOSE, status: int = 200) -> Scenario:
    return Scenario(name, Reply(data, then), error=None, status=status, content=content)


@schemes
@each(
    malformed("interim answers", b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 100),
    malformed("early hints", b"", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" * 100),
    malformed("headers", OK, b"X-Many: 1\r\n"),
    malformed("one header", OK + b"X-Long: ", b"x" * 4096),
    malformed("the status line", b"HTTP/1.1 200 ", b"O" * 4096),
    malformed("a continued header", OK + b"X-Folded: 1\r\n", b" more\r\n"),
    malformed("long headers", OK, b"X-Long: " + b"x" * 60_000 + b"\r\n"),
    malformed("no line at all", b"", b"\0" * 4096),
)
def test_a_head_without_end(scenario: Scenario, scheme: str, serve: Serve, events: list[Event]) -> None:
    """An endless head raises an error early, and is not retried."""
    meet(scenario, serve, events, scheme)


@each(
    malformed("a header of 1 MB", SIZED + b"X-Long: " + b"x" * 2**20 + b"\r\n\r\nok"),
    malformed("10,000 headers", SIZED + b"X-Many: 1\r\n" * 10_000 + b"\r\nok"),
    malformed("a status line of 1 MB", b"HTTP/1.1 200 " + b"O" * 2**20 + b"\r\n\r\n"),
)
def test_a_head_that_is_too_long(scenario: Scenario, serve: Serve, events: list[Event]) -> None:
    """A head with too many or too long headers is malformed."""
    meet(scenario, serve, events)


@methods
@each(
    malformed("garbage", b"garbage\r\n\r\n"),
    malformed("an empty line", b"\r\n\r\n"),
    malformed("binary", bytes(range(256)) * 4),
    malformed("HTTP/0.9 with lines", b"<html>\n<body>\n\nIt works!\n</body>\n</html>\n"),
    malformed("SMTP", b"220 mail.example.org ESMTP ready\r\n"),
    malformed("FTP", b"220 (vsFTPd 3.0.5)\r\n530 Please login with USER and PASS.\r\n"),
    malformed("SSH", b"SSH-2.0-OpenSSH_9.6\r\n"),
    malformed("Redis", b"-ERR unknown command 'GET'\r\n"),
    malformed("a TLS alert", b"\x15\x03\x03\0\x02\x02\x46" * 3 + b"\n"),
    malformed("HTTP/2 frames", b"\0\0\x12\x04\0\0\0\0\0\0\x03\0\0\0\x80\0\x04\0\x01\0\0\0\x05\0\xff\xff\xff\n" * 2),
    malformed("RTSP", b"RTSP/1.0 200 OK\r\nCSeq: 1\r\n\r\n"),
    malformed("no status", b"HTTP/1.1\r\n\r\n"),
    malformed("a status in words", b"HTTP/1.1 okay OK\r\n\r\n"),
    malformed("status 0", b"HTTP/1.1 0 Zero\r\n\r\n"),
    malformed("status -200", b"HTTP/1.1 -200 OK\r\n\r\n"),
    malformed("status 1000", b"HTTP/1.1 1000 OK\r\n\r\n"),
    malformed("a status of 5,000 digits", b"HTTP/1.1 " + b"2" * 5_000 + b" OK\r\n\r\n"),
    malformed("a version of its own", b"HTTP/7.5 200 OK\r\nContent-Length: 2\r\n\r\nok"),
    malformed("a header without colon", SIZED + b"this is no header\r\nX-Last: 1\r\n\r\nok"),
    malformed("a header without name", SIZED + b": nameless\r\n\r\nok"),
    malformed("a header that begins folded", OK + b" folded\r\nContent-Length: 2\r\n\r\nok"),
    malformed("a NUL in a header", SIZED + b"X-Nul: a\0b\r\n\r\nok"),
    malformed("a NUL in a name", SIZED + b"X-\0Nul: ab\r\n\r\nok"),
    malformed("a NUL in the status line", b"HTTP/1.1 200 O\0K\r\nContent-Length: 2\r\n\r\nok"),
)
def test_a_malformed_head(scenario: Scenario, method: str, serve: Serve, events: list[Event]) -> None:
    """An answer that is not HTTP raises ConnectionError, and is not retried."""
    meet(scenario, serve, events, "http", method)


def test_http_0_9(serve: Serve) -> None:
    """A body without a head is no answer, even if it is a single line."""
    server = serve(*[Reply(b"<html><body>It works!</body></html>")] * 2, FINE)
    with session_for(PATIENT) as session:
        with pytest.raises(requests.ConnectionError):
            session.post(server.url)
        assert len(server.requests) == 1


@each(
    sane("status 999", b"HTTP/1.1 999 Odd\r\nContent-Length: 3\r\nConnection: close\r\n\r\nodd", b"odd", status=999),
    sane("status 600", b"HTTP/1.1 600 Odd\r\nContent-Length: 3\r\nConnection: close\r\n\r\nodd", b"odd", status=600),
)
def test_an_invalid_status(scenario: Scenario, serve: Serve, events: list[Event]) -> None:
    """A status above 599 is returned to the caller, but counts as a permanent failure."""
    unknown = Scenario(str(scenario), scenario.does, None, Reason.OTHER, status=scenario.status, content=b"odd")
    meet(unknown, serve, events)


@each(
    sane("no reason", b"HTTP/1.1 200\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok", b"ok"),
    sane("bare line feeds", b"HTTP/1.1 200 OK\nContent-Length: 2\nConnection: close\n\nok", b"ok"),
    sane("Latin-1", SIZED + b"X-Umlaut: \xfc\xe4\r\nConnection: close\r\n\r\nok", b"ok"),
    sane("an empty value", SIZED + b"X-Empty:\r\nConnection: close\r\n\r\nok", b"ok"),
    sane("100 headers", OK + b"X-Many: 1\r\n" * 98 + b"Connection: close\r\n\r\nok", b"ok"),
    sane("an interim answer", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + FINE.data, b"fine"),
    sane("interim answers", b"HTTP/1.1 102 Processing\r\n\r\n" * 50 + FINE.data, b"fine"),
    sane("absurd cookies", SIZED + b"Set-Cookie: a=b; Max-Age=" + b"9" * 5000 + b"; Expires=never\r\n\r\nok", b"ok"),
    sane("broken cookies", SIZED + b'Set-Cookie: ;;=;"\r\nSet-Cookie: \xff=\xff; Domain=..; Path=\r\n\r\nok', b"ok"),
    sane("ancient cookies", SIZED + b"Set-Cookie: a=b; Expires=Mon, 99 Foo 99999 99:99:99 GMT\r\n\r\nok", b"ok"),
    sane("a broken Link", SIZED + b"Link: <;;=,,<<>>;rel\r\nContent-Type: ;;;=\r\n\r\nok", b"ok"),
)
def test_an_odd_but_readable_head(scenario: Scenario, serve: Serve, events: list[Event]) -> None:
    """A head that other clients accept is accepted."""
    meet(scenario, serve, events)


# How long the body is


def unmeasured(name: str, data: bytes) -> Scenario:
    return Scenario(name, Reply(data), (requests.ConnectionError, requests.exceptions.InvalidHeader), Reason.OTHER)


@schemes
@each(
    unmeasured("negative", OK + b"Content-Length: -1\r\n\r\nok"),
    unmeasured("doubled", OK + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nok"),
    unmeasured("a list", OK + b"Content-Length: 1, 2\r\n\r\nok"),
    unmeasured("in words", OK + b"Content-Length: two\r\n\r\nok"),
    unmeasured("signed", OK + b"Content-Length: +2\r\n\r\nok"),
    unmeasured("with an underscore", OK + b"Content-Length: 0_2\r\n\r\nok"),
    unmeasured("hexadecimal", OK + b"Content-Length: 0x2\r\n\r\nok"),
    unmeasured("not in ASCII", OK + b"Content-Length: \xb2\r\n\r\nok"),
    unmeasured("empty", OK + b"Content-Length:\r\n\r\nok"),
)
def test_an_invalid_content_length(scenario: Scenario, scheme: str, serve: Serve, events: list[Event]) -> None:
    """If the length of the body cannot be known, the answer is malformed."""
    meet(scenario, serve, events, scheme)


@schemes
@each(
    Scenario(
        "too long",
        Reply(OK + b"Content-Length: 20\r\n\r\nhalf"),
        requests.exceptions.ChunkedEncodingError,
        Reason.TRUNCATED,
        transient=True,
    ),
    Scenario(
        "far too long",
        Reply(OK + b"Content-Length: 999999999999999999\r\n\r\nhalf"),
        requests.RequestException,
        Reason.TRUNCATED,
        or_reason=Reason.TOO_LARGE,
        transient=True,
    ),
    Scenario(
        "too long, and the connection stays",
        Reply(OK + b"Content-Length: 20\r\n\r\nhalf", Then.HOLD),
        requests.ReadTimeout,
        Reason.TIMEOUT,
        transient=True,
        reached="body",
    ),
    sane("too short", OK + b"Content-Length: 2\r\nConnection: close\r\n\r\nok, and more", b"ok"),
    sane("too short, and the connection stays", OK + b"Content-Length: 2\r\n\r\nok, and more", b"ok", Then.KEEP),
    sane("the same twice", OK + b"Content-Length: 2\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok", b"ok"),
    sane("leading zeros", OK + b"Content-Length: 0002\r\nConnection: close\r\n\r\nok", b"ok"),
)
def test_a_content_length_that_is_wrong(scenario: Scenario, scheme: str, serve: Serve, events: list[Event]) -> None:
    """A body that is shorter than announced is truncated; one that is longer is cut there."""
    meet(scenario, serve, events, scheme)


def test_a_content_length_of_5000_digits(serve: Serve, events: list[Event]) -> None:
    """A number that Python refuses to read raises nothing but a RequestException."""
    server = serve(Reply(OK + b"Content-Length: " + b"9" * 5_000 + b"\r\n\r\nok"), FINE, FINE)
    with session_for(PATIENT, retries=0) as session:
        with pytest.raises(requests.RequestException):
            session.get(server.url)
        assert session.get(server.url).content == b"fine"


@schemes
@pytest.mark.parametrize("length", [b"2", b"5", b"1000"])
def test_content_length_with_transfer_encoding(length: bytes, scheme: str, serve: Serve) -> None:
    """Chunks count, not the length (RFC 9112, 6.3), and the next call is unharmed."""
    head = OK + b"Transfer-Encoding: chunked\r\nContent-Length: " + length + b"\r\n\r\n"
    server = serve(Reply(head + b"5\r\nhello\r\n0\r\n\r\n", Then.KEEP), FINE, context=context_for(scheme))
    with session_for(PATIENT, retries=0) as session:
        assert session.get(server.url).content == b"hello"
        assert session.get(server.url).content == b"fine"


@schemes
@pytest.mark.parametrize("status", [204, 304])
@pytest.mark.parametrize(
    "head",
    [b"Content-Length: 9\r\n", b"Transfer-Encoding: chunked\r\n", b"Content-Encoding: gzip\r\nContent-Length: 9\r\n"],
    ids=["length", "chunked", "gzip"],
)
def test_an_answer_that_has_no_body_with_one(
    head: bytes, status: int, scheme: str, serve: Serve, events: list[Event]
) -> None:
    """A 204 or 304 has no body; if the server sends one, the next call does not receive it."""
    answer = Reply(f"HTTP/1.1 {status} None\r\n".encode() + head + b"\r\n4\r\nbody\r\n0\r\n\r\n", Then.KEEP)
    server = serve(answer, FINE, context=context_for(scheme))
    with session_for(PATIENT, retries=0) as session:
        response = session.get(server.url)
        assert (response.status_code, response.content) == (status, b"")
        assert session.get(server.url).content == b"fine"


@schemes
@pytest.mark.parametrize("status", [204, 304])
def test_an_answer_without_body_that_promises_chunks(status: int, scheme: str, serve: Serve) -> None:
    """A 204 or 304 is complete after its head, even with Transfer-Encoding: chunked."""
    head = f"HTTP/1.1 {status} None\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    server = serve(Reply(head, Then.KEEP), FINE, FINE, context=context_for(scheme))
    with session_for(1.0, retries=0) as session:
        assert session.get(server.url).status_code == status
        assert session.get(server.url).content == b"fine"


def test_a_head_with_a_body(serve: Serve) -> None:
    """The answer to HEAD has no body; if the server sends one, the next call does not receive it."""
    server = serve(reply(200, b"a body", then=Then.KEEP), FINE)
    with session_for(PATIENT, retries=0) as session:
        assert session.head(server.url).content == b""
        assert session.get(server.url).content == b"fine"


def test_an_unrequested_switch_of_protocols(serve: Serve) -> None:
    """After a 101, the connection is not used for another call."""
    server = serve(Reply(b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n", Then.KEEP), FINE)
    with session_for(PATIENT, retries=0) as session:
        with suppress(requests.RequestException):
            assert session.get(server.url).status_code == 101
        assert session.get(server.url).content == b"fine"
    assert server.connections == 2


# Data left on a connection

STRAY = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nstray"


@schemes
@pytest.mark.parametrize("padding", [0, 8192 - 40, 8192, 20_000], ids=str)
def test_a_stray_response_on_a_connection(padding: int, scheme: str, serve: Serve) -> None:
    """A second answer that the server sends without a request is given to no call."""
    first = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfirst"
    stray = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % padding + b"x" * padding + STRAY * 200
    server = serve(Reply(first + stray, Then.KEEP), FINE, FINE, context=context_for(scheme))
    with session_for(PATIENT, retries=0) as session:
        assert session.get(server.url).content == b"first"
        assert session.get(server.url).content == b"fine"


@schemes
def test_a_stray_response_where_the_reading_buffer_ends(scheme: str, serve: Serve) -> None:
    """A stray answer that begins where the buffer of the first one ends is not taken for the next one."""
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-Padding: "
    for size in (8192, 16384 - len(STRAY)):  # the size of the buffer; the size of a TLS record
        first = head + b"p" * (size - len(head) - 9) + b"\r\n\r\nfirst"
        assert len(first) == size
        server = serve(Reply(first + STRAY, Then.KEEP), FINE, FINE, context=context_for(scheme))
        with session_for(PATIENT, retries=0) as session:
            assert session.get(server.url).content == b"first"
            assert session.get(server.url).content == b"fine"


def test_a_late_stray_response(serve: Serve) -> None:
    """A second answer that arrives while the connection is idle is noticed, and the connection dropped."""
    server = serve(reply(200, b"first", then=Then.KEEP, repeat=STRAY, every=0.05, times=1), FINE)
    with session_for(PATIENT, retries=0) as session:
        assert session.get(server.url).content == b"first"
        assert server.said.wait(PATIENT)
        assert session.get(server.url).content == b"fine"


def test_a_stray_response_after_a_head(serve: Serve) -> None:
    """The body of a HEAD that looks like an answer is not taken for one."""
    server = serve(Reply(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(STRAY) + STRAY, Then.KEEP), FINE, FINE)
    with session_for(PATIENT, retries=0) as session:
        assert session.head(server.url).ok
        assert session.get(server.url).content == b"fine"


def context_for(scheme: str) -> object:
    return certificate() if scheme == "https" else None
