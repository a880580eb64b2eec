"""A call that was answered ends with that answer, even if the upstream fails later."""

from __future__ import annotations

from datetime import timedelta

import pytest
import requests
import responses as responses_library

from core.http import (
    CircuitOpen,
    Policy,
    ResilientSession,
    RetryBudget,
)
from core.http.engine.call import Call
from core.http.engine.steps import Stop
from core.http.events import (
    Suppression,
)
from core.http.outcome import Reason, Result
from core.http.testing import FakeClock
from tests.core.http.engine.outage import FRAGILE, URL, answer, ended, once, retry_in, waiting
from tests.core.http.engine.world import BUSY, GET, POST, UNSENT, World


def test_the_attempt_that_opens_the_breaker_is_the_calls_last() -> None:
    """The attempt that opens the breaker ends its call, which says why it was not retried."""
    world = World(Policy(circuit_breaker=FRAGILE))
    upstream = world.upstream
    assert world.play(Call(upstream, GET), BUSY, UNSENT) == 2
    assert (ended(world).result, ended(world).reason) == (Result.FAILURE, Reason.CONNECT)
    assert ended(world).suppressed is Suppression.BREAKER_OPEN


def test_a_late_failure_is_not_repeated_while_the_breaker_is_open() -> None:
    """A call that was under way when another opened the breaker ends with its own outcome, at once."""
    world = World(Policy(circuit_breaker=FRAGILE))
    upstream = world.upstream
    late = Call(upstream, GET)
    late.begin()
    broken_by = Call(upstream, POST), Call(upstream, POST)
    for call in broken_by:
        call.begin()
        call.end(BUSY)
    assert not late.end(UNSENT)
    assert (ended(world).reason, ended(world).suppressed) == (Reason.CONNECT, Suppression.BREAKER_OPEN)


def test_a_call_in_backoff_ends_when_the_breaker_opens() -> None:
    """A call in backoff ends with its last outcome as soon as the breaker is open."""
    world = World(Policy(circuit_breaker=FRAGILE, backoff=30))
    upstream = world.upstream
    call = waiting(upstream)
    once(upstream, BUSY)
    assert call.begin() == Stop()
    assert world.clock.now == 0
    assert (ended(world).target, ended(world).result, ended(world).reason) == (GET, Result.FAILURE, Reason.HTTP_5XX)
    assert ended(world).suppressed is Suppression.BREAKER_OPEN


def test_a_call_whose_backoff_ends_while_the_breaker_is_open_stops() -> None:
    """If a driver cannot be woken, its call ends after the delay with its last outcome, and sends nothing."""
    world = World(Policy(circuit_breaker=FRAGILE))
    upstream = world.upstream
    call = waiting(upstream)
    once(upstream, BUSY)
    world.clock.advance(1)
    assert call.begin() == Stop()
    assert ended(world).suppressed is Suppression.BREAKER_OPEN


def test_a_used_up_budget_ends_calls_with_their_answer() -> None:
    """If the retry budget is used up, a call ends with its first answer, and the suppressed retry is reported."""
    world = World(Policy(retry_budget=RetryBudget(minimum=1, ratio=0), circuit_breaker=None))
    upstream = world.upstream
    assert world.play(Call(upstream, GET), BUSY, UNSENT) == 2
    assert ended(world).suppressed is Suppression.BUDGET_EXHAUSTED
    assert (ended(world).reason, ended(world).budget_remaining) == (Reason.CONNECT, 0)
    assert world.play(Call(upstream, GET), BUSY) == 1
    assert (ended(world).reason, ended(world).suppressed) == (Reason.HTTP_5XX, Suppression.BUDGET_EXHAUSTED)


def test_the_budget_counts_attempts() -> None:
    """1,000 failing calls make at most 210 retries, however many each may make."""
    world = World(Policy(circuit_breaker=None, backoff=0))
    upstream = world.upstream
    made = sum(world.play(Call(upstream, GET), BUSY, BUSY, BUSY, BUSY) for _ in range(1000))
    assert made - 1000 <= 0.2 * made + 10
    assert made - 1000 > 0.19 * made


def test_a_gate_that_closes_meanwhile_ends_the_call_with_its_answer() -> None:
    """A call in backoff, when the gate closes for longer than it has, ends with its answer, not with RateLimited."""
    world = World()
    upstream = world.upstream
    call = waiting(upstream)
    once(upstream, answer(429, Retry_After="300"))
    world.clock.advance(1)
    assert call.begin() == Stop()
    assert (ended(world).reason, ended(world).suppressed) == (Reason.HTTP_5XX, Suppression.DEADLINE)


def test_through_requests_the_answer_stays_an_answer(
    responses: responses_library.RequestsMock, clock: FakeClock
) -> None:
    """The call that opens the breaker returns its 503; the next raises CircuitOpen, and nothing is sent."""
    responses.get(URL, status=503)
    with ResilientSession(Policy(circuit_breaker=FRAGILE)) as session:
        assert session.get(URL).status_code == 503
        assert (len(responses.calls), clock.waits) == (2, [1])
        with pytest.raises(CircuitOpen) as caught:
            session.get(URL)
        assert isinstance(caught.value, requests.ConnectionError)
        assert timedelta(seconds=10) < retry_in(caught.value) <= timedelta(seconds=15)
    assert len(responses.calls) == 2


def test_through_requests_the_last_error_is_raised_unchanged(responses: responses_library.RequestsMock) -> None:
    """The call that opens the breaker raises the error of requests."""
    responses.get(URL, body=requests.ReadTimeout("slow"))
    with (
        ResilientSession(Policy(circuit_breaker=FRAGILE)) as session,
        pytest.raises(requests.ReadTimeout, match="slow"),
    ):
        session.get(URL)
    assert len(responses.calls) == 2
