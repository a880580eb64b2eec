"""Probes of a circuit breaker that is open: one at a time, and longer pauses after each that fails."""

from __future__ import annotations

import pytest
import requests
import responses as responses_library

from core.http import (
    CircuitOpen,
    Policy,
    ResilientSession,
)
from core.http.engine.call import Call
from core.http.engine.steps import Send
from core.http.events import (
    BreakerChanged,
    BreakerState,
)
from core.http.testing import FakeClock
from tests.core.http.engine.outage import FRAGILE, URL, answer, broken, once
from tests.core.http.engine.world import BUSY, GET, OK, POST, World


def test_after_15_seconds_one_call_is_the_probe() -> None:
    """One call may send; the others are refused until it has been answered."""
    world = World()
    upstream = broken(world)
    world.clock.advance(15)
    probe = Call(upstream, GET)
    assert isinstance(probe.begin(), Send)
    with pytest.raises(CircuitOpen):
        Call(upstream, GET).begin()
    assert not probe.end(OK)
    assert isinstance(Call(upstream, GET).begin(), Send)


def test_every_change_of_state_is_an_event() -> None:
    """Each change of state is an event with the state before it."""
    world = World(Policy(circuit_breaker=FRAGILE, retries=0))
    upstream = broken(world)
    world.clock.advance(15)
    once(upstream, BUSY)
    world.clock.advance(30)
    once(upstream, OK)
    changes = [event for event in world.events if isinstance(event, BreakerChanged)]
    assert [(event.before, event.state) for event in changes] == [
        (BreakerState.CLOSED, BreakerState.OPEN),
        (BreakerState.OPEN, BreakerState.HALF_OPEN),
        (BreakerState.HALF_OPEN, BreakerState.OPEN),
        (BreakerState.OPEN, BreakerState.HALF_OPEN),
        (BreakerState.HALF_OPEN, BreakerState.CLOSED),
    ]
    assert [event.seconds for event in changes] == [15, 0, 30, 0, 0]


def test_a_cancelled_probe_is_free_at_once() -> None:
    """An interrupt during the probe lets the next call be the probe."""
    world = World()
    upstream = broken(world)
    world.clock.advance(15)
    probe = Call(upstream, GET)
    probe.begin()
    probe.cancel()
    assert isinstance(Call(upstream, GET).begin(), Send)


def test_a_probe_that_is_rate_limited_is_free_at_once() -> None:
    """A rate limit is no result of a probe, so the next call is the probe."""
    world = World()
    upstream = broken(world)
    world.clock.advance(15)
    once(upstream, answer(429))
    once(upstream, OK)
    assert upstream.breaker is not None
    assert upstream.breaker.state is BreakerState.CLOSED


def test_an_interrupted_probe_is_free_through_requests(
    responses: responses_library.RequestsMock, clock: FakeClock
) -> None:
    """Ctrl-C during a probe is raised, and the next call may be the probe at once."""

    def interrupted(_: requests.PreparedRequest) -> tuple[int, dict[str, str], str]:
        raise KeyboardInterrupt

    responses.get(URL, status=503)
    responses.get(URL, status=503)
    responses.add_callback("GET", URL, interrupted)
    responses.get(URL, status=200)
    with ResilientSession(Policy(circuit_breaker=FRAGILE)) as session:
        session.get(URL)
        clock.advance(15)
        with pytest.raises(KeyboardInterrupt):
            session.get(URL)
        assert session.get(URL).status_code == 200


def test_late_answers_neither_open_nor_close() -> None:
    """Calls that began before an outage and end after it do not change the breaker."""
    world = World()
    upstream = world.upstream
    late = [Call(upstream, POST) for _ in range(20)]
    for call in late:
        call.begin()
    while upstream.breaker is not None and upstream.breaker.state is BreakerState.CLOSED:
        once(upstream, BUSY)
    for call in late[:10]:
        call.end(OK)
    with pytest.raises(CircuitOpen):
        Call(upstream, GET).begin()
    world.clock.advance(15)
    once(upstream, OK)
    for call in late[10:]:
        call.end(BUSY)
    assert isinstance(Call(upstream, GET).begin(), Send)
