"""The decisions of a call, as arithmetic, and the same decisions behind two drivers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import pytest
import requests
import responses as responses_library
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from core.http import CircuitBreaker, CircuitOpen, DeadlineExceeded, Policy, RateLimited, ResilientSession, RetryBudget
from core.http.engine.call import Call
from core.http.engine.reservation import POLL_SLOT
from core.http.engine.response_classification import answered
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
    Target,
)
from core.http.outcome import Outcome, Reason, Rejection, Result, failed
from core.http.testing import FakeClock
from core.http.wire.error_outcomes import diagnose
from tests.core.http.engine.world import BUSY, GET, GONE, OK, POST, UNSENT, World

OUTCOMES = st.sampled_from([OK, BUSY, GONE, UNSENT, failed(Reason.TLS, "expired", transient=False)])


def test_a_success_is_one_attempt() -> None:
    """A call that is answered well is sent once and waits for nothing."""
    world = World()
    assert world.play(Call(world.upstream, GET), OK) == 1
    assert world.clock.waits == []
    assert (world.ended.result, world.ended.reason, len(world.ended.attempts)) == (Result.SUCCESS, None, 1)


def test_a_transient_failure_is_tried_again_after_1_2_and_4_seconds() -> None:
    """By default there are four attempts, 1, 2 and 4 s apart."""
    world = World()
    assert world.play(Call(world.upstream, GET), BUSY, BUSY, BUSY, BUSY) == 4
    assert world.clock.waits == [1, 2, 4]
    assert (world.ended.result, world.ended.reason, world.ended.seconds) == (Result.FAILURE, Reason.HTTP_5XX, 7)


def test_retries_end_with_the_first_answer() -> None:
    """A success after failures ends the call, with the history of what came before."""
    world = World()
    assert world.play(Call(world.upstream, GET), BUSY, UNSENT, OK, seconds=0.5) == 3
    assert [(a.outcome, a.seconds, a.waited) for a in world.ended.attempts] == [
        (BUSY, 0.5, 0),
        (UNSENT, 0.5, 1),
        (OK, 0.5, 2),
    ]


SILENT = failed(Reason.TIMEOUT, "headers, 0 bytes", transient=True, sent=True)
STALE = replace(SILENT, stale=True)


def sends(call: Call, world: World, *outcomes: Outcome) -> list[Send]:
    """Drive `call`; return what its driver was told to send."""
    made = []
    for outcome in outcomes:
        while isinstance(step := call.begin(), Wait):
            world.clock.wait(step.seconds)
        assert isinstance(step, Send)
        made.append(step)
        call.end(outcome)
    return made


def test_a_stale_connection_is_replaced_at_once() -> None:
    """The retry goes out without a delay, on a new connection, once per call; it is one of the three."""
    world = World()
    made = sends(Call(world.upstream, GET), world, STALE, replace(STALE), BUSY, BUSY)
    assert [send.fresh for send in made] == [False, True, False, False]
    assert world.clock.waits == [1, 2]
    assert [(event.delay, event.source) for event in world.seen(RetryScheduled)] == [
        (delay, BackoffSource.COMPUTED) for delay in (0, 1, 2)
    ]


def test_a_stale_connection_costs_the_budget() -> None:
    """A server that hangs looks like stale connections: what is sent again stays within the budget."""
    world = World(Policy(retry_budget=RetryBudget(minimum=0)))
    sends(Call(world.upstream, GET), world, STALE)
    assert world.seen(RetrySuppressed) == [RetrySuppressed("example", GET, Suppression.BUDGET_EXHAUSTED)]


def test_a_stale_connection_repeats_no_post() -> None:
    """The request may have arrived, though nothing came back."""
    world = World()
    sends(Call(world.upstream, POST), world, STALE)
    assert world.seen(RetrySuppressed) == [RetrySuppressed("example", POST, Suppression.NOT_IDEMPOTENT)]


def test_stale_connections_open_no_breaker() -> None:
    """Twelve threads after a pause, each with a connection that a NAT has forgotten: the server is well."""
    world = World(Policy(retries=0))
    upstream = world.upstream
    for _ in range(12):
        sends(Call(upstream, GET), world, STALE)
    assert world.seen(BreakerChanged) == []


# Callers in a hurry
@pytest.mark.parametrize(
    ("made", "patience"),
    [({"attempt_timeout": 0.1}, None), ({"attempt_timeout": 1}, None), ({"deadline": 1000.1}, None), ({}, 0.1)],
    ids=["timeout=0.1", "timeout=1", "within(0.1)", "timeout=(3, 0.1)"],
)
def test_callers_in_a_hurry_open_no_breaker(made: dict[str, float], patience: float | None) -> None:
    """In a fresh process nobody knows how slow the upstream is: a second of silence says nothing yet."""
    world = World(Policy(retries=0), clock=FakeClock(1000.0))
    upstream = world.upstream
    for _ in range(30):
        call = Call(upstream, GET, **made)
        sends(call, world, replace(SILENT, patience=patience))
    assert world.seen(BreakerChanged) == []


@pytest.mark.parametrize("timeout", [1.01, 5, 10])
def test_a_silence_of_more_than_a_second_counts(timeout: float) -> None:
    """Without any success to compare with, a caller who waited longer than a second was no less patient than most."""
    world = World(Policy(retries=0))
    upstream = world.upstream
    for _ in range(10):
        sends(Call(upstream, GET, attempt_timeout=timeout), world, SILENT)
    assert upstream.breaker is not None
    assert upstream.breaker.state is BreakerState.OPEN


def test_a_failed_probe_of_a_patient_caller_bars_none_in_a_hurry() -> None:
    """Only after a probe that its caller cut short are those who wait longer preferred."""
    world = World(Policy(retries=0))
    upstream = world.upstream
    for _ in range(10):
        sends(Call(upstream, GET), world, BUSY)
    world.clock.advance(15)
    sends(Call(upstream, GET), world, BUSY)
    world.clock.advance(30)
    assert isinstance(Call(upstream, GET, attempt_timeout=0.5).begin(), Send)


@pytest.mark.parametrize("outcome", [UNSENT, replace(SILENT, status=408)], ids=["refused", "408"])
def test_what_is_no_silence_counts_for_callers_in_a_hurry_too(outcome: Outcome) -> None:
    """A connection that is refused within 100 ms, or a server that gives up itself, is down for everybody."""
    world = World(Policy(retries=0))
    upstream = world.upstream
    for _ in range(10):
        sends(Call(upstream, GET, attempt_timeout=0.1), world, outcome)
    assert upstream.breaker is not None
    assert upstream.breaker.state is BreakerState.OPEN


def test_a_black_hole_is_seen_by_callers_in_a_hurry() -> None:
    """Where 5 % are answered after 50 ms, a silence of 100 ms is one."""
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


def test_what_was_slow_once_excuses_for_thirty_seconds() -> None:
    """The slowest success of the window is the measure, and no older one."""
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


def test_a_probe_that_its_caller_cut_short_doubles_nothing() -> None:
    """A poller in a hurry that gets every probe keeps the patient out for 15 s at a time, and not for five minutes."""
    world = World(Policy(retries=0))
    upstream = an_open_upstream(world)
    assert upstream.breaker is not None
    for _ in range(8):
        world.clock.advance(30)  # after half of it nobody else came
        sends(Call(upstream, GET, attempt_timeout=0.1), world, SILENT)
        assert upstream.breaker.probe_at - world.clock() == 15
    world.clock.advance(15)
    sends(Call(upstream, GET), world, SILENT)
    assert upstream.breaker.probe_at - world.clock() == 30  # a patient one: it is doubled as ever


def test_the_next_probe_is_for_those_who_wait_longer() -> None:
    """Where a patient caller is there, it gets the probe after one that was cut short, though it asks less often."""
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
    """What asking again cannot change is not asked again."""
    world = World()
    assert world.play(Call(world.upstream, GET), outcome) == 1
    assert world.seen(RetrySuppressed) == []


def test_without_retries_the_first_attempt_is_the_last() -> None:
    """retries=0 sends once; a retry that nobody wanted is not reported as suppressed."""
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
    """Where no connection was made, nothing can happen twice."""
    world = World()
    assert world.play(Call(world.upstream, POST), UNSENT, UNSENT, OK) == 3


def test_the_caller_may_say_that_a_call_is_idempotent() -> None:
    """idempotent=True retries a POST, idempotent=False does not retry a GET."""
    world = World()
    assert world.play(Call(world.upstream, POST, idempotent=True), BUSY, OK) == 2
    assert world.play(Call(world.upstream, GET, idempotent=False), BUSY) == 1


def test_a_body_that_is_used_up_is_not_sent_again() -> None:
    """Where the body cannot be sent again, only a request that was never sent is repeated."""
    world = World()
    assert world.play(Call(world.upstream, GET, replayable=False), BUSY) == 1
    assert world.play(Call(world.upstream, GET, replayable=False), UNSENT, BUSY) == 2


def test_the_policy_names_the_idempotent_methods() -> None:
    """retry_methods decides, in both directions."""
    world = World(Policy(retry_methods=frozenset({"POST"})))
    assert world.play(Call(world.upstream, POST), BUSY, OK) == 2
    assert world.play(Call(world.upstream, GET), BUSY) == 1


def test_a_longer_retry_after_replaces_the_delay() -> None:
    """The server's word counts where it asks for more than the formula."""
    world = World()
    world.play(Call(world.upstream, GET), answer(503, "5"), answer(503, "0.5"), OK)
    assert world.clock.waits == [5, 2]
    sources = [event.source for event in world.events if isinstance(event, RetryScheduled)]
    assert sources == [BackoffSource.RETRY_AFTER, BackoffSource.COMPUTED]


