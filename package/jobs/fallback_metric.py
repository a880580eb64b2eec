"""Counts the parts for which stored data is shown, because their source could not provide new data."""

from __future__ import annotations

from core.http import process
from core.http.events import FallbackServed
from package.jobs import source_status
from package.sources.errors import NO_TIME
from package.sources.fetch_results import FetchOutcome, FetchResult

STORED = "database"
"""The value of the label `source` of `outbound_http_fallbacks_total`: where the site stores its data."""
_NOT_ITS_FAULT = frozenset({NO_TIME, source_status.STOPPED})


def count_fallback(result: FetchResult) -> None:
    """Count a fallback if stored data is shown for this part because its source was paused or could not be reached."""
    failed = result.outcome is FetchOutcome.LEFT_ALONE or not result.reached
    if failed and result.reason not in _NOT_ITS_FAULT and result.stored is not None:
        process.current().emit(FallbackServed(result.upstream, STORED))
