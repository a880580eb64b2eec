"""Concurrency and pace: the slots and turns that a call takes, waits for and releases."""

from __future__ import annotations

from contextlib import ExitStack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.http import CircuitBreaker, CircuitOpen, DeadlineExceeded, Policy, RetryBudget
from core.http.engine.call import Call
from core.http.engine.concurrency_and_pacing import POLL_SLOT
from core.http.engine.steps import Send, Wait
from core.http.engine.upstream import Upstream
from core.http.events import (
    AttemptEnded,
    AttemptStarted,
    RetryScheduled,
    Suppression,
)
from core.http.outcome import Outcome, Reason, Rejection, Result, failed
from tests.core.http.engine.call_helpers import answer
from tests.core.http.engine.world import BUSY, GET, GONE, OK, UNSENT, World

OUTCOMES = st.sampled_from([OK, BUSY, GONE, UNSENT, failed(Reason.TLS, "expired", transient=False)])


def test_a_call_without_a_slot_waits() -> None:
    """With max_concurrency=1, the second call waits in short intervals until the first attempt has ended."""
    world = World(Policy(max_concurrency=1))
    upstream = world.upstream
    first, second = Call(upstream, GET), Call(upstream, GET)
    assert (first.begin(), second.begin()) == (Send(10), Wait(POLL_SLOT))
    world.clock.advance(5)
    assert second.begin() == Wait(POLL_SLOT)
    first.end(OK)
    assert second.begin() == Send(10)


def test_a_driver_that_can_be_woken_waits_longer() -> None:
    """A driver that is notified of a free slot checks only once a second, and not after the end of the call."""
    world = World(Policy(max_concurrency=1))
    upstream = world.upstream
    sent, patient = Call(upstream, GET), Call(upstream, GET)
    hasty = Call(upstream, GET, deadline=world.clock() + 0.5)
    sent.begin()
    steps = patient.begin(), hasty.begin()
    assert [(step.seconds, step.if_woken) for step in steps if isinstance(step, Wait)] == [(0.1, 1.0), (0.1, 0.5)]


def test_a_retry_queues_again() -> None:
    """A call in backoff has no slot, and queues behind calls that came meanwhile."""
    world = World(Policy(max_concurrency=1))
    upstream = world.upstream
    first, second, third = Call(upstream, GET), Call(upstream, GET), Call(upstream, GET)
    first.begin()
    second.begin()
    assert first.end(BUSY)
    assert isinstance(second.begin(), Send)
    third.begin()
    world.clock.advance(1)
    assert first.begin() == Wait(POLL_SLOT)
    second.end(OK)
    assert (first.begin(), third.begin()) == (Wait(POLL_SLOT), Send(10))
    third.end(OK)
    assert isinstance(first.begin(), Send)


def test_waiting_for_a_slot_counts_towards_the_total() -> None:
    """A call that gets no slot within its time raises an error that says so, at its deadline."""
    world = World(Policy(max_concurrency=1, total_timeout=10.05))
    upstream = world.upstream
    holder = Call(upstream, GET)
    holder.begin()
    with pytest.raises(
        DeadlineExceeded, match=r"was not sent: the total timeout expired while the call waited for its turn$"
    ):
        world.play(Call(upstream, GET))
    assert world.clock.now == pytest.approx(10.05)
    assert (world.ended.result, world.ended.reason) == (Result.REJECTED, Rejection.DEADLINE_EXCEEDED)
    assert len(world.seen(AttemptStarted)) == 1


def test_a_retry_that_gets_no_slot_ends_with_its_answer() -> None:
    """A call that waits for a slot after an attempt ends with the answer of that attempt."""
    world = World(Policy(max_concurrency=1))
    upstream = world.upstream
    first, holder = Call(upstream, GET), Call(upstream, GET)
    first.begin()
    first.end(BUSY)
    holder.begin()
    assert world.play(first) == 0
    assert (world.ended.reason, world.ended.suppressed) == (Reason.HTTP_5XX, Suppression.DEADLINE)
    assert world.clock.now == pytest.approx(60)


