"""The rate-limit gate: calls that wait, and calls that are refused."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
import responses as responses_library

from core import http
from core.http import (
    CircuitBreaker,
    CircuitOpen,
    Policy,
    RateLimited,
)
from core.http.engine.call import Call
from core.http.engine.steps import Send, Wait
from core.http.events import GateClosed, GateWaited, Suppression, Target
from core.http.outcome import Reason, Result, failed
from core.http.testing import FakeClock
from tests.core.http.engine.outage import NOW, URL, answer, ended, once, retry_in
from tests.core.http.engine.world import BUSY, GET, OK, POST, World

HOUR = 3600.0


def test_calls_that_can_wait_at_the_gate_do_and_others_do_not() -> None:
    """After a Retry-After of 30 s, a call with 60 s waits and is sent; one with 20 s is refused at once."""
    world = World()
    upstream = world.upstream
    once(upstream, answer(429, Retry_After="30"))
    patient = Call(upstream, GET)
    assert patient.begin() == Wait(30)
    with pytest.raises(RateLimited):
        Call(upstream, GET, deadline=20).begin()
    world.clock.advance(30)
    assert isinstance(patient.begin(), Send)


def test_a_wait_at_the_gate_is_told_once() -> None:
    """With its seconds, when it is over; the retries of the call after it have not waited there."""
    world = World()
    upstream = world.upstream
    once(upstream, answer(429, Retry_After="30"))
    assert world.play(Call(upstream, GET), BUSY, BUSY, OK) == 3
    assert world.seen(GateWaited) == [GateWaited("example", 30)]


@pytest.mark.parametrize("status", [429, 503, 403])
def test_retry_after_closes_the_gate(status: int) -> None:
    """Retry-After with any transient status closes the gate, and so does GitHub's secondary limit, a 403 with it."""
    world = World()
    upstream = world.upstream
    once(upstream, answer(status, Retry_After="30"))
    assert world.seen(GateClosed) == [GateClosed("example", POST, 30)]
    assert Call(upstream, GET).begin() == Wait(30)


def test_a_limit_closes_the_gate_though_the_policy_does_not_retry_it() -> None:
    """The gate closes even if retry_statuses excludes the status, because the server has asked all callers to wait."""
    policy = Policy(retry_statuses=frozenset({503}))
    world = World(policy)
    upstream = world.upstream
    once(upstream, answer(429, policy, Retry_After="30"), GET)
    assert Call(upstream, GET).begin() == Wait(30)


@pytest.mark.parametrize(
    "value", ["0", "-5", "", "soon", "1e9", "nan", "Sat, 31 May 2025 00:00:00 GMT", "Mon, 99 Foo 2025", "\u0663"]
)
def test_a_retry_after_that_asks_for_nothing_closes_nothing(value: str) -> None:
    """Negative, past, empty and invalid values of Retry-After leave the gate open."""
    world = World()
    upstream = world.upstream
    once(upstream, answer(429, Retry_After=value))
    assert world.seen(GateClosed) == []
    assert isinstance(Call(upstream, GET).begin(), Send)


def test_the_last_half_second_of_a_pause_is_kept_too() -> None:
    """Nothing is sent before the time that the server has named."""
    world = World()
    upstream = world.upstream
    once(upstream, answer(429, Retry_After="30"))
    world.clock.advance(29.5)
    call = Call(upstream, GET)
    assert call.begin() == Wait(0.5)
    world.clock.advance(0.5)
    assert isinstance(call.begin(), Send)


@pytest.mark.parametrize("status", [301, 404, 413, 501])
def test_a_retry_after_of_an_answer_that_is_final_is_for_its_call_only(status: int) -> None:
    """Retry-After of a redirect or of a permanent error does not close the gate for other calls."""
    world = World()
    upstream = world.upstream
    once(upstream, answer(status, Retry_After="30"))
    assert world.seen(GateClosed) == []
    assert isinstance(Call(upstream, GET).begin(), Send)


