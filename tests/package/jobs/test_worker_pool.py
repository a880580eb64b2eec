"""The threads of the pool: all work is done once, nothing hangs, and the threads end."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from package.jobs.worker_pool import WorkerPool
from tests.package.conftest import DEADLINE

MakePool = Callable[..., WorkerPool[Any]]


@pytest.fixture
def make_pool() -> Iterator[MakePool]:
    """Make pools; assert at the end that their threads have ended."""
    pools: list[WorkerPool[Any]] = []

    def make(workers: int, do: Callable[[Any], object]) -> WorkerPool[Any]:
        pools.append(WorkerPool(workers, do))
        return pools[-1]

    yield make
    for each in pools:
        each.close()
    for thread in threads():
        thread.join(DEADLINE)
    assert threads() == []


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("worker-")]


def everything(pool: WorkerPool[Any]) -> list[Any]:
    """Wait for all given work."""
    done = []
    while pool.busy:
        done += pool.finished(DEADLINE)
    return done


@pytest.mark.parametrize("workers", [1, 2, 7])
def test_all_that_is_given_is_done_once(make_pool: MakePool, workers: int) -> None:
    """All work is done once and returned, in any order."""
    did: list[int] = []
    pool = make_pool(workers, did.append)
    came = []
    for number in range(50):
        pool.give(number)
        if not pool.idle:
            came += pool.finished(DEADLINE)
    came += everything(pool)
    assert sorted(did) == sorted(came) == list(range(50))
    assert (pool.busy, pool.idle) == (0, workers)


def test_one_worker_is_the_caller(make_pool: MakePool) -> None:
    """A pool with one worker does the work in the calling thread."""
    did: list[threading.Thread] = []
    pool = make_pool(1, lambda _: did.append(threading.current_thread()))
    pool.give("a")
    assert did == [threading.current_thread()]
    assert pool.finished(0) == ["a"]


def test_several_work_at_the_same_time(make_pool: MakePool) -> None:
    """As many as there are workers."""
    meeting = threading.Barrier(4)
    pool = make_pool(4, lambda _: meeting.wait(DEADLINE))
    for number in range(4):
        pool.give(number)
    assert pool.idle == 0
    assert sorted(everything(pool)) == [0, 1, 2, 3]


def test_there_are_no_more_threads_than_are_needed(make_pool: MakePool) -> None:
    """A pool starts no more threads than it has work at once."""
    pool = make_pool(1000, lambda _: None)
    for number in range(10):
        pool.give(number)
        pool.give(-number)
        everything(pool)
    assert len(threads()) <= 2


def test_an_idle_pool_returns_at_once(make_pool: MakePool) -> None:
    """An idle pool returns at once, with any timeout."""
    pool = make_pool(2, lambda _: None)
    assert pool.finished(None) == pool.finished(DEADLINE) == pool.finished(0) == []


def test_finished_waits_no_longer_than_its_timeout(make_pool: MakePool) -> None:
    """`finished` waits no longer than its timeout."""
    go = threading.Event()
    pool = make_pool(2, lambda _: go.wait(DEADLINE))
    pool.give("a")
    assert pool.finished(0) == pool.finished(0.01) == []
    assert pool.busy == 1
    go.set()
    assert pool.finished(None) == ["a"]


def test_work_done_a_moment_later_is_returned_together(make_pool: MakePool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work that is done a moment later is returned together, so that it can be stored at once."""
    monkeypatch.setattr("package.jobs.worker_pool.GATHER", DEADLINE)
    pool = make_pool(4, lambda _: None)
    for number in range(4):
        pool.give(number)
    assert sorted(pool.finished(DEADLINE)) == [0, 1, 2, 3]


def test_a_stream_of_finished_work_is_not_collected_forever(monkeypatch: pytest.MonkeyPatch) -> None:
    """Work is collected for `GATHER` seconds after the first, however fast more of it finishes."""
    now = 0.0

    class Done:
        def get(self, timeout: float | None) -> str:
            nonlocal now
            if timeout is not None and timeout < 0.02:
                raise queue.Empty
            now += 0.02
            return "work"

    monkeypatch.setattr("package.jobs.worker_pool.time", SimpleNamespace(monotonic=lambda: now))
    pool: WorkerPool[Any] = WorkerPool(9, lambda _: None, busy=9, _done=Done())  # type: ignore[arg-type]
    assert pool.finished(None) == ["work"] * 2
    assert pool.busy == 7


@pytest.mark.parametrize("workers", [1, 3])
def test_work_that_raises_is_returned_too(make_pool: MakePool, caplog: pytest.LogCaptureFixture, workers: int) -> None:
    """Work that raises is logged and returned, and its worker continues."""

    def do(number: int) -> None:
        if number % 2:
            raise ZeroDivisionError

    pool, came = make_pool(workers, do), []
    for number in range(10):
        pool.give(number)
        came += everything(pool)
    assert came == list(range(10))
    assert sum(record.levelno == logging.ERROR for record in caplog.records) == 5


def test_an_interrupt_is_raised_in_the_caller(make_pool: MakePool) -> None:
    """With one worker, Ctrl-C is raised in the caller."""

    def do(_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_pool(1, do).give("a")


def test_close_does_not_wait_for_threads(make_pool: MakePool) -> None:
    """`close` does not wait for busy threads; they end when their work is done."""
    go = threading.Event()
    pool = make_pool(2, lambda _: go.wait(DEADLINE))
    pool.give("a")
    pool.close()
    assert len(threads()) == 1
    go.set()
    assert pool.finished(DEADLINE) == ["a"]
