"""Which methods and request bodies are sent again."""

from __future__ import annotations

import io
import os
import socket
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from core.http import (
    ResilientSession,
)
from core.http.testing import FakeClock
from tests.core.http.conftest import Metrics, Serve
from tests.core.http.misbehave import reply


def test_a_post_is_sent_once(serve: Serve, session: ResilientSession) -> None:
    """A POST that may have arrived is not repeated."""
    server = serve(reply(503), reply(200))
    assert session.post(server.url, data=b"order").status_code == 503
    assert len(server.requests) == 1


def test_a_post_that_never_left_is_repeated(closed_port: str, session: ResilientSession, clock: FakeClock) -> None:
    """A POST is retried if no connection could be made."""
    with pytest.raises(requests.ConnectionError):
        session.post(f"http://{closed_port}/", data=b"order")
    assert clock.waits == [1, 2, 4]


def test_an_idempotency_key_makes_a_post_repeatable(serve: Serve, session: ResilientSession) -> None:
    """A POST that says it is idempotent is retried, with the same key."""
    server = serve(reply(503), reply(201))
    assert session.post(server.url, data=b"order", headers={"idempotency-key": "42"}).status_code == 201
    assert all(b"idempotency-key: 42" in request for request in server.requests)


class Bare:
    """A file-like object with only the methods that requests and http.client call."""

    def __init__(self, content: bytes) -> None:
        file = io.BytesIO(content)
        self.read, self.seek, self.tell = file.read, file.seek, file.tell

    def __iter__(self) -> Iterator[bytes]:
        yield self.read()


@pytest.mark.parametrize(
    "body",
    [b"the body", "the body", io.BytesIO(b"the body"), Bare(b"the body")],
    ids=["bytes", "text", "file", "file-like object"],
)
def test_a_body_is_sent_again_in_full(body: Any, serve: Serve, session: ResilientSession) -> None:
    """Bytes, text and files are rewound between attempts."""
    server = serve(reply(503), reply(503), reply(200))
    assert session.put(server.url, data=body).status_code == 200
    assert [request.endswith(b"\r\n\r\nthe body") for request in server.requests] == [True] * 3


def test_a_file_is_sent_again_from_where_it_stood(serve: Serve, session: ResilientSession) -> None:
    """A file that was read in part is sent from there, each time."""
    server = serve(reply(503), reply(200))
    file = io.BytesIO(b"skip this, send this")
    file.seek(11)
    session.put(server.url, data=file)
    assert [request.split(b"\r\n\r\n", 1)[1] for request in server.requests] == [b"send this"] * 2


def test_a_generator_is_not_retried_once_sent(serve: Serve, session: ResilientSession, metrics: Metrics) -> None:
    """A generator is used up by the first attempt, so that one's answer is the call's."""
    server = serve(reply(503), reply(200))
    assert session.put(server.url, data=(part for part in (b"a", b"b"))).status_code == 503
    assert [request.endswith(b"ab") for request in server.requests] == [True]
    assert metrics("retries_suppressed_total", upstream="other", reason="not_idempotent") == 1


def refuse_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the first connection fail, as one to a server that is just restarting does."""
    connect, refusals = socket.socket.connect, iter([True])

    def connect_or_not(self: socket.socket, address: Any) -> None:
        if next(refusals, False):
            raise ConnectionRefusedError
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", connect_or_not)


def test_a_generator_is_retried_if_never_sent(
    serve: Serve, session: ResilientSession, monkeypatch: pytest.MonkeyPatch, clock: FakeClock
) -> None:
    """A generator that was not read yet is sent with the next attempt."""
    server = serve(reply(200))
    refuse_first(monkeypatch)
    assert session.put(server.url, data=(part for part in (b"a", b"b"))).status_code == 200
    assert server.requests[0].endswith(b"ab")
    assert clock.waits == [1]


def test_a_pipe_is_retried_if_never_sent(
    serve: Serve, session: ResilientSession, monkeypatch: pytest.MonkeyPatch, clock: FakeClock
) -> None:
    """A body that cannot be rewound need not be, as long as nothing was read from it."""
    server = serve(reply(200))
    refuse_first(monkeypatch)
    reading, writing = os.pipe()
    with os.fdopen(writing, "wb") as source:
        source.write(b"through a pipe")
    with os.fdopen(reading, "rb") as pipe:
        assert session.put(server.url, data=pipe).status_code == 200
    assert server.requests[0].endswith(b"through a pipe")
    assert clock.waits == [1]


def test_a_pipe_is_not_retried_once_sent(serve: Serve, session: ResilientSession) -> None:
    """A body that cannot be rewound is sent once, and its answer is the call's."""
    server = serve(reply(503), reply(200))
    reading, writing = os.pipe()
    with os.fdopen(writing, "wb") as source:
        source.write(b"through a pipe")
    with os.fdopen(reading, "rb") as pipe:
        assert session.put(server.url, data=pipe).status_code == 503


def test_errors_of_a_body_are_raised_unchanged(
    serve: Serve, session: ResilientSession, clock: FakeClock, metrics: Metrics
) -> None:
    """An error of a generator body is raised unchanged, without a retry."""

    def body() -> Iterator[bytes]:
        yield b"a"
        raise LookupError("the body's own")

    server = serve(reply(200))
    with pytest.raises(LookupError, match="the body's own"):
        session.put(server.url, data=body())
    assert clock.waits == []
    assert metrics("active_requests", upstream="other") == 0
