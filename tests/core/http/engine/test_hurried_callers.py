"""Callers with shorter timeouts than those of the policy."""

from __future__ import annotations

from dataclasses import replace

import pytest

from core.http import CircuitBreaker, CircuitOpen, DeadlineExceeded, Policy, RateLimited
from core.http.engine.call import Call
from core.http.engine.mergeable_state import BreakerSnapshot
from core.http.engine.steps import Send, Stop, Wait
from core.http.engine.upstream import Upstream
from core.http.events import (
    AttemptEnded,
    AttemptStarted,
    BackoffSource,
    BreakerChanged,
    BreakerState,
    Event,
    RetryScheduled,
    RetrySuppressed,
    Suppression,
)
from core.http.outcome import Outcome, Reason, Rejection, Result, failed
from core.http.testing import FakeClock
from tests.core.http.engine.call_helpers import SILENT, answer, sends
from tests.core.http.engine.world import BUSY, GET, GONE, OK, POST, UNSENT, World


@pytest.mark.parametrize(
    ("made", "patience"),
    [({"attempt_timeout": 0.1}, None), ({"attempt_timeout": 1}, None), ({"deadline": 1000.1}, None), ({}, 0.1)],
    ids=["timeout=0.1", "timeout=1", "within(0.1)", "timeout=(3, 0.1)"],
)
def test_callers_with_short_timeouts_open_no_breaker(made: dict[str, float], patience: float | None) -> None:
    """In a new process, a timeout within a second is no failure, because the upstream's usual latency is not known."""
    world = World(Policy(retries=0), clock=FakeClock(1000.0))
    upstream = world.upstream
    for _ in range(30):
        call = Call(upstream, GET, **made)
        sends(call, world, replace(SILENT, patience=patience))
    assert world.seen(BreakerChanged) == []


@pytest.mark.parametrize("timeout", [1.01, 5, 10])
def test_a_silence_of_more_than_a_second_counts(timeout: float) -> None:
    """Without a success to compare with, a timeout of more than one second counts as a failure."""
    world = World(Policy(retries=0))
    upstream = world.upstream
    for _ in range(10):
        sends(Call(upstream, GET, attempt_timeout=timeout), world, SILENT)
    assert upstream.breaker is not None
    assert upstream.breaker.state is BreakerState.OPEN


def test_a_failed_probe_with_a_long_timeout_keeps_no_caller_from_probing() -> None:
    """Callers with longer timeouts are preferred only after a probe that its caller's short timeout ended."""
    world = World(Policy(retries=0))
    upstream = world.upstream
    for _ in range(10):
        sends(Call(upstream, GET), world, BUSY)
    world.clock.advance(15)
    sends(Call(upstream, GET), world, BUSY)
    world.clock.advance(30)
    assert isinstance(Call(upstream, GET, attempt_timeout=0.5).begin(), Send)


def test_a_probe_that_was_cut_short_bars_none_in_a_hurry_after_the_outage() -> None:
    """Where another process closed the breaker meanwhile, the next outage begins without a preference."""
    world = World(Policy(retries=0))
    upstream = an_open_upstream(world)
    assert upstream.breaker is not None
    world.clock.advance(15)
    sends(Call(upstream, GET, attempt_timeout=0.5), world, SILENT)
    now = world.clock()
    upstream.breaker.adopt(upstream.breaker.snapshot, BreakerSnapshot(now, now, now))
    for _ in range(10):
        sends(Call(upstream, GET), world, BUSY)
    world.clock.advance(15)
    assert isinstance(Call(upstream, GET, attempt_timeout=0.5).begin(), Send)


@pytest.mark.parametrize("outcome", [UNSENT, replace(SILENT, status=408)], ids=["refused", "408"])
def test_other_failures_count_with_short_timeouts_too(outcome: Outcome) -> None:
    """A refused connection or a 408 within 100 ms counts as a failure for callers with short timeouts too."""
    world = World(Policy(retries=0))
    upstream = world.upstream
    for _ in range(10):
        sends(Call(upstream, GET, attempt_timeout=0.1), world, outcome)
    assert upstream.breaker is not None
    assert upstream.breaker.state is BreakerState.OPEN


