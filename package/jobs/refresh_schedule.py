"""Decides when a part of a package is due again, given the outcome of its last fetch."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import datetime, timedelta

from package.sources.fetch_results import GOOD, FetchOutcome

FRESH = timedelta(hours=20)
"""Interval after a success. It is shorter than a day, so that the data is due if a daily job starts early."""
NOT_READY = timedelta(hours=1)
"""Interval after `FetchOutcome.NOT_READY`, for example because the source is still computing the data."""
_FAILED = (timedelta(hours=1), timedelta(days=7))
"""Interval after the first failure, and the longest interval. Each failure in a row doubles the interval."""
_GONE = (timedelta(days=1), timedelta(days=30))
"""The same two intervals for a source that does not know the package."""
_JITTER = 0.2
"""Maximum fraction of the interval that is added at random, so that parts that failed at the same time are due again at
different times."""


def next_due(
    outcome: FetchOutcome, failures: int, now: datetime, chance: Callable[[], float] = random.random
) -> datetime:
    """Return when a part is due again.

    :param failures: the number of failures in a row, including this one.
    :param chance: returns a random number in [0, 1).
    """
    if outcome in GOOD:
        return now + FRESH
    if outcome is FetchOutcome.NOT_READY:
        return now + NOT_READY
    if outcome is FetchOutcome.SKIPPED:  # the source does not offer it
        return now + _FAILED[1] * (1 + _JITTER * chance())
    first, longest = _GONE if outcome is FetchOutcome.NOT_FOUND else _FAILED
    interval: timedelta = min(first * 2 ** min(max(failures, 1) - 1, 20), longest)
    return now + interval * (1 + _JITTER * chance())
