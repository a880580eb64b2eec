"""The ledger's arithmetic: what a fetch means for the row of its part, and when it is due again."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import datetime, timedelta

from package.models import SourceStatus
from package.sources.client import Client
from package.sources.errors import NO_TIME
from package.sources.results import GOOD, FetchOutcome, FetchResult

FRESH = timedelta(hours=20)
"""A daily job finds yesterday's data due again, though it began some hours earlier today."""
NOT_READY = timedelta(hours=1)
_FAILED = (timedelta(hours=1), timedelta(days=7))
"""After the first failure, and at most; doubled in between."""
_GONE = (timedelta(days=1), timedelta(days=30))
STOPPED = "stopped"
"""The reason of a failure that is not the source's: the run ended meanwhile."""
_FAILURES = frozenset({FetchOutcome.FAILED, FetchOutcome.NOT_FOUND})
_JITTER = 0.2
"""Fraction that is added at random, so that what failed together does not come back together."""


def next_due(
    outcome: FetchOutcome, failures: int, now: datetime, chance: Callable[[], float] = random.random
) -> datetime:
    """Say when a part is to be fetched again after `failures` in a row, this one included."""
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
    """Note on `row` what a fetch came to.

    :param again: in this run it was tried before, so it is no further failure.
    :param asked: False: the answer to another part is the reason why this part was not asked for.
    """
    if result.reason == NO_TIME and row.outcome:  # nobody even tried
        return
    failed_already = row.outcome in _FAILURES or (row.outcome == FetchOutcome.LEFT_ALONE and row.failures > 0)
    row.outcome, row.error = result.outcome.value, result.error or "; ".join(map(str, result.skipped))
    row.reason = client.reason if result.error and not result.reason else result.reason
    row.memory = client.memory
    if result.outcome is FetchOutcome.LEFT_ALONE:  # nothing was sent: the rest is as it was
        return
    row.http_status, row.attempts, row.seconds = client.status, client.attempts, round(client.seconds, 3)
    if asked:
        row.last_attempt = now
    if result.outcome in GOOD:
        row.last_success, row.failures = now, 0
        # An answer of which something could not be used is to be read, and told of, again.
        row.validators = {} if result.outcome is FetchOutcome.PARTLY else client.validators
    elif result.outcome is FetchOutcome.SKIPPED:
        row.failures = 0
    elif result.outcome in _FAILURES and _counts(result, asked):
        row.failures += not (again and failed_already)
    due = next_due(result.outcome, row.failures, now)
    if row.failures and failed_already and row.next_due is not None and row.next_due > now:
        due = min(due, row.next_due)  # asked out of turn: that does not put off its turn
    row.next_due = due


def _counts(failure: FetchResult, asked: bool) -> bool:
    """Say whether `failure` is one more in a row. That a source no longer knows the package holds for all its parts."""
    return failure.outcome is FetchOutcome.NOT_FOUND or (asked and failure.reason != STOPPED)
