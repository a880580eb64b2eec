"""A call that sends nothing raises an error that says when to try again."""

from __future__ import annotations

import pickle
from datetime import UTC, timedelta

import pytest
import requests

from core.http import (
    CircuitOpen,
    DeadlineExceeded,
    RateLimited,
)
from core.http.engine.call import Call
from core.http.events import (
    AttemptStarted,
    BreakerState,
)
from core.http.outcome import Rejection, Result
from core.http.wire import requests_exceptions
from tests.core.http.engine.outage import NOW, answer, broken, once
from tests.core.http.engine.world import GET, World


def test_an_open_breaker_refuses_new_calls() -> None:
    """A new call ends with CircuitOpen before anything is sent, and says where to and why, without the path."""
    world = World()
    upstream = broken(world)
    world.events.clear()
    with pytest.raises(CircuitOpen, match=r"^GET to example.org was not sent: the upstream is down, its breaker is op"):
        Call(upstream, GET).begin()
    assert world.seen(AttemptStarted) == []
    assert (world.ended.result, world.ended.reason) == (Result.REJECTED, Rejection.BREAKER_OPEN)
    assert world.ended.attempts == ()


@pytest.mark.usefixtures("today")
def test_circuit_open_says_when_to_come_back() -> None:
    """retry_at is when the next probe may go, aware, in UTC."""
    world = World()
    upstream = broken(world)
    world.clock.advance(5)
    with pytest.raises(CircuitOpen) as caught:
        Call(upstream, GET).begin()
    assert caught.value.retry_at == NOW + timedelta(seconds=10)
    assert caught.value.retry_at.tzinfo is UTC


@pytest.mark.usefixtures("today")
def test_rate_limited_says_when_to_come_back() -> None:
    """A closed gate that outlasts the call ends it at once; retry_at is when it opens, aware, in UTC."""
    world = World()
    upstream = world.upstream
    once(upstream, answer(429, Retry_After="300"))
    world.events.clear()
    world.clock.advance(100)
    with pytest.raises(RateLimited, match=r"^GET to example.org was not sent: the upstream asked for a pau") as caught:
        Call(upstream, GET).begin()
    assert caught.value.retry_at == NOW + timedelta(seconds=200)
    assert caught.value.retry_at.tzinfo is UTC
    assert world.seen(AttemptStarted) == []
    assert (world.ended.result, world.ended.reason) == (Result.REJECTED, Rejection.RATE_LIMITED)


@pytest.mark.parametrize("kind", [requests_exceptions.CircuitOpen, requests_exceptions.RateLimited])
def test_refusals_are_connection_errors_that_can_be_pickled(kind: type[CircuitOpen | RateLimited]) -> None:
    """Refused calls raise a requests.ConnectionError, which keeps its time when it is pickled."""
    error = kind("not sent", NOW)
    assert isinstance(error, requests.ConnectionError)
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy), copy.retry_at) == (kind, "not sent", NOW)


def test_a_call_whose_time_is_over_is_not_a_matter_of_the_breaker() -> None:
    """A deadline that has passed is DeadlineExceeded, and takes no probe."""
    world = World()
    upstream = broken(world)
    world.clock.advance(15)
    with pytest.raises(DeadlineExceeded):
        Call(upstream, GET, deadline=15).begin()
    assert upstream.breaker is not None
    assert upstream.breaker.state is BreakerState.OPEN
