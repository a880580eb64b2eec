"""`refusal`: whether a call would be sent now, and if not, why and until when."""

from __future__ import annotations

from dataclasses import replace

import pytest

from core.http.engine.attempt_health import Health
from core.http.engine.call import Call
from core.http.engine.circuit_breaker import Breaker
from core.http.engine.steps import Send
from core.http.engine.upstream import Upstream
from core.http.errors import CircuitOpen, RateLimited
from core.http.events import BreakerState, Target
from core.http.outcome import Rejection
from core.http.policy import Policy
from core.http.testing import FakeClock
from tests.core.http.engine.world import BUSY

TARGET = Target("GET", "https", "example.org", "/")


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(1000.0)


def an_upstream(clock: FakeClock, policy: Policy | None = None) -> Upstream:
    return Upstream("x", policy or Policy(), clock=clock, random=lambda: 0.0, observe=lambda _: None)


def breaker_of(upstream: Upstream) -> Breaker:
    assert upstream.breaker is not None
    return upstream.breaker


def fail(upstream: Upstream, times: int = 1) -> None:
    breaker, now = breaker_of(upstream), upstream.clock()
    for _ in range(times):
        permit = breaker.acquire(now, 10)
        assert permit is not None
        breaker.record(permit, Health.FAILURE, now)


def refusal(upstream: Upstream) -> tuple[Rejection, str, float] | None:
    refused = upstream.refusal(upstream.clock())
    return None if refused is None else (refused.rejection, refused.why, refused.retry_in)


DOWN = "the upstream is down, its breaker is open"


def test_a_call_may_be_sent(clock: FakeClock) -> None:
    """Given an upstream of which nothing is known, or one that failed a few times, then nothing is in the way."""
    upstream = an_upstream(clock)
    assert refusal(upstream) is None
    fail(upstream, 9)
    assert refusal(upstream) is None


def test_an_open_breaker_says_until_when(clock: FakeClock) -> None:
    """Given ten failures in a row, then nothing is sent until the probe is due."""
    upstream = an_upstream(clock)
    fail(upstream, 10)
    assert refusal(upstream) == (Rejection.BREAKER_OPEN, DOWN, 15)
    clock.advance(14)
    assert refusal(upstream) == (Rejection.BREAKER_OPEN, DOWN, 1)
    clock.advance(1)
    assert refusal(upstream) is None


def test_a_probe_on_its_way_is_enough(clock: FakeClock) -> None:
    """Given a probe, then all others come back in a second; given its end, the next may go, or all of them."""
    upstream = an_upstream(clock)
    fail(upstream, 10)
    clock.advance(15)
    permit = breaker_of(upstream).acquire(clock.now, 10)
    assert permit is not None
    assert refusal(upstream) == (Rejection.BREAKER_OPEN, DOWN, 1)
    breaker_of(upstream).release(permit)
    assert refusal(upstream) is None
    fail(upstream)
    assert refusal(upstream) == (Rejection.BREAKER_OPEN, DOWN, 30)


def test_a_closed_gate_says_until_when_and_why(clock: FakeClock) -> None:
    """Given that the upstream asked for a pause, in its own words or not, then that is passed on."""
    upstream = an_upstream(clock)
    upstream.gate.close(clock.now, 60)
    assert refusal(upstream) == (Rejection.RATE_LIMITED, "the upstream asked for a pause", 60)
    upstream.gate.close(clock.now, 90, why="refuses our token")
    assert refusal(upstream) == (Rejection.RATE_LIMITED, "the upstream refuses our token", 90)
    clock.advance(90)
    assert refusal(upstream) is None


def test_a_gate_in_its_hourly_probe_refuses_other_calls(clock: FakeClock) -> None:
    """Given a pause of more than an hour, then one call may pass each hour, and the others ask again in a second."""
    upstream = an_upstream(clock)
    upstream.gate.close(clock.now, 7200)
    assert refusal(upstream) == (Rejection.RATE_LIMITED, "the upstream asked for a pause", 3600)
    clock.advance(3600)
    assert refusal(upstream) is None
    assert upstream.gate.closed_for(clock.now, clock) == 0
    assert refusal(upstream) == (Rejection.RATE_LIMITED, "the upstream asked for a pause", 1)
    upstream.gate.answered(clock.now)
    assert refusal(upstream) is None


