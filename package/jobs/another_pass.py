"""Which parts are asked for again later in a run, and after how long."""

from __future__ import annotations

from datetime import UTC, datetime

from package.jobs.pauses import was_asked
from package.sources.results import FetchOutcome, FetchResult

PASSES = 6
"""How often a part is asked for in a run."""
FIRST_PAUSE = 3.0
LONGEST_PAUSE = 60.0
"""Seconds before a part that failed, or was not ready, is asked for again; doubled in between."""


def comes_again(result: FetchResult, tries: int) -> bool:
    """Say whether a part is put aside for another pass; `tries`: how often it had been asked for before.

    ============================================  ========================
    what came of it                               another pass
    ============================================  ========================
    not asked: its source is left alone until T   always, at T
    left alone, or worth another try              while `PASSES` allows it
    anything else                                 no: that is the last word
    ============================================  ========================
    """
    if waits(result):
        return True
    return (result.outcome is FetchOutcome.LEFT_ALONE or result.again) and tries + 1 < PASSES


def waits(result: FetchResult) -> bool:
    """Say whether the source was not asked because it is to be left alone until a known moment."""
    return not was_asked(result) and result.retry_at is not None and result.retry_at > datetime.now(UTC)


def pause_before(tries: int) -> float:
    """Return the seconds before a part is asked for again that was asked for `tries` times before its last failure."""
    return min(FIRST_PAUSE * 2.0**tries, LONGEST_PAUSE)
