"""Updates a row of the ledger after a fetch of its part, and computes when the part is due again."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import datetime, timedelta

from package.models import SourceStatus
from package.sources.client import Client
from package.sources.errors import NO_TIME
from package.sources.results import GOOD, FetchOutcome, FetchResult

FRESH = timedelta(hours=20)
"""Interval after a success. Shorter than a day, so that a daily job that starts early finds its data due."""
NOT_READY = timedelta(hours=1)
_FAILED = (timedelta(hours=1), timedelta(days=7))
"""The interval after the first failure, and the longest one. It doubles with each failure in a row."""
_GONE = (timedelta(days=1), timedelta(days=30))
STOPPED = "stopped"
"""The reason of a failure that the source did not cause: the run ended during the fetch."""
_FAILURES = frozenset({FetchOutcome.FAILED, FetchOutcome.NOT_FOUND})
_JITTER = 0.2
"""Fraction of the interval that is added at random, so that parts that failed together are not tried again together."""


def next_due(
    outcome: FetchOutcome, failures: int, now: datetime, chance: Callable[[], float] = random.random
) -> datetime:
    """Return when a part is due again. `failures`: failures in a row, including this one."""
    if outcome in GOOD:
        return now + FRESH
    if outcome is FetchOutcome.NOT_READY:
        return now + NOT_READY
    if outcome is FetchOutcome.SKIPPED:  # the source does not offer it
        return now + _FAILED[1] * (1 + _JITTER * chance())
    first, longest = _GONE if outcome is FetchOutcome.NOT_FOUND else _FAILED
    interval: timedelta = min(first * 2 ** min(max(failures, 1) - 1, 20), longest)
    return now + interval * (1 + _JITTER * chance())


def record(
    row: SourceStatus, result: FetchResult, client: Client, now: datetime, *, again: bool = False, asked: bool = True
) -> None:
    """Update `row` with the result of a fetch.

    :param again: the part was tried before in this run, so another failure does not count as a further one.
    :param asked: False if this part was not requested because of the result of another part.
    """
    if result.reason == NO_TIME and row.outcome:  # nothing was tried
        return
    failed_already = row.outcome in _FAILURES or (row.outcome == FetchOutcome.LEFT_ALONE and row.failures > 0)
    row.outcome, row.error = result.outcome.value, result.error or "; ".join(map(str, result.skipped))
    row.reason = client.reason if result.error and not result.reason else result.reason
    row.memory = client.memory
    if result.outcome is FetchOutcome.LEFT_ALONE:  # nothing was sent, so the other fields keep their values
        return
    row.http_status, row.attempts, row.seconds = client.status, client.attempts, round(client.seconds, 3)
    if asked:
        row.last_attempt = now
    if result.outcome in GOOD:
        row.last_success, row.failures = now, 0
        # Without validators, an answer with unusable values is read and reported again the next time.
        row.validators = {} if result.outcome is FetchOutcome.PARTLY else client.validators
    elif result.outcome is FetchOutcome.SKIPPED:
        row.failures = 0
    elif result.outcome in _FAILURES and _counts(result, asked):
        row.failures += not (again and failed_already)
    due = next_due(result.outcome, row.failures, now)
    if row.failures and failed_already and row.next_due is not None and row.next_due > now:
        due = min(due, row.next_due)  # a fetch out of turn must not delay the next regular one
    row.next_due = due


def _counts(failure: FetchResult, asked: bool) -> bool:
    """Return whether `failure` is one more failure in a row.

    NOT_FOUND always is: a source that no longer knows the package has none of its parts.
    """
    return failure.outcome is FetchOutcome.NOT_FOUND or (asked and failure.reason != STOPPED)
