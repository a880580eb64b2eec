"""Decides which parts are fetched again later in a run, and after how long."""

from __future__ import annotations

from datetime import UTC, datetime

from package.jobs.pauses import was_asked
from package.sources.results import FetchOutcome, FetchResult

PASSES = 6
"""How often a part is fetched in a run, at most."""
FIRST_PAUSE = 3.0
LONGEST_PAUSE = 60.0
"""Seconds before a part that failed, or was not ready, is fetched again: at first, and at most. The delay doubles."""


def comes_again(result: FetchResult, tries: int) -> bool:
    """Return whether a part is put aside for another pass. `tries`: how often it was fetched before this result.

    ===============================================  =========================
    result                                           another pass
    ===============================================  =========================
    not asked, because its source is paused until T  always, at T
    left alone, or worth another try                 up to `PASSES` in all
    any other result                                 no, the result is final
    ===============================================  =========================
    """
    if waits(result):
        return True
    return (result.outcome is FetchOutcome.LEFT_ALONE or result.again) and tries + 1 < PASSES


def waits(result: FetchResult) -> bool:
    """Return whether the source was not asked because it is paused until a known time."""
    return not was_asked(result) and result.retry_at is not None and result.retry_at > datetime.now(UTC)


def pause_before(tries: int) -> float:
    """Return the seconds to wait before the next fetch of a part. `tries`: its fetches before the one that failed."""
    return min(FIRST_PAUSE * 2.0**tries, LONGEST_PAUSE)