def test_timeouts_longer_than_usual_answers_open_the_breaker() -> None:
    """If the slowest success took 50 ms, a timeout of 100 ms counts as a failure."""
    world = World(Policy(retries=0))
    upstream = world.upstream
    call = Call(upstream, GET, attempt_timeout=0.1)
    call.begin()
    world.clock.advance(0.05)
    call.end(OK)
    for _ in range(10):
        sends(Call(upstream, GET, attempt_timeout=0.1), world, SILENT)
    assert upstream.breaker is not None
    assert upstream.breaker.state is BreakerState.OPEN


def test_the_slowest_success_of_thirty_seconds_is_the_measure() -> None:
    """A timeout counts as a failure if it is longer than the slowest success in the window; older ones do not count."""
    world = World(Policy(retries=0))
    upstream = world.upstream
    slow = Call(upstream, GET)
    slow.begin()
    world.clock.advance(8)
    slow.end(OK)
    for _ in range(10):
        sends(Call(upstream, GET, attempt_timeout=5), world, SILENT)
    assert world.seen(BreakerChanged) == []
    world.clock.advance(32)
    for _ in range(10):
        sends(Call(upstream, GET, attempt_timeout=5), world, SILENT)
    assert len(world.seen(BreakerChanged)) == 1


def an_open_upstream(world: World) -> Upstream:
    upstream = world.upstream
    while not (upstream.breaker and upstream.breaker.state is BreakerState.OPEN):
        sends(Call(upstream, GET), world, SILENT)
    return upstream


def test_a_probe_with_a_short_timeout_does_not_double_the_open_time() -> None:
    """If a caller with a short timeout gets every probe, the open time stays 15 s and does not grow to five minutes."""
    world = World(Policy(retries=0))
    upstream = an_open_upstream(world)
    assert upstream.breaker is not None
    for _ in range(8):
        world.clock.advance(30)  # no other call came in half of the open time
        sends(Call(upstream, GET, attempt_timeout=0.1), world, SILENT)
        assert upstream.breaker.probe_at - world.clock() == 15
    world.clock.advance(15)
    sends(Call(upstream, GET), world, SILENT)
    assert upstream.breaker.probe_at - world.clock() == 30  # after a long timeout, it doubles as usual


def test_the_next_probe_is_for_callers_with_longer_timeouts() -> None:
    """After a probe that a short timeout ended, a caller with a longer timeout gets the next one."""
    world = World(Policy(retries=0))
    upstream = an_open_upstream(world)
    world.clock.advance(15)
    sends(Call(upstream, GET, attempt_timeout=0.1), world, SILENT)
    world.clock.advance(15)
    with pytest.raises(CircuitOpen):
        Call(upstream, GET, attempt_timeout=0.1).begin()
    sends(Call(upstream, GET), world, OK)
    assert upstream.breaker is not None
    assert upstream.breaker.state is BreakerState.CLOSED


@pytest.mark.parametrize("outcome", [GONE, failed(Reason.TLS, "expired", transient=False)])
def test_a_permanent_outcome_is_final(outcome: Outcome) -> None:
    """An outcome that a retry cannot change is not retried."""
    world = World()
    assert world.play(Call(world.upstream, GET), outcome) == 1
    assert world.seen(RetrySuppressed) == []


def test_without_retries_the_first_attempt_is_the_last() -> None:
    """With retries=0, one attempt is sent, and no retry is reported as suppressed."""
    world = World(Policy(retries=0))
    assert world.play(Call(world.upstream, GET), BUSY) == 1
    assert world.seen(RetrySuppressed) == []