def test_attempts_start_at_the_pace() -> None:
    """Concurrent calls are sent at the pace; after a pause there is no burst."""
    world = World(Policy(requests_per_second=4))
    upstream = world.upstream
    starts = []
    for pause in (0, 0, 0, 10, 0, 0):
        world.clock.advance(pause)
        world.play(Call(upstream, GET), OK)
        starts.append(world.clock.now)
    assert starts == [0, 0.25, 0.5, 10.5, 10.75, 11]


def test_retries_keep_the_pace_too() -> None:
    """The pace is that of attempts: a retry takes a turn like any other."""
    world = World(Policy(requests_per_second=0.25))
    assert world.play(Call(world.upstream, GET), BUSY, BUSY, OK) == 3
    assert world.clock.waits == [1, 3, 2, 2]
    assert [attempt.waited for attempt in world.ended.attempts] == [0, 4, 4]


def test_a_turn_beyond_the_deadline_is_not_waited_for() -> None:
    """A call whose turn would come after its deadline ends at once, and takes no turn from others."""
    world = World(Policy(requests_per_second=0.25))
    upstream = world.upstream
    Call(upstream, GET).begin()
    with pytest.raises(
        DeadlineExceeded, match=r"was not sent: its turn under requests_per_second comes after the total timeout$"
    ):
        Call(upstream, GET, deadline=4).begin()
    assert world.ended.reason is Rejection.DEADLINE_EXCEEDED
    assert Call(upstream, GET).begin() == Wait(4)


def test_a_retry_whose_turn_comes_too_late_ends_with_its_answer() -> None:
    """If the turn of a retry comes after the deadline, the call ends at once with its last answer."""
    world = World(Policy(requests_per_second=0.25))
    upstream = world.upstream
    assert world.play(Call(upstream, GET, deadline=3), BUSY) == 1
    assert (world.ended.reason, world.ended.suppressed) == (Reason.HTTP_5XX, Suppression.DEADLINE)
    assert world.clock.waits == [1]


def test_at_most_max_concurrency_calls_wait_for_their_turn() -> None:
    """A call takes a slot before its turn, so a call without a slot delays no other call's turn."""
    upstream = World(Policy(max_concurrency=2, requests_per_second=1)).upstream
    calls = [Call(upstream, GET) for _ in range(4)]
    assert [call.begin() for call in calls] == [Send(10), Wait(1), Wait(POLL_SLOT), Wait(POLL_SLOT)]


def waiting_call(upstream: Upstream, woken: list[Call], stack: ExitStack) -> Call:
    call = Call(upstream, GET)
    assert isinstance(call.begin(), Wait)
    stack.enter_context(call.waking(lambda: woken.append(call)))
    return call


def test_a_slot_wakes_the_first_waiting_call() -> None:
    """A free slot wakes the first waiting call; if that call is cancelled, it wakes the next one."""
    upstream = World(Policy(max_concurrency=1)).upstream
    woken: list[Call] = []
    first = Call(upstream, GET)
    first.begin()
    with ExitStack() as stack:
        second, third, fourth = (waiting_call(upstream, woken, stack) for _ in range(3))
        first.end(OK)
        assert woken == [second]
        second.cancel()
        assert woken == [second, third]
        assert isinstance(third.begin(), Send)
        third.cancel()
        assert woken == [second, third, fourth]


def test_opening_the_breaker_wakes_calls_that_wait_for_a_slot() -> None:
    """Calls that wait for a slot end like those in backoff, and keep neither a slot nor a turn."""
    world = World(Policy(max_concurrency=2, requests_per_second=1, circuit_breaker=CircuitBreaker(failures_in_a_row=1)))
    upstream = world.upstream
    woken: list[Call] = []
    first = Call(upstream, GET)
    first.begin()
    with ExitStack() as stack:
        paced, queued = (waiting_call(upstream, woken, stack) for _ in range(2))
        first.end(BUSY)
        assert set(woken) == {paced, queued}
        for call in (paced, queued):
            with pytest.raises(CircuitOpen):
                call.begin()
    world.clock.advance(15)
    assert isinstance(Call(upstream, GET).begin(), Send)