@pytest.mark.parametrize("value", ["7200", "9" * 5000, "Fri, 31 Dec 9999 23:59:59 GMT", "86400.5"])
@pytest.mark.usefixtures("today")
def test_an_absurd_retry_after_is_an_hour_then_one_probe(value: str) -> None:
    """After an hour one call is sent; the others are refused until it is answered, and may pass after that."""
    world = World()
    upstream = world.upstream
    once(upstream, answer(429, Retry_After=value))
    with pytest.raises(RateLimited) as caught:
        Call(upstream, GET).begin()
    assert caught.value.retry_at == NOW + timedelta(hours=1)
    world.clock.advance(HOUR)
    probe = Call(upstream, GET)
    assert isinstance(probe.begin(), Send)
    with pytest.raises(RateLimited):
        Call(upstream, GET).begin()
    assert not probe.end(OK)
    assert [isinstance(Call(upstream, GET).begin(), Send) for _ in range(3)] == [True] * 3


def test_a_cancelled_probe_of_the_gate_is_free_at_once() -> None:
    """An interrupt during the probe lets the next call be the probe."""
    world = World()
    upstream = world.upstream
    once(upstream, answer(429, Retry_After="7200"))
    world.clock.advance(HOUR)
    probe = Call(upstream, GET)
    probe.begin()
    probe.cancel()
    second = Call(upstream, GET)
    assert isinstance(second.begin(), Send)
    with pytest.raises(RateLimited):
        Call(upstream, GET).begin()


def test_a_probe_of_the_gate_that_no_answer_came_to_is_free() -> None:
    """A transport error of a probe lets one more probe pass, not all calls."""
    world = World()
    upstream = world.upstream
    once(upstream, answer(429, Retry_After="7200"))
    world.clock.advance(HOUR)
    once(upstream, failed(Reason.CONNECT, "reset", transient=True))
    second = Call(upstream, GET)
    assert isinstance(second.begin(), Send)
    with pytest.raises(RateLimited):
        Call(upstream, GET).begin()


def test_a_call_repeats_its_probe_of_the_gate_that_no_answer_came_to() -> None:
    """The retry after a broken connection is the next probe, and does not wait for its own first attempt."""
    world = World()
    upstream = world.upstream
    once(upstream, answer(429, Retry_After="7200"))
    world.clock.advance(HOUR)
    probe = Call(upstream, GET)
    assert isinstance(probe.begin(), Send)
    assert probe.end(failed(Reason.CONNECT, "reset", transient=True))
    world.clock.advance(1)
    assert isinstance(probe.begin(), Send)


LIMITED = replace(answer(429), retry_after=60.0, doubled=True)
"""An answer that asks for a pause of a minute, which grows if the next one asks again."""


def paused_during_a_call(target: Target) -> tuple[World, Call]:
    """Return a world whose upstream has been paused for 10 s, and a call that was sent before the pause."""
    world = World()
    early = Call(world.upstream, target)
    early.begin()
    once(early.upstream, LIMITED)
    world.clock.advance(10)
    return world, early


def test_a_pause_that_grew_is_reported_in_full() -> None:
    """Log and metrics have the time for which the gate is closed, not the time in the last answer."""
    world = World()
    upstream = world.upstream
    for pause in (60, 120, 240):
        once(upstream, LIMITED)
        assert world.seen(GateClosed)[-1] == GateClosed("example", POST, pause)
        world.clock.advance(pause)


def test_answers_that_come_at_once_let_a_pause_grow_once() -> None:
    """Of several requests that were sent before the pause, all are limited; that is one refusal, not several."""
    world, early = paused_during_a_call(POST)
    early.end(LIMITED)
    assert world.seen(GateClosed)[-1] == GateClosed("example", POST, 60)
    world.clock.advance(50)
    once(early.upstream, LIMITED)
    assert world.seen(GateClosed)[-1] == GateClosed("example", POST, 120)


def test_an_answer_from_before_does_not_shorten_the_next_pause() -> None:
    """A late answer to a request sent before the pause does not reset the growing pause."""
    world, early = paused_during_a_call(GET)
    early.end(OK)
    world.clock.advance(50)
    once(early.upstream, LIMITED)
    assert world.seen(GateClosed)[-1] == GateClosed("example", POST, 120)


def test_a_call_waits_without_a_breaker_too() -> None:
    """A call whose policy has no breaker waits without being woken."""
    woken: list[None] = []
    with World(Policy(circuit_breaker=None)).upstream.waking(lambda: woken.append(None)):
        pass
    assert woken == []


