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
    """The source answered that nothing has changed since the last time."""
    NOT_FOUND = "not found"
    """The source answered that it does not know the package."""
    FAILED = "failed"
    NOT_READY = "not ready"
    """The source is still computing the answer."""
    LEFT_ALONE = "left alone"
    """The source is down, limits our rate or refuses our token: nothing is sent for a while."""
    SKIPPED = "skipped"
    """The source was not asked, or it does not provide this part of the package. This is not a failure."""
    PUT_ASIDE = "put aside"
    """The part is tried again later in the same run. Never the final outcome."""

    @property
    def key(self) -> str:
        """The name in JSON output."""
        return self.value.replace(" ", "_")


GOOD = frozenset({FetchOutcome.UPDATED, FetchOutcome.UNCHANGED, FetchOutcome.PARTLY})
"""The source answered, and the stored values are current."""


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
    """Name of the part; "" if the source has only one."""
    updated: tuple[str, ...] = ()
    """Names of the fields that were stored."""
    skipped: tuple[SkippedField, ...] = ()
    error: str = ""
    reason: str = ""
    """A key word for `error`. If core.http reported the failure, the same as in the metrics."""
    reached: bool = True
    """The source answered, or was not asked."""
    again: bool = False
    """Whether another request in a few seconds may succeed."""
    retry_at: datetime | None = None
    """When requests may be sent again; None: unknown, or they are not paused."""
    upstream: str = ""
    """Name of the upstream in core.http."""
    stored: datetime | None = None
    """The time of the last success before this fetch; None if there was none."""

    def __str__(self) -> str:
        return f"{self.source} {self.part} {self.outcome}" if self.part else f"{self.source} {self.outcome}"
