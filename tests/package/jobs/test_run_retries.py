"""Which parts are fetched again later in a run, and after how long."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from core.http.outcome import Rejection
from package.jobs.run_retries import MOST_FETCHES, comes_again, pause_before, waits
from package.sources.fetch_results import FetchOutcome, FetchResult

LATER, EARLIER = datetime.now(UTC) + timedelta(days=9), datetime.now(UTC) - timedelta(days=9)
FAILED, LEFT_ALONE = FetchOutcome.FAILED, FetchOutcome.LEFT_ALONE
NOT_SENT = Rejection.BREAKER_OPEN.value


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        (FetchResult("a", LEFT_ALONE, reason=NOT_SENT, retry_at=LATER), True),
        (FetchResult("a", LEFT_ALONE, reason=NOT_SENT, retry_at=EARLIER), False),
        (FetchResult("a", LEFT_ALONE, reason=NOT_SENT), False),
        (FetchResult("a", LEFT_ALONE, reason="unauthorized", retry_at=LATER), False),
        (FetchResult("a", FAILED, reason=NOT_SENT, retry_at=LATER), False),
    ],
)
def test_a_part_waits_only_for_a_known_end_of_a_pause(result: FetchResult, expected: bool) -> None:
    """A part waits if no request was sent for it, and the pause ends later."""
    assert waits(result) is expected


@pytest.mark.parametrize(
    ("result", "tries", "expected"),
    [
        (FetchResult("a", LEFT_ALONE, reason=NOT_SENT, retry_at=LATER), 99, True),
        (FetchResult("a", LEFT_ALONE, reason="unauthorized"), MOST_FETCHES - 2, True),
        (FetchResult("a", LEFT_ALONE, reason="unauthorized"), MOST_FETCHES - 1, False),
        (FetchResult("a", FAILED, again=True), 0, True),
        (FetchResult("a", FAILED, again=True), MOST_FETCHES - 2, True),
        (FetchResult("a", FAILED, again=True), MOST_FETCHES - 1, False),
        (FetchResult("a", FAILED), 0, False),
        (FetchResult("a", FetchOutcome.UPDATED), 0, False),
    ],
)
def test_a_part_is_fetched_six_times_at_most(result: FetchResult, tries: int, expected: bool) -> None:
    """Only waiting for the end of a pause does not count."""
    assert MOST_FETCHES == 6
    assert comes_again(result, tries) is expected


def test_the_delay_doubles() -> None:
    """The first delay is 3 s, the longest a minute."""
    assert [pause_before(tries) for tries in range(7)] == [3, 6, 12, 24, 48, 60, 60]
