"""The summary of a run: what was reached, what was left, and the figures for the metrics of the job."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from package.jobs.refresh_summary import Left, RefreshSummary
from package.sources.fetch_results import FetchOutcome, FetchResult

SOON = datetime(2030, 1, 1, 12, tzinfo=UTC)
LATER = SOON + timedelta(hours=1)
UPDATED = FetchResult("a", FetchOutcome.UPDATED)
SKIPPED = FetchResult("a", FetchOutcome.SKIPPED)
LEFT_ALONE = FetchResult("b", FetchOutcome.LEFT_ALONE)
NO_ANSWER = FetchResult("b", FetchOutcome.FAILED, reached=False)
BAD_ANSWER = FetchResult("b", FetchOutcome.FAILED)
BUG = FetchResult("b", FetchOutcome.FAILED, reason="unexpected")


def counted(*results: FetchResult) -> RefreshSummary:
    summary = RefreshSummary()
    for result in results:
        summary.count(result)
    return summary


@pytest.mark.parametrize(
    ("results", "nothing"),
    [
        ((), False),
        ((SKIPPED,), False),
        ((NO_ANSWER,), True),
        ((LEFT_ALONE,), True),
        ((BUG,), True),
        ((NO_ANSWER, LEFT_ALONE, SKIPPED), True),
        ((BAD_ANSWER,), False),
        ((NO_ANSWER, UPDATED), False),
    ],
)
def test_reached_nothing(results: tuple[FetchResult, ...], nothing: bool) -> None:
    """A run reached nothing if at least one part was wanted, and no server gave a usable or unusable answer."""
    assert counted(*results).reached_nothing is nothing


def test_figures_for_the_metrics() -> None:
    """Parts that were left alone count as skipped, and all parts but the failed and skipped ones as successes."""
    summary = counted(UPDATED, UPDATED, UPDATED, SKIPPED, LEFT_ALONE, NO_ANSWER, BUG)
    assert summary.items == {"success": 3, "failure": 2, "skipped": 2}


@pytest.mark.parametrize(
    ("first", "second", "why"),
    [(SOON, LATER, "second"), (LATER, SOON, "first"), (None, SOON, "second"), (SOON, None, "first")],
)
def test_the_latest_end_of_a_pause_is_kept(first: datetime | None, second: datetime | None, why: str) -> None:
    """If two servers of a source are paused, the summary has the pause that ends later, with its reason."""
    left = Left()
    for text, until in (("first", first), ("second", second)):
        left.add(FetchResult("b", FetchOutcome.LEFT_ALONE, error=text, retry_at=until))
    assert (left.parts, left.why, left.until) == (2, why, first if why == "first" else second)


def test_a_pause_without_an_end() -> None:
    """A single pause whose end is unknown is reported with its reason."""
    summary = counted(FetchResult("b", FetchOutcome.LEFT_ALONE, error="is down"))
    assert summary.as_dict()["left_alone"] == {"b": {"parts": 1, "why": "is down", "until": None}}