def test_of_two_reasons_the_longer_one_counts(clock: FakeClock) -> None:
    """Given an open breaker and a closed gate, then it is of no use to come back for the first that ends."""
    upstream = an_upstream(clock)
    fail(upstream, 10)
    upstream.gate.close(clock.now, 5)
    assert refusal(upstream) == (Rejection.BREAKER_OPEN, DOWN, 15)
    upstream.gate.close(clock.now, 60)
    assert refusal(upstream) == (Rejection.RATE_LIMITED, "the upstream asked for a pause", 60)


def test_a_policy_without_gate_and_breaker_refuses_nothing(clock: FakeClock) -> None:
    """Given a policy without gate and breaker, then no call is refused."""
    upstream = an_upstream(clock, Policy(circuit_breaker=None, rate_limit_gate=False))
    upstream.gate.close(clock.now, 60)
    assert refusal(upstream) is None
    assert not upstream.is_suspect(clock.now)


def test_a_part_has_a_gate_of_its_own(clock: FakeClock) -> None:
    """Given that one credential is limited, then the others are not; the breaker is everybody's."""
    upstream = an_upstream(clock)
    upstream.part("token").gate.close(clock.now, 60)
    assert refusal(upstream) is None
    assert refusal(upstream.part("token")) is not None
    fail(upstream, 10)
    assert [refusal(each) for each in (upstream, upstream.part("b"))] == [(Rejection.BREAKER_OPEN, DOWN, 15)] * 2


def test_to_ask_takes_nothing(clock: FakeClock) -> None:
    """Given a due probe, when anybody asks any number of times, then a call still gets it."""
    upstream = an_upstream(clock)
    fail(upstream, 10)
    upstream.gate.close(clock.now, 7200)
    clock.advance(3600)
    before = upstream.snapshots, breaker_of(upstream).state
    assert [refusal(upstream) for _ in range(5)] == [None] * 5
    assert (upstream.snapshots, breaker_of(upstream).state) == before
    assert isinstance(Call(upstream, TARGET).begin(), Send)
    assert breaker_of(upstream).state is BreakerState.HALF_OPEN


@pytest.mark.parametrize("kind", [CircuitOpen, RateLimited])
def test_it_agrees_with_the_exception_of_a_call(clock: FakeClock, kind: type[Exception]) -> None:
    """Given an upstream that refuses, then the reason and the time are those of the exception."""
    upstream = an_upstream(clock)
    if kind is CircuitOpen:
        fail(upstream, 10)
    else:
        upstream.gate.close(clock.now, 600)
    refused = upstream.refusal(clock.now)
    assert refused is not None
    with pytest.raises(kind, match=refused.why):
        Call(upstream, TARGET).begin()


def test_an_upstream_is_suspect_while_failures_go_on(clock: FakeClock) -> None:
    """Given a failure, then it is suspect until it answers, until the next one would not count with it, or is open."""
    upstream = an_upstream(clock)
    assert not upstream.is_suspect(clock.now)
    fail(upstream)
    assert upstream.is_suspect(clock.now)
    clock.advance(30)
    assert upstream.is_suspect(clock.now)
    clock.advance(1)
    assert not upstream.is_suspect(clock.now)
    fail(upstream)
    permit = breaker_of(upstream).acquire(clock.now, 10)
    assert permit is not None
    breaker_of(upstream).record(permit, Health.SUCCESS, clock.now)
    assert not upstream.is_suspect(clock.now)
    fail(upstream, 10)
    assert not upstream.is_suspect(clock.now), "it is known to be down"


def test_an_upstream_whose_state_was_dropped_refuses_nothing(clock: FakeClock) -> None:
    """Given a host whose state was dropped, then a call in flight does not count against it."""
    upstream = an_upstream(clock, replace(Policy(), rate_limit_gate=False))
    fail(upstream, 10)
    upstream.forget()
    assert refusal(upstream) is None
    assert not upstream.is_suspect(clock.now)


def test_a_call_goes_on_after_its_upstream_was_forgotten(clock: FakeClock) -> None:
    """Given a call that waits for its retry, when the state of its host is given up, then it is sent again."""
    upstream = an_upstream(clock)
    call = Call(upstream, TARGET)
    call.begin()
    assert call.end(BUSY)
    upstream.forget()
    clock.advance(1)
    assert isinstance(call.begin(), Send)