def test_a_post_that_may_have_arrived_is_not_repeated() -> None:
    """A method that is not idempotent is sent once, and the retry that was not made is reported."""
    world = World()
    assert world.play(Call(world.upstream, POST), BUSY) == 1
    assert world.seen(RetrySuppressed) == [RetrySuppressed("example", POST, Suppression.NOT_IDEMPOTENT)]
    assert world.ended.suppressed is Suppression.NOT_IDEMPOTENT


def test_a_post_that_was_never_sent_is_repeated() -> None:
    """A POST is repeated if no connection was made."""
    world = World()
    assert world.play(Call(world.upstream, POST), UNSENT, UNSENT, OK) == 3


def test_the_caller_may_say_that_a_call_is_idempotent() -> None:
    """idempotent=True retries a POST, idempotent=False does not retry a GET."""
    world = World()
    assert world.play(Call(world.upstream, POST, idempotent=True), BUSY, OK) == 2
    assert world.play(Call(world.upstream, GET, idempotent=False), BUSY) == 1


def test_a_body_that_is_used_up_is_not_sent_again() -> None:
    """If the body cannot be sent again, only a request that was not sent is repeated."""
    world = World()
    assert world.play(Call(world.upstream, GET, replayable=False), BUSY) == 1
    assert world.play(Call(world.upstream, GET, replayable=False), UNSENT, BUSY) == 2


def test_the_policy_names_the_idempotent_methods() -> None:
    """retry_methods decides, in both directions."""
    world = World(Policy(retry_methods=frozenset({"POST"})))
    assert world.play(Call(world.upstream, POST), BUSY, OK) == 2
    assert world.play(Call(world.upstream, GET), BUSY) == 1


def test_a_longer_retry_after_replaces_the_delay() -> None:
    """Retry-After replaces the backoff delay if it is longer."""
    world = World()
    world.play(Call(world.upstream, GET), answer(503, "5"), answer(503, "0.5"), OK)
    assert world.clock.waits == [5, 2]
    sources = [event.source for event in world.events if isinstance(event, RetryScheduled)]
    assert sources == [BackoffSource.RETRY_AFTER, BackoffSource.COMPUTED]


def test_a_retry_after_beyond_the_deadline_ends_the_call_at_once() -> None:
    """A Retry-After beyond the call's deadline ends the call at once."""
    world = World()
    assert world.play(Call(world.upstream, GET), answer(429, "60")) == 1
    assert world.clock.waits == []
    assert world.ended.suppressed is Suppression.DEADLINE
    assert (world.ended.result, world.ended.reason) == (Result.FAILURE, Reason.HTTP_429)


def test_jitter_is_drawn_from_the_random_source() -> None:
    """The random function determines the jitter."""
    world = World(Policy(jitter=0.5), chance=0.5)
    world.play(Call(world.upstream, GET), BUSY, BUSY, OK)
    assert world.clock.waits == [1.25, 2.5]


def test_each_attempt_gets_its_own_time() -> None:
    """Each attempt may take attempt_timeout, however long the attempts before it took."""
    world = World(Policy(attempt_timeout=7))
    call = Call(world.upstream, GET)
    assert call.begin() == Send(7)
    world.clock.advance(6)
    assert call.end(BUSY)
    assert call.begin() == Wait(1)
    world.clock.advance(1)
    assert call.begin() == Send(7)


def test_the_last_attempt_gets_the_rest_of_the_total_timeout() -> None:
    """The last attempt ends at total_timeout even if attempt_timeout is longer."""
    world = World(Policy(attempt_timeout=7, total_timeout=10))
    call = Call(world.upstream, GET)
    call.begin()
    world.clock.advance(5)
    call.end(BUSY)
    world.clock.advance(1)
    assert call.begin() == Send(4)
    assert not call.is_over
    world.clock.advance(4)
    assert call.is_over


def test_a_driver_may_wait_in_pieces() -> None:
    """If a driver asks before the end of a wait, the call returns the rest of the wait."""
    world = World()
    call = Call(world.upstream, GET)
    call.begin()
    call.end(BUSY)
    assert call.begin() == Wait(1)
    world.clock.advance(0.75)
    assert call.begin() == Wait(0.25)
    world.clock.advance(0.25)
    assert isinstance(call.begin(), Send)


