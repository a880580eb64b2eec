"""What fetching a package from one source came to."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class FetchOutcome(StrEnum):
    UPDATED = "updated"
    PARTLY = "partly updated"
    """Some fields could not be used; the others were stored."""
    NOT_FOUND = "not found"
    """The source answered that it does not know the package."""
    FAILED = "failed"
    LEFT_ALONE = "left alone"
    """The source is down, or asked to be left alone: nothing was sent."""
    SKIPPED = "skipped"
    """There was nothing to ask this source for."""


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
    updated: tuple[str, ...] = ()
    """Names of the fields that were stored."""
    skipped: tuple[SkippedField, ...] = ()
    error: str = ""
    reached: bool = True
    """The source answered, or was not asked."""
