"""A truncated body is an error, in every framing and coding, however it is read.

The table of docs/calls.md, "Bodies". Public reports: urllib3/urllib3#3008 (zstd in chunks), #2953 (errors of decoders),
jawah/urllib3.future#385 (half of brotli), ClickHouse/clickhouse-connect#802, psf/requests#3459.
"""

from __future__ import annotations

import gzip
import io
import random
import shutil
import sys
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import brotli
import pytest
import requests
import urllib3.exceptions

from core.http import Policy, ResilientSession, ResponseTooLarge
from core.http.events import CallEnded, Event
from core.http.outcome import Reason
from core.http.testing import FakeClock
from tests.core.http.conftest import Serve, raising
from tests.core.http.misbehave import Reply, reply

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

_chance = random.Random(3)
TEXT = b"".join(_chance.choice([b"alpha ", b"beta\n", b"gamma "]) for _ in range(2_000))


def raw_deflate(text: bytes) -> bytes:
    """Compress without zlib's header and checksum, as some servers do."""
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(text) + packer.flush()


CODINGS: dict[str, tuple[str, bytes]] = {
    "gzip": ("gzip", gzip.compress(TEXT)),
    "x-gzip": ("x-gzip", gzip.compress(TEXT)),
    "two members": ("gzip", gzip.compress(TEXT[:5_000]) + gzip.compress(TEXT[5_000:])),
    "deflate": ("deflate", zlib.compress(TEXT)),
    "raw deflate": ("deflate", raw_deflate(TEXT)),
    "gzip in gzip": ("gzip, gzip", gzip.compress(gzip.compress(TEXT))),
    "deflate in gzip": ("deflate, gzip", gzip.compress(zlib.compress(TEXT))),
    "gzip in deflate": ("gzip, deflate", zlib.compress(gzip.compress(TEXT))),
    "br": ("br", brotli.compress(TEXT)),
    "br in gzip": ("br, gzip", gzip.compress(brotli.compress(TEXT))),
    "zstd": ("zstd", zstd.compress(TEXT)),
    "two frames": ("zstd", zstd.compress(TEXT[:5_000]) + zstd.compress(TEXT[5_000:])),
}