def test_a_retry_after_beyond_the_deadline_ends_the_call_at_once() -> None:
    """There is no point in waiting for a moment that the call will not live to see."""
    world = World()
    assert world.play(Call(world.upstream, GET), answer(429, "60")) == 1
    assert world.clock.waits == []
    assert world.ended.suppressed is Suppression.DEADLINE
    assert (world.ended.result, world.ended.reason) == (Result.FAILURE, Reason.HTTP_429)


def test_jitter_is_drawn_from_the_random_source() -> None:
    """The random source says how much of the jitter is added."""
    world = World(Policy(jitter=0.5), chance=0.5)
    world.play(Call(world.upstream, GET), BUSY, BUSY, OK)
    assert world.clock.waits == [1.25, 2.5]


def test_each_attempt_gets_its_own_time() -> None:
    """An attempt may take attempt_timeout, whatever those before it took."""
    world = World(Policy(attempt_timeout=7))
    call = Call(world.upstream, GET)
    assert call.begin() == Send(7)
    world.clock.advance(6)
    assert call.end(BUSY)
    assert call.begin() == Wait(1)
    world.clock.advance(1)
    assert call.begin() == Send(7)


def test_the_last_attempt_gets_what_is_left_of_the_total() -> None:
    """total_timeout cuts an attempt short, and the call knows when it is over."""
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


