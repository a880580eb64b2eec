"""The crew's threads: all work is done once, nothing hangs, and the threads end."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from package.jobs.workers import Crew
from tests.package.conftest import DEADLINE

MakeCrew = Callable[..., Crew[Any]]


@pytest.fixture
def make_crew() -> Iterator[MakeCrew]:
    """Make crews; assert at the end that their threads have ended."""
    crews: list[Crew[Any]] = []

    def make(workers: int, do: Callable[[Any], object]) -> Crew[Any]:
        crews.append(Crew(workers, do))
        return crews[-1]

    yield make
    for each in crews:
        each.close()
    for thread in threads():
        thread.join(DEADLINE)
    assert threads() == []


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("crew-")]


def everything(crew: Crew[Any]) -> list[Any]:
    """Wait for all given work."""
    done = []
    while crew.busy:
        done += crew.finished(DEADLINE)
    return done


@pytest.mark.parametrize("workers", [1, 2, 7])
def test_all_that_is_given_is_done_once(make_crew: MakeCrew, workers: int) -> None:
    """All work is done once and returned, in any order."""
    did: list[int] = []
    crew = make_crew(workers, did.append)
    came = []
    for number in range(50):
        crew.give(number)
        if not crew.idle:
            came += crew.finished(DEADLINE)
    came += everything(crew)
    assert sorted(did) == sorted(came) == list(range(50))
    assert (crew.busy, crew.idle) == (0, workers)


def test_one_worker_is_the_caller(make_crew: MakeCrew) -> None:
    """A crew with one worker does the work in the calling thread."""
    did: list[threading.Thread] = []
    crew = make_crew(1, lambda _: did.append(threading.current_thread()))
    crew.give("a")
    assert did == [threading.current_thread()]
    assert crew.finished(0) == ["a"]


def test_several_work_at_the_same_time(make_crew: MakeCrew) -> None:
    """As many as there are workers."""
    meeting = threading.Barrier(4)
    crew = make_crew(4, lambda _: meeting.wait(DEADLINE))
    for number in range(4):
        crew.give(number)
    assert crew.idle == 0
    assert sorted(everything(crew)) == [0, 1, 2, 3]


def test_there_are_no_more_threads_than_are_needed(make_crew: MakeCrew) -> None:
    """A crew starts no more threads than it has work at once."""
    crew = make_crew(1000, lambda _: None)
    for number in range(10):
        crew.give(number)
        crew.give(-number)
        everything(crew)
    assert len(threads()) <= 2


def test_nothing_under_way_is_nothing_to_wait_for(make_crew: MakeCrew) -> None:
    """An idle crew returns at once, whatever the timeout."""
    crew = make_crew(2, lambda _: None)
    assert crew.finished(None) == crew.finished(DEADLINE) == crew.finished(0) == []


def test_whoever_has_no_time_is_not_made_to_wait(make_crew: MakeCrew) -> None:
    """`finished` waits no longer than its timeout."""
    go = threading.Event()
    crew = make_crew(2, lambda _: go.wait(DEADLINE))
    crew.give("a")
    assert crew.finished(0) == crew.finished(0.01) == []
    assert crew.busy == 1
    go.set()
    assert crew.finished(None) == ["a"]


def test_what_is_done_together_comes_together(make_crew: MakeCrew, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work that is done a moment later is returned together, so that it can be stored at once."""
    monkeypatch.setattr("package.jobs.workers.GATHER", DEADLINE)
    crew = make_crew(4, lambda _: None)
    for number in range(4):
        crew.give(number)
    assert sorted(crew.finished(DEADLINE)) == [0, 1, 2, 3]


@pytest.mark.parametrize("workers", [1, 3])
def test_what_raises_comes_back_like_the_rest(
    make_crew: MakeCrew, caplog: pytest.LogCaptureFixture, workers: int
) -> None:
    """Work that raises is logged and returned, and its worker continues."""

    def do(number: int) -> None:
        if number % 2:
            raise ZeroDivisionError

    crew, came = make_crew(workers, do), []
    for number in range(10):
        crew.give(number)
        came += everything(crew)
    assert came == list(range(10))
    assert sum(record.levelno == logging.ERROR for record in caplog.records) == 5


def test_an_interrupt_reaches_whoever_works_alone(make_crew: MakeCrew) -> None:
    """With one worker, Ctrl-C is raised in the caller."""

    def do(_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_crew(1, do).give("a")


def test_whoever_is_let_go_finishes_first(make_crew: MakeCrew) -> None:
    """`close` does not wait for busy threads; they end when their work is done."""
    go = threading.Event()
    crew = make_crew(2, lambda _: go.wait(DEADLINE))
    crew.give("a")
    crew.close()
    assert len(threads()) == 1
    go.set()
    assert crew.finished(DEADLINE) == ["a"]
