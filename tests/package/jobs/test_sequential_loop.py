"""Runs without threads: how they go from row to row."""

from __future__ import annotations

import pytest
from django.db import InterfaceError, OperationalError

from package.jobs.base_summary import BaseSummary
from package.jobs.sequential_loop import each
from package.jobs.stopper import Stopped, Stopper


@pytest.mark.parametrize(
    ("stop_at", "tried", "left", "stopped"), [(0, 0, 3, "enough"), (1, 1, 2, "enough"), (3, 3, 0, ""), (9, 3, 0, "")]
)
def test_rows_that_had_no_turn_are_left(stop_at: int, tried: int, left: int, stopped: str) -> None:
    """A run that is stopped says why and how many rows it left; a stop after the last row changes nothing."""
    stopper, summary, visited = Stopper(), BaseSummary(), list[int]()

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
    stopper, summary = Stopper(), BaseSummary()

    def visit(key: int) -> None:
        if key == 8:
            stopper.stop("enough")
            raise error

    each([7, 8, 9], stopper, summary, visit)
    why = f"the database failed: {type(error).__name__}" if failed else "enough"
    assert (summary.tried, summary.left, summary.stopped, summary.database_failed) == (1, 2, why, failed)
