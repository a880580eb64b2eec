"""Bodies of answers: their limit, their completeness, and their connection after a failure."""

from __future__ import annotations

import gc
import gzip
import tracemalloc
import weakref
import zlib
from typing import Any

import pytest
import requests

from core.http import Policy, ResilientAdapter, ResilientSession, ResponseTooLarge
from core.http.testing import FakeClock
from tests.core.http.conftest import Serve
from tests.core.http.misbehave import Reply, Then, reply

TEXT = b"a long text " * 100
ZIPPED = gzip.compress(TEXT)
TWICE = gzip.compress(ZIPPED)
ONCE = Policy(retries=0, attempt_timeout=5)


@pytest.fixture
def once() -> Any:
    """Make calls of a single attempt, over a single connection."""
    with requests.Session() as session:
        session.trust_env = False
        session.mount("http://", ResilientAdapter(ONCE, pool_maxsize=1, pool_block=True))
        yield session


# Limits


@pytest.mark.parametrize("stream", [False, True])
def test_tiny_chunks_take_no_more_memory_than_large_ones(stream: bool, serve: Serve) -> None:
    """An endless body in chunks of two bytes ends at the limit of bodies, and takes little memory."""
    limit = 100_000
    server = serve(Reply(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", repeat=b"2\r\nab\r\n" * 1_000))
    with ResilientSession(Policy(retries=0, attempt_timeout=60, max_response_bytes=limit)) as session:
        session.trust_env = False
        tracemalloc.start()
        try:
            with pytest.raises(ResponseTooLarge):
                _ = session.get(server.url, stream=stream).content
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert peak < 10 * limit  # a list of these chunks would take 20 times the limit


def test_a_streamed_body_over_the_limit_stays_too_large(serve: Serve) -> None:
    """Each read of a body that exceeded the limit raises an error, and never returns an empty body."""
    server = serve(reply(200, b"0123456789" * 10))
    with (
        ResilientSession(Policy(max_response_bytes=99)) as session,
        session.get(server.url, stream=True) as response,
    ):
        for _ in range(3):
            with pytest.raises(ResponseTooLarge, match="max_response_bytes=99"):
                _ = response.content
        for read in (lambda: response.text, response.json):
            with pytest.raises(ResponseTooLarge):
                read()


def test_a_streamed_body_that_breaks_stays_broken(serve: Serve, session: ResilientSession) -> None:
    """Each read of a truncated body raises an error."""
    server = serve(reply(200, b"half", length=9))
    with session.get(server.url, stream=True) as response:
        for _ in range(3):
            with pytest.raises(requests.exceptions.ChunkedEncodingError):
                _ = response.content


def test_a_streamed_body_within_the_limit_stays(serve: Serve) -> None:
    """A streamed body that was read once can be read again."""
    server = serve(reply(200, b"0123456789" * 10))
    with (
        ResilientSession(Policy(max_response_bytes=100)) as session,
        session.get(server.url, stream=True) as response,
    ):
        assert response.content == response.content == b"0123456789" * 10


# Compression


@pytest.mark.parametrize(
    ("body", "coding"),
    [
        (ZIPPED + b"\0" * 7, "gzip"),
        (ZIPPED + b"\0" * 100_000, "gzip"),
        (ZIPPED + b"\n", "gzip"),
        (ZIPPED + b"\r\n", "gzip"),
        (ZIPPED + b"<!-- made by a proxy -->", "gzip"),
        (ZIPPED + ZIPPED, "gzip"),
        (TWICE, "gzip, gzip"),
        (gzip.compress(zlib.compress(TEXT)), "deflate, gzip"),
        (zlib.compress(TEXT), "deflate"),
        (zlib.compress(TEXT)[2:-4], "deflate"),
        (b"", "gzip"),
        (gzip.compress(b""), "gzip"),
    ],
    ids=[
        "a few NULs",
        "many NULs",
        "newline",
        "line break",
        "text",
        "two members",
        "twice",
        "deflate in gzip",
        "deflate",
        "raw deflate",
        "nothing",
        "an empty text",
    ],
)
@pytest.mark.parametrize("chunked", [False, True])
def test_what_requests_accepts_is_accepted(
    body: bytes, coding: str, chunked: bool, serve: Serve, session: ResilientSession, clock: FakeClock
) -> None:
    """Padding after a compressed body, and codings on top of each other, are read as requests reads them."""
    answer = reply(200, body, f"Content-Encoding: {coding}")
    if chunked:
        head = f"HTTP/1.1 200 OK\r\nContent-Encoding: {coding}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
        answer = Reply(head + (b"%x\r\n%s\r\n" % (len(body), body) if body else b"") + b"0\r\n\r\n")
    server = serve(answer, answer)
    with requests.Session() as plain:
        plain.trust_env = False
        expected = plain.get(server.url).content
    assert session.get(server.url).content == expected
    assert clock.waits == []


@pytest.mark.parametrize(
    ("body", "coding"),
    [
        (TWICE[:-12], "gzip, gzip"),
        (gzip.compress(ZIPPED[:-12]), "gzip, gzip"),
        (gzip.compress(zlib.compress(TEXT)[:-6]), "deflate, gzip"),
        (ZIPPED[:-12], "gzip"),
        (zlib.compress(TEXT)[:-6], "deflate"),
        (ZIPPED + ZIPPED[:1], "gzip"),
        (ZIPPED + ZIPPED[:-1], "gzip"),
        (ZIPPED + ZIPPED[:-8] + bytes(8), "gzip"),
    ],
    ids=[
        "outer",
        "inner",
        "deflate in gzip",
        "gzip",
        "deflate",
        "a byte of a member",
        "most of a member",
        "a broken member",
    ],
)
def test_a_compressed_body_that_lacks_its_end_is_tried_again(
    body: bytes, coding: str, serve: Serve, session: ResilientSession, clock: FakeClock
) -> None:
    """A body that is truncated in any of its codings is retried."""
    server = serve(reply(200, body, f"Content-Encoding: {coding}"), reply(200, b"fine"))
    assert session.get(server.url).content == b"fine"
    assert clock.waits == [1]


# Resources after a failure

BROKEN = [
    reply(200, b"this is not gzip" * 10_000, "Content-Encoding: gzip", length=10_000_000, then=Then.HOLD),
    Reply(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", Then.HOLD),
    Reply(
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nnone\r\n0\r\n\r\n",
        Then.HOLD,
    ),
]


@pytest.mark.parametrize("broken", BROKEN, ids=["gzip", "chunk size", "gzip in chunks"])
@pytest.mark.parametrize("stream", [False, True])
def test_a_body_that_cannot_be_read_gives_its_connection_back(
    broken: Reply, stream: bool, serve: Serve, once: requests.Session
) -> None:
    """After a body that could not be read, the connection is released, and the error holds no socket."""
    server = serve(broken, reply(200, b"fine"))
    with pytest.raises(requests.RequestException) as kept:
        _ = once.get(server.url, stream=stream).content
    assert server.closed.wait(5)
    assert once.get(server.url).content == b"fine"
    assert kept.value is not None


def test_a_body_that_cannot_be_decoded_but_is_whole_costs_no_connection(serve: Serve, once: requests.Session) -> None:
    """After a complete body that could not be decoded, the next call works."""
    server = serve(reply(200, b"this is not gzip", "Content-Encoding: gzip", then=Then.KEEP), reply(200, b"fine"))
    with pytest.raises(requests.exceptions.ContentDecodingError):
        once.get(server.url)
    assert once.get(server.url).content == b"fine"


def test_bodies_that_cannot_be_read_hold_no_sockets(serve: Serve) -> None:
    """Errors that are kept do not keep connections open."""
    servers = [serve(BROKEN[0]) for _ in range(5)]
    errors = []
    with ResilientSession(ONCE) as session:
        session.trust_env = False
        for server in servers:
            with pytest.raises(requests.exceptions.ContentDecodingError) as raised:
                session.get(server.url)
            errors.append(raised.value)
        assert [server.closed.wait(5) for server in servers] == [True] * 5
    assert len(errors) == 5


def test_a_body_over_the_limit_gives_its_connection_back(serve: Serve) -> None:
    """The connection of a body that exceeded the limit is released."""
    server = serve(reply(200, b"x" * 100_000, length=10_000_000, then=Then.HOLD), reply(200, b"fine"))
    adapter = ResilientAdapter(
        Policy(retries=0, attempt_timeout=5, max_response_bytes=50), pool_maxsize=1, pool_block=True
    )
    with requests.Session() as session:
        session.trust_env = False
        session.mount("http://", adapter)
        with pytest.raises(ResponseTooLarge) as kept:
            session.get(server.url)
        assert server.closed.wait(5)
        assert session.get(server.url).content == b"fine"
    assert kept.value.response is not None


def test_an_error_that_the_caller_drops_is_freed_at_once(serve: Serve) -> None:
    """No reference cycle keeps the error and its response until the garbage collector runs."""
    server = serve(reply(200, b"x" * 1000))
    gc.collect()
    gc.disable()
    try:
        with (
            ResilientSession(Policy(retries=0, max_response_bytes=50)) as session,
            pytest.raises(ResponseTooLarge) as raised,
        ):
            session.get(server.url)
        error = weakref.ref(raised.value)
        del raised
        assert error() is None
    finally:
        gc.enable()


# Streamed answers


def test_the_last_answer_keeps_its_body_when_time_runs_out(serve: Serve) -> None:
    """A 503 whose retry was not made for lack of time can still be read."""
    server = serve(reply(503, b"explained", then=Then.KEEP))
    clock = FakeClock()
    with ResilientSession(clock=clock, wait=lambda _: clock.advance(1000)) as session:
        session.trust_env = False
        response = session.get(server.url, stream=True)
        assert (response.status_code, response.content, response.text) == (503, b"explained", "explained")
    assert len(server.requests) == 1


def test_the_last_answer_of_several_keeps_its_body(serve: Serve) -> None:
    """Of several answers, the last one keeps its body."""
    server = serve(*[reply(503, f"try {number}".encode()) for number in range(3)])
    clock = FakeClock()

    def wait(seconds: float) -> None:
        clock.advance(1000 if len(server.requests) == 3 else seconds)

    with ResilientSession(clock=clock, wait=wait) as session:
        session.trust_env = False
        assert session.get(server.url, stream=True).content == b"try 2"
