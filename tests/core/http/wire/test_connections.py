"""Connections that are reused, and stale ones."""

from __future__ import annotations

import ssl
import time
from types import SimpleNamespace

import pytest
import requests

from core.http import Policy, ResilientSession
from core.http.events import BreakerChanged, Event, RetryScheduled
from core.http.wire import connections
from tests.core.http.conftest import Serve
from tests.core.http.misbehave import CLOSE, HOLD, RESET, TLS, Reply, Then, reply, server_context

KEPT = reply(200, then=Then.KEEP)
IMPATIENT = Policy(attempt_timeout=0.3, backoff=0.0)


@pytest.fixture(params=[None, server_context()], ids=["http", "https"])
def context(request: pytest.FixtureRequest) -> ssl.SSLContext | None:
    found: ssl.SSLContext | None = request.param
    return found


@pytest.mark.parametrize("silence", [HOLD, RESET, CLOSE], ids=["forgotten by a NAT", "reset", "closed"])
def test_a_connection_that_died_in_the_pool_costs_one_retry(
    silence: Reply, context: ssl.SSLContext | None, serve: Serve, session: ResilientSession, events: list[Event]
) -> None:
    """A request on a stale connection is repeated at once on a new one, and does not count as a failure."""
    session.verify = str(TLS / "ca.pem")
    server = serve(KEPT, silence, KEPT, context=context)
    assert session.get(server.url, timeout=0.3).ok
    response = session.get(server.url, timeout=0.3)
    first, second = response.attempts  # type: ignore[attr-defined]  # requests does not know it
    assert (first.outcome.stale, second.outcome.stale, second.waited) == (True, False, 0.0)
    assert server.connections == 2
    assert [event.delay for event in events if isinstance(event, RetryScheduled)] == [0.0]


def test_dead_connections_of_a_pool_are_not_tried_one_after_the_other(serve: Serve) -> None:
    """The retry uses a new connection, because the others in the pool may be stale too."""
    server = serve(*[reply(200, then=Then.KEEP)] * 4, HOLD, KEPT)
    with ResilientSession(IMPATIENT) as session:
        streams = [session.get(server.url, stream=True) for _ in range(4)]
        for stream in streams:
            assert stream.content == b"ok"
        assert server.connections == 4
        assert len(session.get(server.url).attempts) == 2  # type: ignore[attr-defined]
        assert server.connections == 5


def test_a_new_connection_that_stays_silent_is_a_failure(
    serve: Serve, session: ResilientSession, events: list[Event]
) -> None:
    """A timeout on a new connection is a failure, because only reused connections can be stale."""
    server = serve(*[HOLD] * 4)
    with pytest.raises(requests.ReadTimeout) as raised:
        session.get(server.url, timeout=0.05)
    assert [attempt.outcome.stale for attempt in raised.value.attempts] == [False] * 4  # type: ignore[union-attr]


def test_a_connection_that_breaks_off_in_the_answer_is_a_failure(serve: Serve, session: ResilientSession) -> None:
    """A connection that breaks in the middle of an answer was not stale, so the attempt failed."""
    server = serve(KEPT, Reply(b"HTTP/1.1 200 OK\r\nContent-Le", Then.HOLD), KEPT)
    session.get(server.url)
    response = session.get(server.url, timeout=0.2)
    assert [attempt.outcome.stale for attempt in response.attempts] == [False, False]  # type: ignore[attr-defined]


def test_stale_connections_of_a_healthy_server_open_no_breaker(
    serve: Serve, session: ResilientSession, events: list[Event]
) -> None:
    """Twelve stale connections in a row are retried and do not count as failures."""
    server = serve(*[KEPT, HOLD] * 12, KEPT)
    for _ in range(13):
        assert session.get(server.url, timeout=0.05).ok
    assert [event for event in events if isinstance(event, BreakerChanged)] == []


@pytest.mark.parametrize(("idle", "made"), [(29.0, 1), (31.0, 2)])
def test_a_connection_idle_for_thirty_seconds_is_not_used_again(
    idle: float, made: int, serve: Serve, session: ResilientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Connections idle for 30 s are closed, because NATs and load balancers drop idle ones, some after a minute."""
    server = serve(KEPT, KEPT)
    session.get(server.url)
    later = time.monotonic() + idle
    monkeypatch.setattr(connections, "time", SimpleNamespace(monotonic=lambda: later))
    session.get(server.url)
    assert server.connections == made
