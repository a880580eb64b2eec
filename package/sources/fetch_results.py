"""The results of fetching a package from its sources."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class FetchOutcome(StrEnum):
    UPDATED = "updated"
    PARTLY = "partly updated"
    """Some values could not be used. The others were stored."""
    UNCHANGED = "unchanged"
    """The source says that nothing has changed since the last fetch."""
    NOT_FOUND = "not found"
    """The source says that it does not know the package."""
    FAILED = "failed"
    NOT_READY = "not ready"
    """The source is still computing the data, or this package must wait for a rate limit: see `errors.NotReady`."""
    LEFT_ALONE = "left alone"
    """Nothing is sent for some time, because the source is down, limits our rate or refuses our token."""
    SKIPPED = "skipped"
    """No request was sent, or the source does not provide this part of the package. This is not a failure."""
    PUT_ASIDE = "put aside"
    """The part is fetched again later in the same run. This is never the final outcome."""

    @property
    def key(self) -> str:
        """The name of the outcome in JSON output."""
        return self.value.replace(" ", "_")


GOOD = frozenset({FetchOutcome.UPDATED, FetchOutcome.UNCHANGED, FetchOutcome.PARTLY})
"""Outcomes after which the stored values are current."""


@dataclass(frozen=True)
class SkippedField:
    field: str
    reason: str

    def __str__(self) -> str:
        return f"{self.field}: {self.reason}"


@dataclass(frozen=True)
class FetchResult:
    source: str
    outcome: FetchOutcome
    part: str = ""
    """Name of the part; "": the source has only one part."""
    updated: tuple[str, ...] = ()
    """Names of the fields that were stored."""
    skipped: tuple[SkippedField, ...] = ()
    error: str = ""
    reason: str = ""
    """A key word for `error`. If core.http reported the failure, it is the reason in the metrics."""
    reached: bool = True
    """False: a request was sent, and it got no response, or one that core.http counts as a failure, such as 503."""
    again: bool = False
    """Whether another request a few seconds later may succeed."""
    retry_at: datetime | None = None
    """When requests may be sent again; None: unknown, or requests are not paused."""
    upstream: str = ""
    """Name of the upstream in core.http."""
    stored: datetime | None = None
    """The time of the last success before this fetch; None: there was none."""

    def __str__(self) -> str:
        return f"{self.source} {self.part} {self.outcome}" if self.part else f"{self.source} {self.outcome}"
