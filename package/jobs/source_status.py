"""Updates the source status of a part after a fetch."""

from __future__ import annotations

from datetime import datetime

from package.jobs.refresh_schedule import next_due
from package.models import SourceStatus
from package.sources.client import Client
from package.sources.errors import NO_TIME
from package.sources.fetch_results import GOOD, FetchOutcome, FetchResult

STOPPED = "stopped"
"""The reason of a failure that the source did not cause: the run ended during the fetch."""
_FAILURES = frozenset({FetchOutcome.FAILED, FetchOutcome.NOT_FOUND})


def record(
    row: SourceStatus, result: FetchResult, client: Client, now: datetime, *, again: bool = False, asked: bool = True
) -> None:
    """Update `row` with the result of a fetch.

    :param again: whether the part was fetched before in this run, so that another failure does not increase the number
        of failures in a row.
    :param asked: False if this part was not requested because of the result of another part.
    """
    if result.reason == NO_TIME and row.outcome:  # nothing was sent
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
        # Without validators, a response with unusable values is read and reported again the next time.
        row.validators = {} if result.outcome is FetchOutcome.PARTLY else client.validators
    elif result.outcome is FetchOutcome.SKIPPED:
        row.failures = 0
    elif result.outcome in _FAILURES and _counts(result, asked):
        row.failures += not (again and failed_already)
    due = next_due(result.outcome, row.failures, now)
    if row.failures and failed_already and row.next_due is not None and row.next_due > now:
        due = min(due, row.next_due)  # a fetch before the part was due must not delay the next regular fetch
    row.next_due = due


def _counts(failure: FetchResult, asked: bool) -> bool:
    """Return whether `failure` increases the number of failures in a row.

    NOT_FOUND always does, because a source that no longer knows the package has none of its parts.
    """
    return failure.outcome is FetchOutcome.NOT_FOUND or (asked and failure.reason != STOPPED)
