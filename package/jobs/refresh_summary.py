"""The results of a run over packages."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from core.http.django.batch_job_metrics import ItemOutcome
from package.jobs.base_summary import BaseSummary
from package.jobs.fallback_metric import count_fallback
from package.sources.fetch_results import FetchOutcome, FetchResult


@dataclass
class Left:
    """The parts of one paused source that a run leaves for the next run."""

    parts: int = 0
    why: str = ""
    until: datetime | None = None
    """When requests to the source may be sent again; None: unknown."""

    def add(self, result: FetchResult) -> None:
        """Count a part. If several servers of the source are paused, `until` is the latest end of a pause."""
        later = result.retry_at is not None and (self.until is None or result.retry_at > self.until)
        if not self.parts or later:
            self.why, self.until = result.error, result.retry_at
        self.parts += 1

    def as_dict(self) -> dict[str, Any]:
        return {"parts": self.parts, "why": self.why, "until": self.until and self.until.isoformat()}


@dataclass
class RefreshSummary(BaseSummary):
    """The results of a run over packages: the number of parts by source and outcome."""

    outcomes: dict[str, Counter[FetchOutcome]] = field(default_factory=dict)
    """The final outcomes of all parts, by source."""
    unreachable: int = 0
    """Number of parts that were not fetched because their source was paused or could not be reached, or because of an
    unexpected error. Parts with an unusable response do not count."""
    left_alone: dict[str, Left] = field(default_factory=dict)
    """The parts that are left for the next run, by source."""
    put_aside: int = 0
    """How often a part was put aside, to be fetched later in the run."""

    @property
    def reached_nothing(self) -> bool:
        """Whether there were parts to fetch, and none of them could be fetched."""
        wanted = sum(counter.total() - counter[FetchOutcome.SKIPPED] for counter in self.outcomes.values())
        return 0 < self.unreachable == wanted

    def count(self, result: FetchResult) -> None:
        """Count the final result of a part."""
        self.outcomes.setdefault(result.source, Counter())[result.outcome] += 1
        alone = result.outcome is FetchOutcome.LEFT_ALONE
        self.unreachable += alone or not result.reached or result.reason == "unexpected"
        if alone:
            self.left_alone.setdefault(result.source, Left()).add(result)
        count_fallback(result)

    @property
    def items(self) -> Mapping[ItemOutcome, int]:
        """Number of parts by result, for the metrics of the job."""
        parts = sum(self.outcomes.values(), Counter[FetchOutcome]())
        failed = parts[FetchOutcome.FAILED]
        skipped = parts[FetchOutcome.SKIPPED] + parts[FetchOutcome.LEFT_ALONE]
        return {"success": parts.total() - failed - skipped, "failure": failed, "skipped": skipped}

    def as_dict(self) -> dict[str, Any]:
        outcomes = [outcome for outcome in FetchOutcome if outcome is not FetchOutcome.PUT_ASIDE]
        return {
            "sources": {
                source: {outcome.key: counter[outcome] for outcome in outcomes}
                for source, counter in self.outcomes.items()
            },
            "left_alone": {source: left.as_dict() for source, left in self.left_alone.items()},
            "put_aside": self.put_aside,
            **super().as_dict(),
        }
