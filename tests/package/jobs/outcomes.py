"""Groups of the outcomes of a fetch."""

from __future__ import annotations

from package.sources.fetch_results import FetchOutcome

BAD = FetchOutcome.FAILED, FetchOutcome.NOT_FOUND
RECORDED = [
    outcome
    for outcome in FetchOutcome
    if outcome not in {FetchOutcome.LEFT_ALONE, FetchOutcome.SKIPPED, FetchOutcome.PUT_ASIDE}
]
