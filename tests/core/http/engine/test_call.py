"""The decisions of a call, as arithmetic, and the same decisions behind two drivers."""

from __future__ import annotations

from dataclasses import replace

from core.http import Policy, RetryBudget
from core.http.engine.call import Call
from core.http.events import (
    BackoffSource,
    BreakerChanged,
    RetryScheduled,
    RetrySuppressed,
    Suppression,
)
from core.http.outcome import Reason, Result
from tests.core.http.engine.call_helpers import SILENT, sends
from tests.core.http.engine.world import BUSY, GET, OK, POST, UNSENT, World


def test_a_success_is_one_attempt() -> None:
    """A successful call is sent once, without a wait."""
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
    """A success after failures ends the call, and its history has the failures."""
    world = World()
    assert world.play(Call(world.upstream, GET), BUSY, UNSENT, OK, seconds=0.5) == 3
    assert [(a.outcome, a.seconds, a.waited) for a in world.ended.attempts] == [
        (BUSY, 0.5, 0),
        (UNSENT, 0.5, 1),
        (OK, 0.5, 2),
    ]


STALE = replace(SILENT, stale=True)


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
    """Repeats on stale connections count against the retry budget, because a hanging server looks the same."""
    world = World(Policy(retry_budget=RetryBudget(minimum=0)))
    sends(Call(world.upstream, GET), world, STALE)
    assert world.seen(RetrySuppressed) == [RetrySuppressed("example", GET, Suppression.BUDGET_EXHAUSTED)]


def test_a_stale_connection_repeats_no_post() -> None:
    """A POST on a stale connection is not repeated, because the server may have received it."""
    world = World()
    sends(Call(world.upstream, POST), world, STALE)
    assert world.seen(RetrySuppressed) == [RetrySuppressed("example", POST, Suppression.NOT_IDEMPOTENT)]


def test_stale_connections_open_no_breaker() -> None:
    """Twelve stale connections at once, as after a pause behind a NAT, do not open the breaker."""
    world = World(Policy(retries=0))
    upstream = world.upstream
    for _ in range(12):
        sends(Call(upstream, GET), world, STALE)
    assert world.seen(BreakerChanged) == []
