"""Computes the fields of a package that describe its fetches, from the source statuses of its parts."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from enum import Enum, auto
from typing import Any

from package.models import Package, SourceStatus
from package.sources.fetch_results import GOOD, FetchOutcome, FetchResult

FETCH_FIELDS = ("next_due", "last_fetched", "last_exception", "last_exception_at", "last_exception_count")
_ANSWERED = GOOD | {FetchOutcome.NOT_FOUND}


class _State(Enum):
    FAILING = auto()
    UNKNOWN = auto()
    """No part failed, but one part failed before, and no request could be sent for it this time."""
    FINE = auto()


def after(
    package: Package, results: Sequence[FetchResult], statuses: Sequence[SourceStatus | None], now: datetime
) -> dict[str, Any]:
    """Return the values of `FETCH_FIELDS` after a fetch.

    :param results: the results of the parts that were fetched.
    :param statuses: one source status for each part of the package; None for a part that was never fetched.
    """
    rows = [row for row in statuses if row is not None]
    return {
        "next_due": _next_due(statuses),
        "last_fetched": _later(package.last_fetched, now, any(result.outcome in _ANSWERED for result in results)),
        **_exception(package, results, rows, now),
    }


def _exception(
    package: Package, results: Sequence[FetchResult], rows: Sequence[SourceStatus], now: datetime
) -> dict[str, Any]:
    text, count, at = package.last_exception, package.last_exception_count, package.last_exception_at
    match _state(rows):
        case _State.FAILING:
            failing = [row for row in rows if row.outcome == FetchOutcome.FAILED]
            text = "; ".join(dict.fromkeys(row.error for row in failing))
            count = max(row.failures for row in failing)
        case _State.FINE:
            text, count, at = "", 0, None
    failed_now = any(result.outcome is FetchOutcome.FAILED for result in results)
    return {
        "last_exception": text,
        "last_exception_at": _later(at, now, failed_now),
        "last_exception_count": count,
    }


def _state(rows: Sequence[SourceStatus]) -> _State:
    if any(row.outcome == FetchOutcome.FAILED for row in rows):
        return _State.FAILING
    if any(row.outcome == FetchOutcome.LEFT_ALONE and row.failures for row in rows):
        return _State.UNKNOWN
    return _State.FINE


def _next_due(rows: Sequence[SourceStatus | None]) -> datetime | None:
    """Return the earliest `next_due` of all parts; None if a part was never fetched, or if the package has no parts."""
    dues = [row.next_due if row is not None else None for row in rows]
    return None if None in dues else min(filter(None, dues), default=None)


def _later(before: datetime | None, now: datetime, is_new: bool) -> datetime | None:
    return max(before or now, now) if is_new else before