def chunks_of(body: bytes) -> bytes:
    size = max(len(body) // 5, 1)
    pieces = [body[start : start + size] for start in range(0, len(body), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces)


def head(*lines: str, version: str = "1.1") -> bytes:
    return "\r\n".join([f"HTTP/{version} 200 OK", "Connection: close", *lines, "", ""]).encode()


FRAMINGS: dict[str, Callable[[bytes, int, str], bytes]] = {
    "length": lambda body, cut, coding: head(f"Content-Length: {len(body)}", coding) + body[:-cut],
    "length of the half": lambda body, cut, coding: head(f"Content-Length: {len(body) - cut}", coding) + body[:-cut],
    "until it closes": lambda body, cut, coding: head(coding, version="1.0") + body[:-cut],
    "chunks": lambda body, cut, coding: head("Transfer-Encoding: chunked", coding) + chunks_of(body)[:-cut],
    "chunks of the half": lambda body, cut, coding: (
        head("Transfer-Encoding: chunked", coding) + chunks_of(body[:-cut]) + b"0\r\n\r\n"
    ),
}
"""`cut` bytes are missing at the end, which in all but two of these the framing does not tell."""


def lines(response: requests.Response) -> bytes:
    return b"\n".join(response.iter_lines())


def copied(response: requests.Response) -> bytes:
    copy = io.BytesIO()
    response.raw.decode_content = True
    shutil.copyfileobj(response.raw, copy)
    return copy.getvalue()


def by_read1(response: requests.Response) -> bytes:
    return b"".join(iter(lambda: response.raw.read1(1_000, decode_content=True), b""))


WAYS: dict[str, Callable[[requests.Response], bytes]] = {
    "content": lambda response: response.content,
    "text": lambda response: response.text.encode(),
    "iter_content": lambda response: b"".join(response.iter_content(100)),
    "iter_content(None)": lambda response: b"".join(response.iter_content(None)),
    "iter_lines": lines,
    "raw.read": lambda response: bytes(response.raw.read(decode_content=True)),
    "raw.stream": lambda response: b"".join(response.raw.stream(1_000, decode_content=True)),
    "raw.read1": by_read1,
    "copyfileobj": copied,
}
"""Reading that says nothing of an error gave the whole text."""


@pytest.fixture
def once() -> Iterator[ResilientSession]:
    with ResilientSession(Policy(retries=0, attempt_timeout=10)) as session:
        session.trust_env = False
        yield session


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("framing", FRAMINGS)
def test_half_a_compressed_body_is_an_error_by_every_way(
    framing: str, coding: str, serve: Serve, once: ResilientSession
) -> None:
    """A compressed body that is truncated anywhere, in any framing, is an error; `raw` raises that of urllib3.

    Each way reads two of the truncated bodies; over the codings, each way reads all of them.
    """
    name, body = CODINGS[coding]
    cuts = (1, 3, 9, len(body) // 2)
    if framing == "chunks":
        cuts = (4, 6, len(body) // 2)  # in the last chunk's line, before it, in the middle
    first = list(CODINGS).index(coding)
    for start in (first, first + 1):
        chosen = [cuts[(start + number) % len(cuts)] for number in range(len(WAYS))]
        server = serve(*[Reply(FRAMINGS[framing](body, cut, f"Content-Encoding: {name}")) for cut in chosen])
        for way, read in WAYS.items():
            error = urllib3.exceptions.HTTPError if "raw" in way or way == "copyfileobj" else requests.RequestException
            with once.get(server.url, stream=True) as response, pytest.raises(error):
                read(response)


@pytest.mark.parametrize("coding", CODINGS)
def test_a_complete_body_raises_nothing(coding: str, serve: Serve, once: ResilientSession) -> None:
    """A complete body raises none of these errors, however it is read."""
    name, body = CODINGS[coding]
    whole = head("Transfer-Encoding: chunked", f"Content-Encoding: {name}") + chunks_of(body) + b"0\r\n\r\n"
    server = serve(*[answer for _ in WAYS for answer in (reply(200, body, f"Content-Encoding: {name}"), Reply(whole))])
    for read in WAYS.values():
        for _ in range(2):
            with once.get(server.url, stream=True) as response:
                assert read(response).strip() == TEXT.strip()


@pytest.mark.parametrize("framing", ["length", "chunks"])
@pytest.mark.parametrize("cut", [3, 7, 2_000])
def test_a_truncated_plain_body_is_an_error(framing: str, cut: int, serve: Serve, once: ResilientSession) -> None:
    """Content-Length or a missing last chunk shows that an uncompressed body was truncated."""
    if framing == "chunks":
        cut += 1  # "0\r\n\r\n" without its last line break is complete
    server = serve(*[Reply(FRAMINGS[framing](TEXT, cut, "X-Plain: yes"))] * len(WAYS))
    for way, read in WAYS.items():
        error = urllib3.exceptions.HTTPError if "raw" in way or way == "copyfileobj" else requests.RequestException
        with once.get(server.url, stream=True) as response, pytest.raises(error):
            read(response)


@pytest.mark.parametrize(
    ("end", "complete"),
    [
        (b"0\r\n\r\n", True),
        (b"0\r\n", True),  # nothing of the body is missing, and some servers leave it at that
        (b"0\r\nX-Trailer: here\r\n", True),
        (b"0", False),  # may be the beginning of "04d2", of which http.client makes the end
        (b"00", False),
        (b"000\r", False),
        (b"", False),
        (b"\r\n", False),
        (b"4d2", False),
    ],
    ids=repr,
)
@pytest.mark.parametrize("stream", [False, True])
def test_the_last_chunk_has_to_be_whole(
    end: bytes, complete: bool, stream: bool, serve: Serve, once: ResilientSession
) -> None:
    """The last chunk may be padded with zeros, as some servers do, but has to be complete."""
    server = serve(*[Reply(head("Transfer-Encoding: chunked") + b"4\r\nhalf\r\n" + end)] * 2)
    if complete:
        assert once.get(server.url, stream=stream).content == b"half"
        assert once.get(server.url, stream=True).raw.read() == b"half"
        return
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        _ = once.get(server.url, stream=stream).content
    with once.get(server.url, stream=True) as response, pytest.raises(urllib3.exceptions.ProtocolError):
        response.raw.read()


@pytest.mark.parametrize("coding", CODINGS)
def test_half_a_body_is_tried_again(
    coding: str, serve: Serve, session: ResilientSession, clock: FakeClock, events: list[Event]
) -> None:
    """A truncated body is a transient failure, however it was detected."""
    name, body = CODINGS[coding]
    cut = Reply(FRAMINGS["chunks of the half"](body, 5, f"Content-Encoding: {name}"))
    server = serve(cut, reply(200, body, f"Content-Encoding: {name}"))
    assert session.get(server.url).content == TEXT
    ended = [event for event in events if isinstance(event, CallEnded)][-1]
    assert ended.attempts[0].outcome.reason is Reason.TRUNCATED


@pytest.mark.parametrize("way", ["iter_content", "iter_lines", "iter_content(None)"])
def test_a_broken_body_stays_broken(way: str, serve: Serve, once: ResilientSession) -> None:
    """After an error in the middle of a body, reading again raises an error too, and does not return the rest."""
    server = serve(Reply(FRAMINGS["chunks"](TEXT, 100, "X-Plain: yes")))
    with once.get(server.url, stream=True) as response:
        for again in (way, "content", "iter_content", "text"):
            with pytest.raises(requests.exceptions.ChunkedEncodingError):
                WAYS[again](response)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("framing", ["length of the half", "until it closes", "chunks of the half"])
def test_nothing_at_all_is_an_empty_body(way: str, framing: str, serve: Serve, once: ResilientSession) -> None:
    """An empty body with Content-Encoding: gzip is accepted, because servers send it."""
    server = serve(Reply(FRAMINGS[framing](b"x", 1, "Content-Encoding: gzip")))
    with once.get(server.url, stream=True) as response:
        assert WAYS[way](response) == b""


@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("GET", 204), ("GET", 304)], ids=["HEAD", "204", "304"])
@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd"])
def test_an_answer_that_has_no_body_is_complete(
    method: str, status: int, coding: str, serve: Serve, once: ResilientSession
) -> None:
    """The answer to HEAD, a 204 or a 304 is complete, whatever its Content-Length."""
    server = serve(Reply(f"HTTP/1.1 {status} X\r\nContent-Encoding: {coding}\r\nContent-Length: 99\r\n\r\n".encode()))
    assert once.request(method, server.url).content == b""


@pytest.mark.parametrize("coding", ["compress", "aws-chunked", "exi", "none", "utf-8"])
def test_a_coding_that_urllib3_does_not_know_is_left_to_the_caller(
    coding: str, serve: Serve, once: ResilientSession
) -> None:
    """Bodies with an unknown coding are not decoded, because many are plain: object stores keep "aws-chunked"."""
    server = serve(reply(200, b"as it came", f"Content-Encoding: {coding}"))
    response = once.get(server.url)
    assert (response.content, response.headers["Content-Encoding"]) == (b"as it came", coding)


@pytest.mark.parametrize("coding", ["gzip, compress", "identity, gzip", "gzip, exi"])
def test_a_list_with_an_unknown_coding_is_an_error(coding: str, serve: Serve, once: ResilientSession) -> None:
    """If only some codings of a list are known, the body cannot be decoded, so it is an error."""
    server = serve(reply(200, gzip.compress(TEXT), f"Content-Encoding: {coding}"))
    with pytest.raises(requests.RequestException):
        once.get(server.url)


# Bodies that decompress to nothing

EMPTY_MEMBER = gzip.compress(b"")
EMPTY_BLOCK = b"\0\0\0\xff\xff"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("coding", "first", "repeat"),
    [("gzip", b"", EMPTY_MEMBER * 3_000), ("deflate", b"\x78\x9c", EMPTY_BLOCK * 13_000)],
    ids=["gzip", "deflate"],
)
def test_an_endless_body_that_decompresses_to_nothing_is_an_error(
    coding: str, first: bytes, repeat: bytes, stream: bool, serve: Serve
) -> None:
    """An endless body that decompresses to nothing raises an error, and takes little memory."""
    server = serve(Reply(head(f"Content-Encoding: {coding}") + first, repeat=repeat))
    with ResilientSession(Policy(retries=0, attempt_timeout=60, max_response_bytes=50_000)) as session:
        session.trust_env = False
        tracemalloc.start()
        try:
            with pytest.raises((ResponseTooLarge, requests.exceptions.ContentDecodingError)):
                _ = session.get(server.url, stream=stream).content
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert peak < 4 * 2**20
    assert server.closed.wait(10)


def test_a_streamed_body_that_decompresses_to_nothing_is_an_error_too(serve: Serve, once: ResilientSession) -> None:
    """A streamed body has no limit of size, but one for data that decompresses to nothing."""
    server = serve(Reply(head("Content-Encoding: gzip"), repeat=EMPTY_MEMBER * 3_000))
    with (
        once.get(server.url, stream=True) as response,
        pytest.raises(requests.exceptions.ContentDecodingError, match="decompresses to nothing"),
    ):
        list(response.iter_content(1_000))


@pytest.mark.parametrize("size", [None, -1, 10**9])
def test_a_compressed_body_is_decompressed_bit_by_bit(size: int | None, serve: Serve, once: ResilientSession) -> None:
    """A body is decompressed in small pieces, because each gzip member copies the rest of the piece."""
    fed: list[int] = []
    body = gzip.compress(b"x") * 20_000
    server = serve(reply(200, body, "Content-Encoding: gzip"))
    with once.get(server.url, stream=True) as response:
        decode = response.raw._decode

        def noting(data: bytes, *args: Any, **kwargs: Any) -> Any:
            fed.append(len(data))
            return decode(data, *args, **kwargs)

        response.raw._decode = noting
        assert b"".join(response.iter_content(size)) == b"x" * 20_000
    assert max(fed) <= 2**16 < sum(fed) == len(body)


# Errors of readers


@pytest.mark.parametrize(
    "error",
    [
        zlib.error("invalid"),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid"),
        ValueError("read of closed file"),
        AttributeError("'NoneType' object has no attribute 'readline'"),
        KeyError("x"),
        RecursionError(),
        urllib3.exceptions.ResponseNotChunked("no chunks"),
        urllib3.exceptions.IncompleteRead(1, 2),
    ],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.parametrize("way", ["content", "text", "iter_content", "iter_lines"])
def test_errors_of_urllib3_while_a_body_is_read_are_request_exceptions(
    error: Exception, way: str, serve: Serve, once: ResilientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error that a server causes anywhere in urllib3 is a RequestException (AttributeError: psf/requests#3807)."""
    server = serve(reply(200, b"body"))
    with once.get(server.url, stream=True) as response:
        response.raw._raw_read = raising(error, "urllib3.response")
        with pytest.raises(requests.RequestException) as raised:
            WAYS[way](response)
    assert raised.value.request is response.request


def test_an_error_at_the_end_of_a_compressed_body_is_a_decoding_error(
    serve: Serve, once: ResilientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some decoders, such as brotlicffi's, find an error only when they are flushed."""
    monkeypatch.setattr(urllib3.response.GzipDecoder, "flush", raising(zlib.error("unexpected end"), "zlib"))
    body = gzip.compress(b"body")
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    server = serve(*[Reply(head + b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body))] * 2)
    with pytest.raises(requests.exceptions.ContentDecodingError):
        once.get(server.url)
    with once.get(server.url, stream=True) as response, pytest.raises(urllib3.exceptions.DecodeError):
        response.raw.read(decode_content=True)


@pytest.mark.parametrize("error", [ValueError, RuntimeError, KeyboardInterrupt, MemoryError])
def test_errors_of_the_caller_while_a_body_is_read_are_raised(error: type[BaseException], serve: Serve) -> None:
    """The exception of a signal handler or a MemoryError is raised unchanged."""
    server = serve(reply(200, b"body"))

    def interrupted(*_: Any, **__: Any) -> Any:
        raise error

    with ResilientSession(Policy(retries=0)) as session:
        session.trust_env = False
        with session.get(server.url, stream=True) as response:
            response.raw._raw_read = interrupted
            with pytest.raises(error):
                list(response.iter_content(10))
