"""Servers whose bodies are endless, wrongly framed, wrongly compressed, or not the text that they claim to be."""

from __future__ import annotations

import gzip
import json
import zlib
from contextlib import suppress
from typing import Any

import pytest
import requests

from core.http import ResponseTooLarge
from core.http.events import Event
from core.http.outcome import Reason
from tests.core.http.conftest import Serve
from tests.core.http.hostile.scenarios import FINE, PATIENT, Scenario, each, meet, methods, schemes, session_for
from tests.core.http.misbehave import Reply, Then, reply

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
ZIPPED = gzip.compress(b"a long text " * 1000)
BLOCK = b"x" * 65536


def broken(name: str, does: Reply, error: Any = requests.exceptions.ChunkedEncodingError) -> Scenario:
    return Scenario(name, does, error, Reason.TRUNCATED, transient=True)


def packed(name: str, data: bytes, encoding: str = "gzip") -> Scenario:
    return broken(name, reply(200, data, f"Content-Encoding: {encoding}"), requests.RequestException)


def endless(name: str, data: bytes, repeat: bytes = BLOCK) -> Scenario:
    return Scenario(name, Reply(data, Then.CLOSE, repeat), ResponseTooLarge, Reason.TOO_LARGE)


@schemes
@each(
    endless("a body", OK + b"\r\n"),
    endless("a body that says how long it is", OK + b"Content-Length: 99999999999\r\n\r\n"),
    endless("chunks", CHUNKED, b"10000\r\n" + BLOCK + b"\r\n"),
    endless("one chunk", CHUNKED + b"ffffffffff\r\n"),
    endless("a 503", b"HTTP/1.1 503 Busy\r\n\r\n"),
    endless("a 404", b"HTTP/1.1 404 Not Found\r\n\r\n"),
)
def test_a_body_without_end(scenario: Scenario, scheme: str, serve: Serve, events: list[Event]) -> None:
    """A body beyond max_response_bytes is refused as soon as that shows, and not asked for again."""
    meet(scenario, serve, events, scheme)


@schemes
@each(
    broken("a chunk size in words", Reply(CHUNKED + b"five\r\nhello\r\n0\r\n\r\n")),
    broken("no chunk size", Reply(CHUNKED + b"\r\nhello\r\n0\r\n\r\n")),
    broken("a negative chunk size", Reply(CHUNKED + b"-5\r\nhello\r\n0\r\n\r\n")),
    broken("a huge chunk size", Reply(CHUNKED + b"ffffffffffffffff\r\nhello\r\n0\r\n\r\n")),
    broken("a chunk size beyond all machines", Reply(CHUNKED + b"f" * 200 + b"\r\nhello\r\n0\r\n\r\n")),
    broken(
        "a chunk size of 1 MB", Reply(CHUNKED + b"0" * 2**20 + b"5\r\nhello\r\n0\r\n\r\n"), requests.RequestException
    ),
    broken("a chunk that is longer", Reply(CHUNKED + b"2\r\nhello\r\n0\r\n\r\n")),
    broken("a chunk that is shorter", Reply(CHUNKED + b"9\r\nhello\r\n0\r\n\r\n")),
    broken("binary chunks", Reply(CHUNKED + bytes(range(256)))),
)
def test_chunks_that_are_broken(scenario: Scenario, scheme: str, serve: Serve, events: list[Event]) -> None:
    """A body that falls apart is a failure that may pass, never a body."""
    meet(scenario, serve, events, scheme)


@methods
@each(
    packed("not gzip", b"this is not gzip"),
    packed("gzip cut in its head", ZIPPED[:5]),
    packed("gzip cut short", ZIPPED[:40]),
    packed("gzip without its checksum", ZIPPED[:-8]),
    packed("gzip with half its checksum", ZIPPED[:-3]),
    packed("gzip with a wrong checksum", ZIPPED[:-8] + b"\0\0\0\0" + ZIPPED[-4:]),
    packed("gzip with a wrong length", ZIPPED[:-4] + b"\0\0\0\1"),
    packed("gzip with a broken middle", ZIPPED[:30] + b"\xff" * 10 + ZIPPED[40:]),
    packed("not deflate", b"\xff\xff this is not deflate", "deflate"),
    packed("deflate cut short", zlib.compress(b"a long text" * 100)[:20], "deflate"),
    packed("deflate with a wrong checksum", zlib.compress(b"a long text" * 100)[:-4] + b"\0\0\0\0", "deflate"),
    packed("gzip in gzip, the inner one cut short", gzip.compress(ZIPPED[:40]), "gzip, gzip"),
    packed("gzip in gzip, the outer one cut short", gzip.compress(ZIPPED)[:-20], "gzip, gzip"),
    packed("gzip in gzip that is none", ZIPPED, "gzip, gzip"),
    packed("200 encodings", ZIPPED, ", ".join(["gzip"] * 200)),
    packed("200 encodings of two kinds", ZIPPED, ", ".join(["gzip", "deflate"] * 100)),
)
def test_broken_compression(scenario: Scenario, method: str, serve: Serve, events: list[Event]) -> None:
    """A compressed body that is invalid or truncated is a transient failure, and never returned."""
    meet(scenario, serve, events, "http", method)


