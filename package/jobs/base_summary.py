"""The base of the summaries with which all runs end: the figures that every run reports."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

from core.http import observe, process
from core.http.events import AttemptEnded, Event, RetryStarted


@dataclass
class BaseSummary:
    """The figures that every run reports."""

    tried: int = 0
    """Number of rows that were processed. In a run over packages: packages for which a request was sent."""
    left: int = 0
    """Number of rows that were not processed, or not completely."""
    stopped: str = ""
    """Why the run ended early; "": it did not end early."""
    database_failed: bool = False
    attempts: int = 0
    unchanged: int = 0
    """Number of attempts with status 304 (not modified, without a body)."""
    retries: int = 0
    backoff_seconds: float = 0.0
    seconds: float = 0.0
    _lock: Lock = field(default_factory=Lock, repr=False, compare=False)
    """Protects the counters, because events may come from any thread."""

    @contextmanager
    def measured(self) -> Iterator[None]:
        """Measure the duration of the block, and count the attempts and retries of core.http during it."""
        clock = process.current().runtime.clock
        started = clock()
        with observe(self._observe):
            yield
        self.seconds = clock() - started

    def _observe(self, event: Event) -> None:
        if isinstance(event, AttemptEnded) and event.outcome is not None:
            with self._lock:
                self.attempts += 1
                self.unchanged += event.outcome.status == 304
        elif isinstance(event, RetryStarted):
            with self._lock:
                self.retries += 1
                self.backoff_seconds += event.waited

    def cost(self, rows: str) -> str:
        """Return a line of text with the number of rows, the duration, attempts and retries.

        :param rows: the name of the rows, for example "packages".
        """
        return (
            f"{self.tried} {rows} in {self.seconds:.1f} s; {self.attempts} attempts, {self.retries} retries, "
            f"{self.backoff_seconds:.1f} s lost to backoff"
        )

    def as_dict(self) -> dict[str, Any]:
        return {
            "tried": self.tried,
            "left": self.left,
            "stopped": self.stopped,
            "attempts": self.attempts,
            "unchanged": self.unchanged,
            "retries": self.retries,
            "backoff_seconds": round(self.backoff_seconds, 3),
            "seconds": round(self.seconds, 3),
        }


def printable(text: str) -> str:
    """Return `text` with "?" in place of control characters, which could corrupt a terminal or a log."""
    return "".join(character if character.isprintable() else "?" for character in text)
