"""Response bodies: read within the attempt, and within their limit."""

from __future__ import annotations

import gzip
import time

import pytest
import requests

from core.http import (
    Policy,
    ResilientSession,
    ResponseTooLarge,
)
from core.http.testing import FakeClock
from tests.core.http.conftest import Serve
from tests.core.http.misbehave import Reply, reply

ZIPPED = gzip.compress(b"a long text " * 100)


def test_a_body_of_any_kind_of_framing_arrives(serve: Serve, session: ResilientSession) -> None:
    """Gzipped, chunked, empty and unframed bodies are read as requests reads them."""
    server = serve(
        reply(200, ZIPPED, "Content-Encoding: gzip"),
        Reply(b"HTTP/1.1 200 OK\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
        Reply(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n"),
        Reply(b"HTTP/1.0 200 OK\r\n\r\nuntil the end"),
    )
    bodies = [session.get(server.url).content for _ in range(4)]
    assert bodies == [b"a long text " * 100, b"hello", b"", b"until the end"]


def test_a_head_has_no_body(serve: Serve, session: ResilientSession) -> None:
    """The answer to HEAD has no body, for any Content-Length."""
    server = serve(Reply(b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n"))
    assert session.head(server.url).content == b""


@pytest.mark.parametrize("headers", [[], ["Content-Encoding: gzip"]], ids=["as it is", "only when unpacked"])
def test_a_body_over_the_limit_is_refused(headers: list[str], serve: Serve, clock: FakeClock) -> None:
    """A body larger than max_response_bytes, unpacked, raises ResponseTooLarge and is not fetched again."""
    body = b"0" * 100_001
    server = serve(reply(200, gzip.compress(body) if headers else body, *headers))
    with (
        ResilientSession(Policy(max_response_bytes=100_000)) as session,
        pytest.raises(ResponseTooLarge, match="max_response_bytes=100000") as raised,
    ):
        session.get(server.url)
    assert raised.value.response is not None
    assert raised.value.request is not None
    assert clock.waits == []


@pytest.mark.parametrize("limit", [100_000, None])
def test_a_body_within_the_limit_is_accepted(limit: int | None, serve: Serve) -> None:
    """The limit itself is allowed, and None allows everything."""
    server = serve(reply(200, b"0" * 100_000))
    with ResilientSession(Policy(max_response_bytes=limit)) as session:
        assert len(session.get(server.url).content) == 100_000


def test_a_streamed_body_is_the_callers_to_read(serve: Serve, session: ResilientSession, clock: FakeClock) -> None:
    """With stream=True the call ends at the headers; the body is not retried, and its error has `attempts`."""
    server = serve(reply(503), reply(200, b"half", length=9))
    with session.get(server.url, stream=True) as response:
        assert not response._content_consumed
        with pytest.raises(requests.exceptions.ChunkedEncodingError) as raised:
            _ = response.content
    assert clock.waits == [1]
    assert [attempt.outcome.status for attempt in raised.value.attempts] == [503, 200]  # type: ignore[attr-defined]


def test_a_streamed_error_that_comes_slowly_is_not_waited_for(serve: Serve, session: ResilientSession) -> None:
    """An answer that is asked for again gets a second for its body, not the time that its server would take."""
    server = serve(reply(503, b"", length=600, repeat=b"x", every=0.05, times=600), reply(200, b"fine"))
    began = time.monotonic()
    assert session.get(server.url, stream=True).content == b"fine"
    assert time.monotonic() - began < 20  # of the 30 s that the body takes


def test_the_content_of_a_streamed_response_is_limited(serve: Serve) -> None:
    """Reading a streamed body into memory by .content obeys max_response_bytes; iterating over it does not."""
    server = serve(*[reply(200, b"0" * 2_000)] * 2)
    with ResilientSession(Policy(max_response_bytes=1_000)) as session:
        with session.get(server.url, stream=True) as response:
            assert sum(map(len, response.iter_content(100))) == 2_000
        with session.get(server.url, stream=True) as response, pytest.raises(ResponseTooLarge):
            _ = response.content


def test_a_streamed_body_arrives_in_pieces(serve: Serve, session: ResilientSession) -> None:
    """iter_content and iter_lines work as ever."""
    server = serve(reply(200, b"one\ntwo\n"))
    with session.get(server.url, stream=True) as response:
        assert list(response.iter_lines()) == [b"one", b"two"]