def test_asked_too_early_the_call_says_how_long_to_wait() -> None:
    """A driver may wait in pieces: until the moment has come, the answer is what is left to wait."""
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
    """A call whose time passed before its first attempt is rejected, and says so without path or query."""
    world = World(policy)
    with pytest.raises(
        DeadlineExceeded, match=r"^GET to example.org was not sent: the total timeout expired before the first attempt$"
    ):
        Call(world.upstream, GET, deadline=0).begin()
    assert (world.ended.result, world.ended.reason) == (Result.REJECTED, Rejection.DEADLINE_EXCEEDED)
    assert world.seen(AttemptStarted) == []


def test_out_of_time_while_waiting_ends_with_the_last_outcome() -> None:
    """A wait that took too long ends the call with what it was answered, not with another error."""
    world = World()
    call = Call(world.upstream, GET)
    call.begin()
    call.end(BUSY)
    world.clock.advance(100)
    assert call.begin() == Stop()
    assert (world.ended.result, world.ended.reason) == (Result.FAILURE, Reason.HTTP_5XX)
    assert world.ended.suppressed is Suppression.DEADLINE


def test_a_cancelled_attempt_is_ended() -> None:
    """Cancelling gives back what the attempt held, once, and harms nothing at any other time."""
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
    """Wherever the interrupt comes up, in an observer above all, the breaker and the gate await no answer of it."""
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


def test_a_call_that_is_turned_away_frees_nobodys_probe() -> None:
    """Giving up what it does not have must not let a second probe through the gate."""
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