@each(
    Scenario("unknown", reply(200, b"as it is", "Content-Encoding: rot13"), None, content=b"as it is"),
    Scenario("identity", reply(200, b"as it is", "Content-Encoding: identity"), None, content=b"as it is"),
    Scenario("empty", reply(200, b"as it is", "Content-Encoding: "), None, content=b"as it is"),
    Scenario("not in ASCII", reply(200, b"as it is", "Content-Encoding: gz\xefp"), None, content=b"as it is"),
    Scenario("nothing in gzip", reply(200, b"", "Content-Encoding: gzip"), None, content=b""),
    Scenario("in capitals", reply(200, ZIPPED, "Content-Encoding: GZIP"), None, content=b"a long text " * 1000),
    Scenario("two members", reply(200, ZIPPED * 2, "Content-Encoding: gzip"), None, content=b"a long text " * 2000),
    Scenario(
        "twice", reply(200, gzip.compress(ZIPPED), "Content-Encoding: gzip, gzip"), None, content=b"a long text " * 1000
    ),
    Scenario(
        "raw deflate",
        reply(200, zlib.compress(b"raw" * 99)[2:-4], "Content-Encoding: deflate"),
        None,
        content=b"raw" * 99,
    ),
)
def test_odd_compression(scenario: Scenario, serve: Serve, events: list[Event]) -> None:
    """Odd compression is decompressed if other clients decompress it, and otherwise returned as it is."""
    meet(scenario, serve, events)


# Text, JSON and lines of a body

CHARSETS = [
    "none-such",
    "",
    "hex",
    "base64",
    "zip",
    "rot13",
    "idna",
    "punycode",
    "undefined",
    "utf-7",
    "utf-16",
    "utf-32",
    "unicode_escape",
    "raw_unicode_escape",
    "mbcs",
    "x" * 99,
    "../../etc/passwd",
    "utf\xff8",
    "'",
    '"',
    "=",
    "utf-8;utf-16",
]
BODIES = [b"caf\xe9", b"\xff\xfe\0\xd8", b"xn--\xff", b"+AAA", b"\xc0\x80", b""]


@pytest.mark.parametrize("charset", CHARSETS, ids=lambda charset: charset[:20])
def test_a_bogus_charset(charset: str, serve: Serve) -> None:
    """With any charset, `.text` is text, `.json()` raises only JSONDecodeError, and lines can be read."""
    replies = [
        reply(200, body, f"Content-Type: application/json; charset={charset}", then=Then.KEEP) for body in BODIES
    ]
    server = serve(*replies, FINE)
    with session_for(PATIENT) as session:
        for body in BODIES:
            response = session.get(server.url)
            assert response.content == body
            assert isinstance(response.text, str)
            with pytest.raises(requests.exceptions.JSONDecodeError):
                response.json()
        assert session.get(server.url).text == "fine"


@pytest.mark.parametrize("charset", CHARSETS, ids=lambda charset: charset[:20])
def test_a_bogus_charset_of_lines(charset: str, serve: Serve) -> None:
    """With any charset, iterating over text raises only RequestExceptions."""
    server = serve(reply(200, b"caf\xe9", f"Content-Type: text/plain; charset={charset}"), FINE)
    with session_for(PATIENT) as session:
        with session.get(server.url, stream=True) as response, suppress(requests.RequestException):
            list(response.iter_lines(decode_unicode=True))
        assert session.get(server.url).text == "fine"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"{",
        b"nothing",
        b"{'a': 1}",
        b'{"a": 1,}',
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"[" * 100_000 + b"]" * 100_000,
        b"1" * 10_000,
        b'{"a": -' + b"9" * 5_000 + b"}",
        b"\0",
        b'"\0"',
        b'{"a": 1}\0',
        b"\xff\xfe{\0",
        b"\xef\xbb\xbf{",
        b"\0\0\0{",
        b'\xff\xfe"\0\0\xd8"\0',
        b"<html></html>",
        b'"\\ud8"',
    ],
    ids=lambda body: repr(body[:16]),
)
def test_invalid_json(body: bytes, serve: Serve) -> None:
    """For invalid JSON, `.json()` raises requests' JSONDecodeError."""
    server = serve(*[reply(200, body, "Content-Type: application/json", then=Then.KEEP)] * 2, FINE)
    with session_for(PATIENT) as session:
        with pytest.raises(requests.exceptions.JSONDecodeError):
            session.get(server.url).json()
        with session.get(server.url, stream=True) as response, pytest.raises(requests.exceptions.JSONDecodeError):
            response.json()
        assert session.get(server.url).content == b"fine"


@pytest.mark.parametrize(
    "body",
    [
        b"NaN",
        b"[Infinity, -Infinity]",
        b'"\\u0000"',
        b'"\\ud800"',
        b'{"\\udfff": "\\ud800"}',
        b"1e999",
        b'{"a":1,"a":2}',
        b'"ok"',
    ],
    ids=repr,
)
def test_odd_json(body: bytes, serve: Serve) -> None:
    """JSON that the json module accepts is read: NaN, infinities, NULs, lone surrogates."""
    server = serve(reply(200, body, "Content-Type: application/json", then=Then.KEEP), FINE)
    with session_for(PATIENT) as session:
        assert repr(session.get(server.url).json()) == repr(json.loads(body))
        assert session.get(server.url).content == b"fine"
