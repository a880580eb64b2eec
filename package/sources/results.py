"""What fetching a package from one source came to."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class FetchOutcome(StrEnum):
    UPDATED = "updated"
    PARTLY = "partly updated"
    """Some fields could not be used; the others were stored."""
    UNCHANGED = "unchanged"
    """The source answered that nothing has changed since the last time."""
    NOT_FOUND = "not found"
    """The source answered that it does not know the package."""
    FAILED = "failed"
    NOT_READY = "not ready"
    """The source is working on the answer."""
    LEFT_ALONE = "left alone"
    """The source is down, limits our rate or refuses our token: nothing is sent for a while."""
    SKIPPED = "skipped"
    """There was nothing to ask this source for, or it does not offer this of the package. No failure."""
    PUT_ASIDE = "put aside"
    """For later in the same run: never the last word on a part."""

    @property
    def key(self) -> str:
        """Its name in what is printed for programs."""
        return self.value.replace(" ", "_")


GOOD = frozenset({FetchOutcome.UPDATED, FetchOutcome.UNCHANGED, FetchOutcome.PARTLY})
"""The source answered, and what is stored is what it says."""


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
    """Which part of what the source knows; "" where it has but one."""
    updated: tuple[str, ...] = ()
    """Names of the fields that were stored."""
    skipped: tuple[SkippedField, ...] = ()
    error: str = ""
    reason: str = ""
    """The same in one word, as in the metrics where core.http has one for it."""
    reached: bool = True
    """The source answered, or was not asked."""
    again: bool = False
    """It is worth asking again soon."""
    retry_at: datetime | None = None
    """Before then, nothing is sent."""
    upstream: str = ""
    """As core.http names it."""
    stored: datetime | None = None
    """Since when what is stored stands, where the source did not say anything new."""

    def __str__(self) -> str:
        return f"{self.source} {self.part} {self.outcome}" if self.part else f"{self.source} {self.outcome}"