# Concurrency and pace
def test_whoever_finds_no_slot_asks_again() -> None:
    """With max_concurrency=1 the second call waits, a little at a time, until the first attempt has ended."""
    world = World(Policy(max_concurrency=1))
    upstream = world.upstream
    first, second = Call(upstream, GET), Call(upstream, GET)
    assert (first.begin(), second.begin()) == (Send(10), Wait(POLL_SLOT))
    world.clock.advance(5)
    assert second.begin() == Wait(POLL_SLOT)
    first.end(OK)
    assert second.begin() == Send(10)


def test_whoever_is_woken_need_not_ask_so_often() -> None:
    """Who is told when the slot is there looks once a second, and not after the end of the call."""
    world = World(Policy(max_concurrency=1))
    upstream = world.upstream
    sent, patient = Call(upstream, GET), Call(upstream, GET)
    hasty = Call(upstream, GET, deadline=world.clock() + 0.5)
    sent.begin()
    steps = patient.begin(), hasty.begin()
    assert [(step.seconds, step.if_woken) for step in steps if isinstance(step, Wait)] == [(0.1, 1.0), (0.1, 0.5)]


def test_a_retry_queues_again() -> None:
    """In backoff a call has no slot, and after it takes its place behind those who came meanwhile."""
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
    """A call that gets no slot in its time is rejected, says so, and waited no longer than that."""
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
    """After an attempt the last answer stands, whatever the call waits for."""
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
    """Calls that come at once are sent at even distances; after a pause there is no burst."""
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
    """A call that knows that its turn comes too late ends at once, and takes no turn from others."""
    world = World(Policy(requests_per_second=0.25))
    upstream = world.upstream
    Call(upstream, GET).begin()
    with pytest.raises(DeadlineExceeded, match=r"was not sent: the total timeout ends before the turn of the call$"):
        Call(upstream, GET, deadline=4).begin()
    assert world.ended.reason is Rejection.DEADLINE_EXCEEDED
    assert Call(upstream, GET).begin() == Wait(4)


def test_a_retry_whose_turn_comes_too_late_ends_with_its_answer() -> None:
    """After an attempt the last answer stands, without a wait in vain."""
    world = World(Policy(requests_per_second=0.25))
    upstream = world.upstream
    assert world.play(Call(upstream, GET, deadline=3), BUSY) == 1
    assert (world.ended.reason, world.ended.suppressed) == (Reason.HTTP_5XX, Suppression.DEADLINE)
    assert world.clock.waits == [1]


def test_at_most_max_concurrency_wait_for_their_turn() -> None:
    """The slot comes first, then the turn: whoever gets no slot holds up nobody's turn."""
    upstream = World(Policy(max_concurrency=2, requests_per_second=1)).upstream
    calls = [Call(upstream, GET) for _ in range(4)]
    assert [call.begin() for call in calls] == [Send(10), Wait(1), Wait(POLL_SLOT), Wait(POLL_SLOT)]


def waiting_call(upstream: Upstream, woken: list[Call], stack: ExitStack) -> Call:
    call = Call(upstream, GET)
    assert isinstance(call.begin(), Wait)
    stack.enter_context(call.waking(lambda: woken.append(call)))
    return call


def test_a_slot_wakes_the_call_whose_it_is() -> None:
    """Of those who wait, one is woken: whose turn it is. If that one is cancelled, the next."""
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


def test_opening_the_breaker_wakes_those_who_wait_for_a_slot() -> None:
    """They end as those in backoff do, and leave neither a slot nor a turn behind."""
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


def test_a_call_that_the_breaker_refuses_leaves_slot_and_turn_to_others() -> None:
    """Half-open, one probe is sent; whoever is refused meanwhile takes nothing away."""
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


def test_who_waits_at_the_gate_holds_no_slot() -> None:
    """The gate comes first: while it is closed nobody queues, and whoever did before it closed has left."""
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


def test_the_gates_probe_is_not_somebody_who_waits() -> None:
    """Leave to be the probe after an hour is used when it is sent: waiting for a slot neither uses nor blocks it."""
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
    """Asking for a slot a hundred times is no attempt, of which retries might be a share."""
    world = World(Policy(max_concurrency=1, retry_budget=RetryBudget(minimum=0, ratio=0.5)))
    upstream = world.upstream
    holder, waiting = Call(upstream, GET), Call(upstream, GET)
    holder.begin()
    for _ in range(100):
        waiting.begin()
    assert upstream.budget is not None
    assert upstream.budget._attempts.total == 1


def test_a_slot_that_is_kept_outlasts_the_attempt() -> None:
    """Of an answer whose body is still to be read the slot is held until that is done; the call is over."""
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


