"""Retries as a server sees them."""

from __future__ import annotations

import gzip
import socket
from contextlib import suppress
from typing import Any

import pytest
import requests

from core.http import (
    ResilientSession,
)
from core.http.testing import FakeClock
from tests.core.http.conftest import Metrics, Serve
from tests.core.http.misbehave import CLOSE, RESET, Reply, reply, server_context

URL = "https://example.org/"
ZIPPED = gzip.compress(b"a long text " * 100)


@pytest.mark.parametrize(
    "broken",
    [
        reply(503),
        reply(408),
        reply(425),
        reply(500),
        reply(502),
        reply(504),
        CLOSE,
        RESET,
        reply(200, b"half a bo", length=20),
        reply(200, ZIPPED[:40], "Content-Encoding: gzip", length=len(ZIPPED)),
        reply(200, b"this is not gzip", "Content-Encoding: gzip"),
        reply(200, ZIPPED[:-12], "Content-Encoding: gzip"),
        Reply(b"HTTP/1.1 200 OK\r\nX-First: 1\r\nX-Sec"),
        Reply(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"),
        Reply(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n0\r\n\r\n"),
    ],
    ids=lambda broken: str(broken.data[:60]),
)
def test_a_failure_that_may_pass_is_tried_again(
    broken: Reply, serve: Serve, foreign: requests.Session, clock: FakeClock
) -> None:
    """Error statuses, dropped connections and broken bodies end in the good answer that follows."""
    server = serve(broken, reply(200, b"fine"))
    assert foreign.get(server.url).content == b"fine"
    assert len(server.requests) == 2
    assert clock.waits == [1]


@pytest.mark.parametrize(
    "broken",
    [
        reply(404),
        reply(501),
        Reply(b"this is not HTTP\r\n\r\n"),
        Reply(b"HTTP/1.1 200 OK\r\n" + b"X-Many: 1\r\n" * 200 + b"\r\n"),
        Reply(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"),
    ],
    ids=lambda broken: str(broken.data[:60]),
)
def test_permanent_failures_are_not_retried(
    broken: Reply, serve: Serve, foreign: requests.Session, clock: FakeClock
) -> None:
    """Client errors and malformed HTTP are not retried, and malformed HTTP raises a RequestException."""
    server = serve(broken, reply(200))
    with suppress(requests.RequestException):
        assert not foreign.get(server.url).ok
    assert len(server.requests) == 1
    assert clock.waits == []


def test_retries_used_up_return_the_last_response(serve: Serve, session: ResilientSession, metrics: Metrics) -> None:
    """A server that stays down answers with its 503, as it would without retries."""
    server = serve(*[reply(503, b"busy")] * 3, reply(503, b"still busy"))
    response = session.get(server.url)
    assert (response.status_code, response.content) == (503, b"still busy")
    with pytest.raises(requests.HTTPError):
        response.raise_for_status()
    assert len(server.requests) == 4


def test_retries_used_up_raise_the_last_error(closed_port: str, session: ResilientSession, clock: FakeClock) -> None:
    """A server that cannot be reached raises the error that requests raises for it."""
    with pytest.raises(requests.ConnectionError) as raised:
        session.get(f"http://{closed_port}/")
    assert type(raised.value) is requests.ConnectionError
    assert raised.value.request is not None
    assert clock.waits == [1, 2, 4]


def test_the_last_error_counts_not_the_first(serve: Serve, session: ResilientSession) -> None:
    """The call ends with the result of the last attempt, even if an earlier one was answered."""
    server = serve(reply(503), reply(503), reply(503), reply(200, b"half", length=9))
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        session.get(server.url)


def test_a_name_that_does_not_exist_is_not_retried(
    session: ResilientSession, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A misspelt host fails at once; a resolver that is overloaded is asked again."""
    asked = []

    def getaddrinfo(host: str, *args: Any) -> None:
        asked.append(host)
        raise socket.gaierror(socket.EAI_NONAME if host == "nonexistent.invalid" else socket.EAI_AGAIN, "no")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    with pytest.raises(requests.ConnectionError):
        session.get("http://nonexistent.invalid/")
    assert (asked, clock.waits) == (["nonexistent.invalid"], [])
    with pytest.raises(requests.ConnectionError):
        session.get("http://unsure.invalid/")
    assert clock.waits == [1, 2, 4]


def test_a_call_within_an_except_block_is_judged_on_its_own(
    closed_port: str, serve: Serve, session: ResilientSession, clock: FakeClock
) -> None:
    """A mirror that is asked because the first server had a bad certificate is retried like any other."""
    server = serve(context=server_context())
    with pytest.raises(requests.ConnectionError):  # noqa: PT012 - the block in the block is the point
        try:
            session.get(server.url)
        except requests.exceptions.SSLError:
            session.get(f"http://{closed_port}/")
    assert clock.waits == [1, 2, 4]


@pytest.mark.parametrize("host", ["a" * 64 + ".invalid", "a..invalid", "[::1", "127.0.0.1:99999", "127.0.0.1:x"])
def test_an_impossible_url_is_a_request_exception(host: str, session: ResilientSession, clock: FakeClock) -> None:
    """Any invalid URL raises a RequestException."""
    with pytest.raises(requests.RequestException):
        session.get(f"http://{host}/")
    assert clock.waits == []


def test_an_impossible_url_that_was_not_prepared(foreign: requests.Session) -> None:
    """A prepared request whose URL was changed to an invalid one raises InvalidURL."""
    request = requests.Request("GET", URL).prepare()
    request.url = "http://127.0.0.1:99999/"
    with pytest.raises(requests.exceptions.InvalidURL):
        foreign.send(request)


def test_errors_contain_no_secret(closed_port: str, session: ResilientSession) -> None:
    """The text of an error contains neither userinfo nor values of the query."""
    with pytest.raises(requests.ConnectionError) as raised:
        session.get(f"http://user:passw0rd@{closed_port}/path?token=s3cret")
    assert "passw0rd" not in str(raised.value)
    assert "s3cret" not in str(raised.value)
