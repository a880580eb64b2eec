"""Servers that refuse, hang up, reset, stall or drip, wherever in the exchange they do it."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest
import requests

from core.http.events import Event
from core.http.outcome import Reason
from tests.core.http.conftest import Serve
from tests.core.http.hostile.scenarios import (
    FINE,
    PATIENT,
    SLOWLY,
    Scenario,
    certificate,
    check,
    each,
    ended,
    meet,
    methods,
    schemes,
    session_for,
)
from tests.core.http.misbehave import CLOSE, RESET, Reply, Then, reply

HEAD = b"HTTP/1.1 200 OK\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
SIZED = HEAD + b"Content-Length: 1000\r\n\r\n"


def lost(name: str, does: Reply, error: type[requests.RequestException] = requests.ConnectionError) -> Scenario:
    return Scenario(name, does, error, Reason.CONNECT, transient=True)


def cut(name: str, does: Reply, error: type[requests.RequestException] = requests.ConnectionError) -> Scenario:
    return Scenario(name, does, error, Reason.TRUNCATED, transient=True)


def broken_off(name: str, does: Reply) -> Scenario:
    # A reset may discard data that was sent before it, so the failure may look like either.
    return replace(lost(name, does, requests.RequestException), or_reason=Reason.TRUNCATED)


def slow(name: str, stage: str, data: bytes, drop: bytes = b"", every: float = SLOWLY) -> Scenario:
    does = Reply(data, Then.HOLD, drop, every)
    return Scenario(name, does, requests.ReadTimeout, Reason.TIMEOUT, transient=True, reached=stage)


def test_a_server_that_refuses(closed_port: str, serve: Serve, events: list[Event]) -> None:
    """A refused connection is tried again for every method: nothing was sent."""
    refused = Scenario("refused", CLOSE, reason=Reason.CONNECT, transient=True, sent=False)
    for method in ("GET", "POST"):
        with session_for(PATIENT) as session:
            with pytest.raises(requests.ConnectionError) as raised:
                session.request(method, f"http://{closed_port}/")
            check(refused, raised.value, ended(events), attempts=2)
            assert session.get(serve(FINE).url).content == b"fine"


@schemes
@methods
@each(
    lost("closes before it answers", CLOSE),
    lost("resets before it answers", RESET),
    broken_off("resets in the status line", Reply(b"HTTP/1.1 20", Then.RESET)),
    broken_off("resets in the headers", Reply(HEAD + b"X-First: 1\r\nX-Sec", Then.RESET)),
    cut("closes in the status line", Reply(b"HTTP/1.1 20")),
    cut("closes after the status line", Reply(HEAD)),
    cut("closes in a header", Reply(HEAD + b"X-First: 1\r\nX-Sec")),
    cut("closes between headers", Reply(HEAD + b"X-First: 1\r\n")),
    cut("closes before the blank line", Reply(HEAD + b"Content-Length: 0\r\n\r")),
    cut("closes after an interim answer", Reply(b"HTTP/1.1 100 Continue\r\n\r\n")),
    cut("closes in the body", Reply(SIZED + b"half"), requests.exceptions.ChunkedEncodingError),
    cut("closes before the body", Reply(SIZED), requests.exceptions.ChunkedEncodingError),
    cut("closes in a chunk", Reply(CHUNKED + b"ff\r\nhalf"), requests.exceptions.ChunkedEncodingError),
    cut("closes in a chunk size", Reply(CHUNKED + b"4\r\nhalf\r\nf"), requests.exceptions.ChunkedEncodingError),
    cut("closes between chunks", Reply(CHUNKED + b"4\r\nhalf\r\n"), requests.exceptions.ChunkedEncodingError),
    broken_off("resets in the body", Reply(SIZED + b"half", Then.RESET)),
    broken_off("resets in a chunk", Reply(CHUNKED + b"ff\r\nhalf", Then.RESET)),
)
def test_a_server_that_breaks_off(
    scenario: Scenario, method: str, scheme: str, serve: Serve, events: list[Event]
) -> None:
    """A connection that ends too early, at any point, is a failure; requests that may be repeated are retried."""
    meet(scenario, serve, events, scheme, method)


@schemes
@methods
@each(
    slow("says nothing", "headers", b""),
    slow("stalls in the headers", "headers", HEAD + b"X-First: 1\r\nX-Sec"),
    slow("stalls in the body", "body", SIZED + b"half"),
)
def test_a_server_that_stalls(scenario: Scenario, method: str, scheme: str, serve: Serve, events: list[Event]) -> None:
    """An attempt to a silent server ends at its timeout, with the reached stage; a POST is not repeated."""
    meet(scenario, serve, events, scheme, method)


@schemes
@each(
    slow("drips the status line", "headers", b"HTTP/1.1 200 ", b"O"),
    slow("drips a header", "headers", HEAD + b"X-Long: ", b"x"),
    slow("drips headers", "headers", HEAD, b"X: 1\r\n", 0.05),
    slow("drips interim answers", "headers", b"", b"HTTP/1.1 102 Processing\r\n\r\n"),
    slow("drips a body", "body", SIZED, b"x"),
    slow("drips a body without length", "body", HEAD + b"\r\n", b"x"),
    slow("drips a chunk size", "body", CHUNKED, b"0"),
    slow("drips a chunk extension", "body", CHUNKED + b"4;", b"x"),
    slow("drips a chunk", "body", CHUNKED + b"ffff\r\n", b"x"),
    slow("drips chunks", "body", CHUNKED, b"1\r\nx\r\n"),
    slow("drips trailers", "body", CHUNKED + b"1\r\nx\r\n0\r\n", b"X: 1\r\n"),
    slow("drips a trailer", "body", CHUNKED + b"1\r\nx\r\n0\r\nX-Long: ", b"x"),
    slow("drips the body of a 503", "body", b"HTTP/1.1 503 Busy\r\nContent-Length: 1000\r\n\r\n", b"x"),
    slow("drips the body of a redirect", "body", b"HTTP/1.1 302 Found\r\nLocation: /\r\n\r\n", b"x"),
    slow("drips a compressed body", "body", HEAD + b"Content-Encoding: gzip\r\n\r\n\x1f\x8b\x08\0\0\0\0\0\0\3", b"\0"),
)
def test_a_server_that_drips(scenario: Scenario, scheme: str, serve: Serve, events: list[Event]) -> None:
    """A server that sends a byte now and then does not extend an attempt beyond its timeout."""
    meet(scenario, serve, events, scheme)


@methods
@each(
    lost("closes", Reply(b"")),
    slow("hangs", "headers", b""),
    Scenario(
        "bids welcome in another protocol",
        Reply(b"220 mail.example.org ESMTP ready\r\n", Then.DRAIN),
        reason=Reason.OTHER,
    ),
    Scenario("bids welcome as SSH", Reply(b"SSH-2.0-OpenSSH_9.6\r\n", Then.DRAIN), reason=Reason.OTHER),
    Scenario(
        "bids welcome in binary",
        Reply(b"J\0\0\0\n8.0.36\0\x08\0\0\0", Then.DRAIN, b"\r\n", SLOWLY),
        reason=Reason.OTHER,
    ),
)
def test_a_server_that_does_not_listen(scenario: Scenario, method: str, serve: Serve, events: list[Event]) -> None:
    """A server that closes before it reads the request causes the same failure, but the request may have been sent."""
    does = replace(scenario.does, then=Then.DRAIN if scenario.does.then is Then.HOLD else scenario.does.then)
    meet(replace(scenario, does=does, greeting=True), serve, events, "http", method)


def test_a_server_that_resets_at_once(serve: Serve, events: list[Event]) -> None:
    """A reset is retried, before or after the request arrived."""
    server = serve(FINE, FINE, greetings=[RESET])
    with session_for(PATIENT) as session:
        assert session.get(server.url).content == b"fine"
        assert [attempt.outcome.reason for attempt in ended(events).attempts] == [Reason.CONNECT, None]
        assert session.get(server.url).content == b"fine"


# Connections that are kept


@schemes
@methods
@pytest.mark.parametrize("how", [Then.CLOSE, Then.RESET], ids=["closed", "reset"])
def test_a_connection_that_ends_while_idle(
    how: Then, method: str, scheme: str, serve: Serve, events: list[Event]
) -> None:
    """A connection that the server closed between two calls is not used for an attempt."""
    gate = threading.Event()
    kept = replace(reply(200, b"first", then=Then.KEEP), then=how, gate=gate)
    server = serve(kept, FINE, context=certificate() if scheme == "https" else None)
    with session_for(PATIENT) as session:
        assert session.get(server.url).content == b"first"
        gate.set()
        assert server.closed.wait(PATIENT)
        assert session.request(method, server.url, data=b"order").content == b"fine"
        assert len(ended(events).attempts) == 1


@schemes
@pytest.mark.parametrize("how", [CLOSE, RESET], ids=["closed", "reset"])
def test_a_connection_that_ends_when_used_again(how: Reply, scheme: str, serve: Serve, events: list[Event]) -> None:
    """A kept connection that ends under the second request is a failure that may pass; only a GET is repeated."""
    kept = reply(200, b"first", then=Then.KEEP)
    broken = Scenario("ends when used again", how, reason=Reason.CONNECT, transient=True)
    for method, attempts in (("GET", 2), ("POST", 1)):
        server = serve(kept, *[how] * attempts, FINE, context=certificate() if scheme == "https" else None)
        with session_for(PATIENT) as session:
            assert session.get(server.url).content == b"first"
            with pytest.raises(requests.ConnectionError) as raised:
                session.request(method, server.url, data=b"order")
            check(broken, raised.value, ended(events), attempts)
            assert session.get(server.url).content == b"fine"