class LimitsMachine(RuleBasedStateMachine):
    """Calls that begin, end, are retried or cancelled, while the upstream fails, heals and asks for time."""

    LIMIT = 2

    def __init__(self) -> None:
        super().__init__()
        self.world = World(
            Policy(
                max_concurrency=self.LIMIT,
                requests_per_second=2,
                circuit_breaker=CircuitBreaker(failures_in_a_row=3),
            )
        )
        self.upstream = self.world.upstream
        self.calls: dict[Call, bool] = {}
        """Calls that are not over, and whether they have an attempt in flight."""

    def some(self, data: st.DataObject, *, in_flight: bool) -> Call | None:
        calls = [call for call, sent in self.calls.items() if sent is in_flight]
        return data.draw(st.sampled_from(calls)) if calls else None

    @rule()
    def a_call_comes(self) -> None:
        self.calls[Call(self.upstream, GET)] = False

    @rule(seconds=st.floats(0, 20))
    def time_passes(self, seconds: float) -> None:
        self.world.clock.advance(seconds)

    @rule(data=st.data())
    def a_call_asks(self, data: st.DataObject) -> None:
        call = self.some(data, in_flight=False)
        if call is None:
            return
        try:
            step = call.begin()
        except (CircuitOpen, RateLimited, DeadlineExceeded):
            step = Stop()
        if isinstance(step, Stop):
            del self.calls[call]
        elif isinstance(step, Send):
            self.calls[call] = True

    @rule(data=st.data(), outcome=st.sampled_from([OK, BUSY, GONE, UNSENT]), patience=st.none() | st.just("3"))
    def an_attempt_ends(self, data: st.DataObject, outcome: Outcome, patience: str | None) -> None:
        call = self.some(data, in_flight=True)
        if call is None:
            return
        self.calls[call] = False
        if not call.end(answer(429, patience) if patience else outcome):
            del self.calls[call]

    @rule(data=st.data(), in_flight=st.booleans())
    def a_call_is_cancelled(self, data: st.DataObject, in_flight: bool) -> None:
        call = self.some(data, in_flight=in_flight)
        if call is not None:
            del self.calls[call]
            call.cancel()

    @invariant()
    def no_more_are_in_flight_than_may_be(self) -> None:
        assert sum(self.calls.values()) <= self.LIMIT

    def teardown(self) -> None:
        for call in self.calls:
            call.cancel()
        del self.calls
        self.world.clock.advance(1000)
        assert isinstance(Call(self.upstream, GET).begin(), Send), "a slot or a turn was lost"


LimitsMachine.TestCase.settings = settings(max_examples=50, stateful_step_count=40, deadline=None)
TestLimitsMachine = LimitsMachine.TestCase


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
    """Whatever happens: at most 1 + retries attempts, never past the deadline, and events that add up."""
    world = World(Policy(retries=retries, backoff=backoff, total_timeout=total, jitter=jitter), chance=0.7)
    made = world.play(Call(world.upstream, GET), *outcomes, seconds=seconds)
    assert 1 <= made <= 1 + retries
    assert world.clock.now <= total * (1 + 1e-9)
    assert len(world.seen(AttemptStarted)) == len(world.seen(AttemptEnded)) == len(world.ended.attempts) == made
    assert world.ended.result is world.ended.attempts[-1].outcome.result
    assert world.ended.seconds == pytest.approx(world.clock.now)
    assert len(world.seen(RetryScheduled)) == made - 1


# Two drivers, one engine
def answer(status: int, retry_after: str | None = None) -> Outcome:
    headers = {"Retry-After": retry_after} if retry_after else {}
    return answered(status, headers, retry_statuses=Policy().retry_statuses, now=datetime.now(UTC))


@dataclass(frozen=True)
class Answer:
    status: int
    retry_after: str | None = None


Reaction = Answer | type[requests.RequestException]
Transport = Callable[[str], Awaitable[Answer]]


