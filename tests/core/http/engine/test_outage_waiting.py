"""A breaker that opens or a gate that closes wakes the calls that wait."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import responses as responses_library

from core.http import (
    CircuitBreaker,
    Policy,
    ResilientSession,
    process,
    registry,
)
from core.http.engine.upstream import Upstream
from core.http.testing import FakeClock
from tests.core.http.engine.outage import FRAGILE, URL, broken, once
from tests.core.http.engine.world import BUSY, OK, World


def test_opening_wakes_all_waiting_calls() -> None:
    """When the breaker opens, each waiting call is woken once, and calls that left are not."""
    world = World(Policy(circuit_breaker=FRAGILE))
    upstream = world.upstream
    woken: list[str] = []
    with upstream.waking(lambda: woken.append("left")):
        pass
    with upstream.waking(lambda: woken.append("a")), upstream.waking(lambda: woken.append("b")):
        once(upstream, BUSY)
        assert woken == []
        once(upstream, BUSY)
    assert sorted(woken) == ["a", "b"]


def test_closing_wakes_no_call() -> None:
    """When the breaker closes, waiting calls continue to wait."""
    world = World(Policy(circuit_breaker=FRAGILE))
    upstream = broken(world)
    world.clock.advance(15)
    woken: list[None] = []
    with upstream.waking(lambda: woken.append(None)):
        once(upstream, OK)
    assert woken == []


def test_a_call_that_begins_to_wait_while_it_is_open_is_woken_at_once() -> None:
    """A breaker that another thread opens between the decision to wait and the wait still wakes the call."""
    world = World(Policy(circuit_breaker=FRAGILE))
    upstream = broken(world)
    woken: list[None] = []
    with upstream.waking(lambda: woken.append(None)):
        assert woken == [None]


@pytest.mark.parametrize("waiters", [1, 4])
def test_threads_in_backoff_return_at_once(
    waiters: int, responses: responses_library.RequestsMock, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Threads that wait half a minute return their 503 when another thread's failure opens the breaker."""
    all_wait = threading.Semaphore(0)
    waking = Upstream.waking
    upstreams: set[Upstream] = set()

    @contextmanager
    def observed(upstream: Upstream, wake: Callable[[], object]) -> Iterator[None]:
        with waking(upstream, wake):
            upstreams.add(upstream)
            all_wait.release()
            yield

    monkeypatch.setattr(Upstream, "waking", observed)
    process.use(runtime=registry.Runtime(clock=clock))  # the wait is real, so that it can be woken
    responses.get(URL, status=503)
    policy = Policy(backoff=30, total_timeout=600, circuit_breaker=CircuitBreaker(failures_in_a_row=waiters + 1))
    statuses: list[int] = []
    with ResilientSession(policy) as session:
        threads = [
            threading.Thread(target=lambda: statuses.append(session.get(URL).status_code), daemon=True)
            for _ in range(waiters)
        ]
        for thread in threads:
            thread.start()
        try:
            for _ in threads:
                assert all_wait.acquire(timeout=10)
            assert statuses == []
            assert session.get(URL).status_code == 503
            for thread in threads:
                thread.join(timeout=2)
            assert statuses == [503] * waiters
        finally:
            clock.advance(1000)
            for upstream in upstreams:
                upstream.wake()
            for thread in threads:
                thread.join(timeout=5)
    assert len(responses.calls) == waiters + 1
