"""Decides which parts are fetched again later in a run, and after how long."""

from __future__ import annotations

from datetime import UTC, datetime

from package.jobs.pauses import was_asked
from package.sources.fetch_results import FetchOutcome, FetchResult

MOST_FETCHES = 6
"""Maximum number of times that a part is fetched in a run."""
FIRST_PAUSE = 3.0
"""Seconds before a part that failed, or was not ready, is fetched a second time. The delay doubles each time."""
LONGEST_PAUSE = 60.0
"""Maximum seconds of that delay."""


def comes_again(result: FetchResult, tries: int) -> bool:
    """Return whether a part is put aside, to be fetched again later in the run.

    =======================================================  ===========================
    result                                                   fetched again
    =======================================================  ===========================
    no request was sent, because the source is paused until  yes, at that time
    a known time
    left alone, or `again`: another request may succeed      up to `MOST_FETCHES` times
    any other result                                         no, the result is final
    =======================================================  ===========================

    :param tries: the number of fetches of the part before this result.
    """
    if waits(result):
        return True
    return (result.outcome is FetchOutcome.LEFT_ALONE or result.again) and tries + 1 < MOST_FETCHES


def waits(result: FetchResult) -> bool:
    """Return whether no request was sent because the source is paused until a known time."""
    return not was_asked(result) and result.retry_at is not None and result.retry_at > datetime.now(UTC)


def pause_before(tries: int) -> float:
    """Return the seconds to wait before the next fetch of a part.

    :param tries: the number of fetches of the part before the one that failed.
    """
    return min(FIRST_PAUSE * 2.0**tries, LONGEST_PAUSE)