def test_a_limited_probe_does_not_open_the_gate() -> None:
    """After a probe's 429 without a time, one call may pass as the next probe, and the others are refused."""
    world = World()
    upstream = world.upstream
    once(upstream, answer(429, Retry_After="7200"))
    world.clock.advance(HOUR)
    once(upstream, answer(429))
    second = Call(upstream, GET)
    assert isinstance(second.begin(), Send)
    with pytest.raises(RateLimited):
        Call(upstream, GET).begin()


def test_an_answer_from_before_does_not_open_the_gate() -> None:
    """A late success of a request sent before the pause does not open the gate."""
    world = World()
    upstream = world.upstream
    early = Call(upstream, GET)
    early.begin()
    once(upstream, answer(429, Retry_After="30"))
    world.clock.advance(10)
    early.end(OK)
    assert Call(upstream, GET).begin() == Wait(20)


def test_a_probe_of_the_gate_that_the_breaker_refuses_is_free() -> None:
    """A call that the breaker refuses releases the gate's probe."""
    world = World(Policy(circuit_breaker=CircuitBreaker(failures_in_a_row=1, open_for=7000, open_max=7000)))
    upstream = world.upstream
    once(upstream, answer(503, Retry_After="8000"))
    world.clock.advance(HOUR)
    with pytest.raises(CircuitOpen):
        Call(upstream, GET).begin()
    world.clock.advance(HOUR)
    assert isinstance(Call(upstream, GET).begin(), Send)


def test_a_new_call_does_not_wait_at_the_gate_of_a_server_that_is_down() -> None:
    """If the breaker is open for longer than the gate is closed, a new call raises CircuitOpen at once."""
    world = World(Policy(circuit_breaker=CircuitBreaker(failures_in_a_row=1)))
    upstream = world.upstream
    once(upstream, answer(503, Retry_After="10"))
    with pytest.raises(CircuitOpen):
        Call(upstream, GET).begin()


def test_github_403_with_an_exhausted_quota_closes_the_gate_until_its_reset() -> None:
    """A 403 with X-RateLimit-Remaining: 0 closes the gate for the 120 s until the reset."""
    world = World()
    upstream = world.upstream
    reset = str(int(NOW.timestamp()) + 120)
    limited = answer(403, X_RateLimit_Limit="60", X_RateLimit_Remaining="0", X_RateLimit_Reset=reset)
    assert world.play(Call(upstream, GET), limited) == 1
    assert (ended(world).result, ended(world).reason) == (Result.FAILURE, Reason.HTTP_429)
    assert ended(world).suppressed is Suppression.DEADLINE
    with pytest.raises(RateLimited):
        Call(upstream, GET).begin()
    world.clock.advance(100)
    assert Call(upstream, GET).begin() == Wait(20)


def test_ratelimit_headers_of_the_draft_close_the_gate_too() -> None:
    """RateLimit-Remaining: 0 with a 429 and a RateLimit-Reset in seconds."""
    world = World()
    upstream = world.upstream
    once(upstream, answer(429, RateLimit_Limit="10", RateLimit_Remaining="0", RateLimit_Reset="40"))
    assert Call(upstream, GET).begin() == Wait(40)


@pytest.mark.parametrize("status", [200, 404, 503])
def test_only_a_refusal_with_an_exhausted_quota_closes_the_gate(status: int) -> None:
    """The last response that the quota allows, or a failure without Retry-After, delays no other call."""
    upstream = World().upstream
    once(upstream, answer(status, RateLimit_Limit="10", RateLimit_Remaining="0", RateLimit_Reset="40"))
    assert isinstance(Call(upstream, GET).begin(), Send)


def test_through_requests_a_limited_call_returns_its_429_and_the_next_is_not_sent(
    responses: responses_library.RequestsMock, clock: FakeClock
) -> None:
    """The limited call returns its 429; a call before the end of the pause raises RateLimited, unless it may wait."""
    responses.get(URL, status=429, headers={"Retry-After": "90"})
    assert http.get(URL).status_code == 429
    with pytest.raises(RateLimited) as caught:
        http.get(URL)
    assert timedelta(seconds=85) < retry_in(caught.value) <= timedelta(seconds=90)
    assert len(responses.calls) == 1
    clock.advance(50)
    responses.replace("GET", URL, status=200)
    assert http.get(URL).status_code == 200
    assert clock.waits == [40]
