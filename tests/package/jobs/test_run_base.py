"""Runs over many rows: what a run counts, and how it goes from row to row."""

from __future__ import annotations

import pytest
from django.db import InterfaceError, OperationalError

from core.http import process
from core.http.events import AttemptEnded, BackoffSource, RetryStarted, Target
from core.http.outcome import Outcome, Reason, Result
from core.http.testing import OutboundHTTP
from package.jobs.run_base import RunSummary, each, printable
from package.jobs.stopper import Stopped, Stopper

TARGET = Target("GET", "https", "a.test", "/")


def attempt(status: int | None) -> AttemptEnded:
    return AttemptEnded("a", TARGET, Outcome(Result.SUCCESS, status=status), 0.5)


def test_attempts_and_retries_are_counted(outbound_http: OutboundHTTP) -> None:
    """A summary counts the attempts, the 304s, the retries and their backoff during the run, and no others."""
    summary = RunSummary(tried=2)
    emit = process.current().emit
    with summary.measured():
        for event in (attempt(304), attempt(200), attempt(None), AttemptEnded("a", TARGET, None, 0.5)):
            emit(event)
        for waited in (1.0, 2.25):
            emit(RetryStarted("a", TARGET, Reason.HTTP_5XX, waited, BackoffSource.COMPUTED))
        outbound_http.clock.advance(60.25)
    emit(attempt(304))
    assert (summary.attempts, summary.unchanged, summary.retries) == (3, 1, 2)
    assert summary.cost("packages") == "2 packages in 60.2 s; 3 attempts, 2 retries, 3.2 s lost to backoff"


def test_seconds_in_json_are_rounded() -> None:
    """JSON has milliseconds."""
    figures = RunSummary(seconds=1.23456, backoff_seconds=2.34567).as_dict()
    assert (figures["seconds"], figures["backoff_seconds"]) == (1.235, 2.346)


@pytest.mark.parametrize(
    ("stop_at", "tried", "left", "stopped"), [(0, 0, 3, "enough"), (1, 1, 2, "enough"), (3, 3, 0, ""), (9, 3, 0, "")]
)
def test_rows_that_had_no_turn_are_left(stop_at: int, tried: int, left: int, stopped: str) -> None:
    """A run that is stopped says why and how many rows it left; a stop after the last row changes nothing."""
    stopper, summary, visited = Stopper(), RunSummary(), list[int]()

    def visit(key: int) -> None:
        visited.append(key)
        if len(visited) == stop_at:
            stopper.stop("enough")

    if not stop_at:
        stopper.stop("enough")
    each([7, 8, 9], stopper, summary, visit)
    assert visited == [7, 8, 9][:tried]
    assert (summary.tried, summary.left, summary.stopped) == (tried, left, stopped)


@pytest.mark.parametrize(
    ("error", "failed"), [(Stopped("enough"), False), (OperationalError("gone"), True), (InterfaceError("gone"), True)]
)
def test_a_row_that_ends_the_run_is_left(error: Exception, failed: bool) -> None:
    """A row during which the run is stopped, or the database fails, counts as left, as do those after it."""
    stopper, summary = Stopper(), RunSummary()

    def visit(key: int) -> None:
        if key == 8:
            stopper.stop("enough")
            raise error

    each([7, 8, 9], stopper, summary, visit)
    why = f"the database failed: {type(error).__name__}" if failed else "enough"
    assert (summary.tried, summary.left, summary.stopped, summary.database_failed) == (1, 2, why, failed)


def test_control_characters_are_not_printed() -> None:
    """Text of servers and users cannot move the cursor, clear the screen or begin another line of a log."""
    assert printable("naïve\n\x1b[2J 文") == "naïve??[2J 文"