async def asynchronous_driver(
    upstream: Upstream, target: Target, transport: Transport, sleep: Callable[[float], Awaitable[None]]
) -> Answer:
    """Send a call through an asynchronous client: all that a second driver needs."""
    call = Call(upstream, target)
    try:
        while not isinstance(step := call.begin(), Stop):
            if isinstance(step, Wait):
                await sleep(step.seconds)
                continue
            error: Exception | None = None
            try:
                got = await transport(target.method)
                outcome = answer(got.status, got.retry_after)
            except requests.RequestException as exc:
                error, outcome = exc, diagnose(exc)
            if not call.end(outcome):
                break
    except BaseException:
        call.cancel()
        raise
    if error is not None:
        raise error
    return got


@dataclass
class Told:
    """What a driver made of a script of reactions."""

    end: int | type[BaseException]
    attempts: int
    waits: list[float]
    events: list[tuple[str, ...]]


def summarize(events: list[Event]) -> list[tuple[str, ...]]:
    return [(type(event).__name__, str(getattr(event, "reason", getattr(event, "source", "")))) for event in events]


def through_asyncio(method: str, script: list[Reaction]) -> Told:
    world, left = World(), iter(script)
    attempts = 0

    async def transport(method: str) -> Answer:
        nonlocal attempts
        attempts += 1
        reaction = next(left)
        if isinstance(reaction, Answer):
            return reaction
        raise reaction

    async def sleep(seconds: float) -> None:
        world.clock.wait(seconds)

    target = Target(method, "https", "example.org", "/")
    try:
        end: int | type[BaseException] = asyncio.run(
            asynchronous_driver(world.upstream, target, transport, sleep)
        ).status
    except requests.RequestException as exc:
        end = type(exc)
    return Told(end, attempts, world.clock.waits, summarize(world.events))


@pytest.fixture
def through_requests(
    clock: FakeClock, events: list[Event], responses: responses_library.RequestsMock, session: ResilientSession
) -> Iterator[Callable[[str, list[Reaction]], Told]]:
    def tell(method: str, script: list[Reaction]) -> Told:
        for reaction in script:
            if isinstance(reaction, Answer):
                headers = {"Retry-After": reaction.retry_after} if reaction.retry_after else {}
                responses.add(method, "https://example.org/", status=reaction.status, headers=headers)
            else:
                responses.add(method, "https://example.org/", body=reaction())
        try:
            end: int | type[BaseException] = session.request(method, "https://example.org/").status_code
        except requests.RequestException as exc:
            end = type(exc)
        return Told(end, len(responses.calls), clock.waits, summarize(events))

    return tell


@pytest.mark.parametrize(
    ("method", "script", "end", "waits"),
    [
        ("GET", [Answer(200)], 200, []),
        ("GET", [Answer(503), Answer(200)], 200, [1]),
        ("GET", [Answer(503), requests.ConnectionError, requests.ReadTimeout, Answer(404)], 404, [1, 2, 4]),
        ("GET", [Answer(500)] * 4, 500, [1, 2, 4]),
        ("GET", [requests.ConnectionError] * 4, requests.ConnectionError, [1, 2, 4]),
        ("GET", [requests.exceptions.SSLError], requests.exceptions.SSLError, []),
        ("GET", [Answer(429, "9"), Answer(200)], 200, [9]),
        ("GET", [Answer(503), Answer(429, "3600")], 429, [1]),
        ("POST", [Answer(503)], 503, []),
        ("POST", [requests.ConnectTimeout, Answer(201)], 201, [1]),
        ("POST", [requests.ReadTimeout], requests.ReadTimeout, []),
    ],
)
def test_two_drivers_decide_alike(
    method: str,
    script: list[Reaction],
    end: int | type[BaseException],
    waits: list[float],
    through_requests: Callable[[str, list[Reaction]], Told],
) -> None:
    """Threads with requests and tasks with asyncio make the same calls of the same answers."""
    told = through_requests(method, script)
    assert (told.end, told.attempts, told.waits) == (end, len(script), waits)
    assert told == through_asyncio(method, script)


def test_a_cancelled_task_gives_back_what_it_held() -> None:
    """Cancelling an asyncio task in the middle of an attempt ends the attempt."""
    world = World()

    async def transport(method: str) -> Answer:
        await asyncio.Event().wait()
        raise AssertionError

    async def cancel_in_the_middle() -> None:
        task = asyncio.create_task(asynchronous_driver(world.upstream, GET, transport, asyncio.sleep))
        await asyncio.sleep(0)
        task.cancel()
        await task

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(cancel_in_the_middle())
    assert summarize(world.events) == [("AttemptStarted", ""), ("AttemptEnded", "")]