def test_arguments_of_the_call_only_shorten() -> None:
    """attempt_timeout and deadline of a call cannot exceed the policy's."""
    upstream = World().upstream
    assert Call(upstream, GET, attempt_timeout=3).begin() == Send(3)
    assert Call(upstream, GET, attempt_timeout=300).begin() == Send(10)
    assert Call(upstream, GET, deadline=4).begin() == Send(4)
    assert Call(upstream, GET, deadline=400).deadline == 60


@pytest.mark.parametrize(
    "policy", [Policy(), Policy(max_concurrency=1), Policy(requests_per_second=1)], ids=["no limit", "slots", "pace"]
)
def test_out_of_time_before_anything_was_sent(policy: Policy) -> None:
    """A call whose time passed before its first attempt raises an error that says so, without path or query."""
    world = World(policy)
    with pytest.raises(
        DeadlineExceeded, match=r"^GET to example.org was not sent: the total timeout expired before the first attempt$"
    ):
        Call(world.upstream, GET, deadline=0).begin()
    assert (world.ended.result, world.ended.reason) == (Result.REJECTED, Rejection.DEADLINE_EXCEEDED)
    assert world.seen(AttemptStarted) == []


def test_out_of_time_while_waiting_ends_with_the_last_outcome() -> None:
    """A wait that took too long ends the call with its last outcome, not with another error."""
    world = World()
    call = Call(world.upstream, GET)
    call.begin()
    call.end(BUSY)
    world.clock.advance(100)
    assert call.begin() == Stop()
    assert (world.ended.result, world.ended.reason) == (Result.FAILURE, Reason.HTTP_5XX)
    assert world.ended.suppressed is Suppression.DEADLINE


def test_a_cancelled_attempt_is_ended() -> None:
    """Cancelling releases the slot of the attempt once; cancelling between attempts changes nothing."""
    world = World()
    call = Call(world.upstream, GET)
    call.cancel()
    call.begin()
    call.cancel()
    call.cancel()
    assert world.events == [AttemptStarted("example", GET), AttemptEnded("example", GET, None, 0)]


@pytest.mark.parametrize("kind", [BreakerChanged, AttemptStarted, AttemptEnded])
@pytest.mark.parametrize("asked_for", [0, 7200])
def test_an_interrupted_probe_is_left_to_the_next_call(kind: type, asked_for: int) -> None:
    """After an interrupt at any point, such as in an observer, the next call may be the probe of breaker and gate."""
    world = World(Policy(retries=0, circuit_breaker=CircuitBreaker(failures_in_a_row=1)))
    interrupting = False

    def observe(event: Event) -> None:
        if interrupting and isinstance(event, kind):
            raise KeyboardInterrupt

    upstream = Upstream("example", world.policy, clock=world.clock, random=lambda: 0.0, observe=observe)
    if asked_for:
        upstream.gate.close(world.clock.now, asked_for)
        world.clock.advance(3600)
    assert world.play(Call(upstream, GET), BUSY) == 1
    if asked_for:
        upstream.gate.close(world.clock.now, asked_for)
    world.clock.advance(3600)
    probe = Call(upstream, GET)
    interrupting = True
    with pytest.raises(KeyboardInterrupt):
        world.play(probe, OK)
    interrupting = False
    probe.cancel()
    assert isinstance(Call(upstream, GET).begin(), Send)


def test_a_refused_call_does_not_release_the_probe_of_another() -> None:
    """Ending a refused call does not let a second probe through the gate."""
    upstream = World().upstream
    upstream.gate.close(0, 7200)
    clock = upstream.clock
    assert isinstance(clock, FakeClock)
    clock.advance(3600)
    probe = Call(upstream, GET)
    assert isinstance(probe.begin(), Send)
    for _ in range(2):
        late = Call(upstream, GET)
        with pytest.raises(RateLimited):
            late.begin()
        late.cancel()
