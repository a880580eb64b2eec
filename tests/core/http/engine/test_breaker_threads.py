"""A circuit breaker that many threads use at the same time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from core.http.engine.circuit_breaker import Permit
from core.http.events import BreakerState
from core.http.policy import CircuitBreaker
from tests.core.http.engine.breaker_states import FAILURE, NEITHER, SUCCESS, Patient, a_closed_one, an_open_one

THREADS = 8


def hammer(work: Callable[[int], int]) -> list[int]:
    """Start `work` in eight threads at the same moment; return the result of each."""
    start = threading.Barrier(THREADS)

    def run(number: int) -> int:
        start.wait()
        return work(number)

    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(run, range(THREADS)))


def test_threads_get_one_probe_between_them() -> None:
    """Given an open breaker whose time is over, when eight threads ask repeatedly, then one probe is allowed."""
    for _ in range(20):
        patient = an_open_one()
        patient.clock.advance(15)
        permits: list[Permit | None] = []

        def ask(_: int, patient: Patient = patient, permits: list[Permit | None] = permits) -> int:
            permits.extend(patient.breaker.acquire(patient.clock.now, 10.0) for _ in range(50))
            return 0

        hammer(ask)
        assert sum(permit is not None for permit in permits) == 1


def test_threads_get_one_probe_after_another() -> None:
    """Given probes without a result in eight threads, then there are never two at once."""
    patient = an_open_one()
    patient.clock.advance(15)
    out, most, lock = 0, 0, threading.Lock()

    def work(number: int) -> int:
        nonlocal out, most
        given = 0
        for turn in range(2000):
            permit = patient.breaker.acquire(patient.clock.now, 10.0)
            if permit is None:
                continue
            given += 1
            with lock:
                out += 1
                most = max(most, out)
            with lock:
                out -= 1
            if turn % 2:
                patient.breaker.release(permit)
            else:
                patient.breaker.record(permit, NEITHER, patient.clock.now)
        return given

    assert sum(hammer(work)) > 0
    assert most == 1
    assert patient.state is BreakerState.HALF_OPEN


def test_threads_open_it_once() -> None:
    """Given a closed breaker, when eight threads report failures, then one report returns that it opened."""
    for _ in range(20):
        patient = a_closed_one()
        permits = [[patient.permit() for _ in range(25)] for _ in range(THREADS)]
        opened = hammer(
            lambda number, p=patient, permits=permits: sum(
                p.report(permit, FAILURE) is BreakerState.OPEN for permit in permits[number]
            )
        )
        assert sum(opened) == 1
        assert patient.breaker.probe_at == patient.clock.now + 15


def test_threads_lose_no_count() -> None:
    """Given a breaker that never opens, when eight threads report, then the totals are the sum of their reports."""
    patient = a_closed_one(CircuitBreaker(failures_in_a_row=10_000, minimum_attempts=1_000_000))

    def work(number: int) -> int:
        for turn in range(1000):
            patient.attempt(FAILURE if turn % 4 == 0 else SUCCESS)
        return 0

    hammer(work)
    assert patient.breaker._attempts.total == THREADS * 1000
    assert patient.breaker._failures.total == THREADS * 250


def test_threads_that_fail_and_recover_keep_the_order_of_states() -> None:
    """Given eight threads with answers of every kind, when time passes, then each change follows from the last."""
    patient = a_closed_one(CircuitBreaker(failures_in_a_row=3, open_for=1, open_max=4))
    changes: list[list[BreakerState]] = [[] for _ in range(THREADS)]

    def work(number: int) -> int:
        for turn in range(2000):
            patient.clock.now += 0.01  # may lose an update to another thread: then less time passes
            permit = patient.breaker.acquire(patient.clock.now, 10.0)
            if permit is not None:
                verdict = (FAILURE, FAILURE, FAILURE, SUCCESS, NEITHER)[(turn // 7 + number) % 5]
                state = patient.breaker.record(permit, verdict, patient.clock.now)
                changes[number] += [state] if state else []
        return 0

    hammer(work)
    told = [state for each in changes for state in each]
    opened, closed = told.count(BreakerState.OPEN), told.count(BreakerState.CLOSED)
    assert opened > 0
    assert opened + closed == len(told)
    assert closed <= opened
    assert 0 <= patient.breaker._failures.total <= patient.breaker._attempts.total


def test_no_lock_is_held_while_an_attempt_runs() -> None:
    """Given eight attempts that each wait for the other seven, when they are allowed, then all of them end."""
    patient = a_closed_one()
    together = threading.Barrier(THREADS, timeout=30)

    def work(number: int) -> int:
        permit = patient.permit()
        together.wait()
        patient.report(permit, SUCCESS)
        return 1

    assert sum(hammer(work)) == THREADS