def test_a_call_that_the_breaker_refuses_takes_no_slot_and_no_turn() -> None:
    """While the probe of a half-open breaker is in flight, refused calls take neither a slot nor a turn."""
    world = World(Policy(max_concurrency=2, requests_per_second=1, circuit_breaker=CircuitBreaker(failures_in_a_row=1)))
    upstream = world.upstream
    world.play(Call(upstream, GET), BUSY)
    world.clock.advance(15)
    probe = Call(upstream, GET)
    assert isinstance(probe.begin(), Send)
    world.clock.advance(1)
    for _ in range(3):
        with pytest.raises(CircuitOpen):
            Call(upstream, GET).begin()
    probe.end(OK)
    assert isinstance(Call(upstream, GET).begin(), Send)


def test_a_call_that_waits_at_the_gate_has_no_slot() -> None:
    """While the gate is closed, no call waits for a slot, and calls in the queue have left it."""
    world = World(Policy(max_concurrency=1, retries=0))
    upstream = world.upstream
    first, second = Call(upstream, GET), Call(upstream, GET)
    first.begin()
    assert second.begin() == Wait(POLL_SLOT)
    first.end(answer(429, "30"))
    assert second.begin() == Wait(30)
    world.clock.advance(30)
    third = Call(upstream, GET)
    assert (third.begin(), second.begin()) == (Send(10), Wait(POLL_SLOT))


def test_a_call_becomes_the_gates_probe_only_when_it_is_sent() -> None:
    """A call that still waits for a slot neither is the gate's hourly probe nor keeps another call from being it."""
    world = World(Policy(max_concurrency=1, total_timeout=80_000, attempt_timeout=70_000))
    upstream = world.upstream
    streamed, asking, waiting = Call(upstream, GET), Call(upstream, GET), Call(upstream, GET)
    streamed.begin()
    upstream.gate.close(world.clock.now, 7200)
    world.clock.advance(3600)
    assert (asking.begin(), waiting.begin()) == (Wait(POLL_SLOT), Wait(POLL_SLOT))
    streamed.cancel()
    assert isinstance(asking.begin(), Send)
    assert waiting.begin() == Wait(3600)


def test_the_budget_counts_what_was_sent() -> None:
    """Asking for a slot does not count as an attempt, so it does not enlarge the retry budget."""
    world = World(Policy(max_concurrency=1, retry_budget=RetryBudget(minimum=0, ratio=0.5)))
    upstream = world.upstream
    holder, waiting = Call(upstream, GET), Call(upstream, GET)
    holder.begin()
    for _ in range(100):
        waiting.begin()
    assert upstream.budget is not None
    assert upstream.budget._attempts.total == 1


def test_a_slot_that_is_kept_outlasts_the_attempt() -> None:
    """The slot of a streamed answer is kept until its body was read, although the call has ended."""
    world = World(Policy(max_concurrency=1))
    upstream = world.upstream
    first, second = Call(upstream, GET), Call(upstream, GET)
    first.begin()
    place = first.keep_slot()
    assert place is not None
    first.end(OK)
    first.cancel()
    assert len(world.seen(AttemptEnded)) == 1
    assert second.begin() == Wait(POLL_SLOT)
    place.leave()
    assert isinstance(second.begin(), Send)


@given(
    outcomes=st.lists(OUTCOMES, min_size=101, max_size=101),
    retries=st.integers(0, 100),
    seconds=st.floats(0, 20),
    backoff=st.floats(0, 30),
    total=st.floats(10, 100),
    jitter=st.floats(0, 1),
)
def test_no_call_outlives_its_policy(
    outcomes: list[Outcome], retries: int, seconds: float, backoff: float, total: float, jitter: float
) -> None:
    """For any answers: at most 1 + retries attempts, none after the deadline, and events that agree with them."""
    world = World(Policy(retries=retries, backoff=backoff, total_timeout=total, jitter=jitter), chance=0.7)
    made = world.play(Call(world.upstream, GET), *outcomes, seconds=seconds)
    assert 1 <= made <= 1 + retries
    assert world.clock.now <= total * (1 + 1e-9)
    assert len(world.seen(AttemptStarted)) == len(world.seen(AttemptEnded)) == len(world.ended.attempts) == made
    assert world.ended.result is world.ended.attempts[-1].outcome.result
    assert world.ended.seconds == pytest.approx(world.clock.now)
    assert len(world.seen(RetryScheduled)) == made - 1
