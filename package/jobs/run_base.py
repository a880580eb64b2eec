"""The common base of all runs over many rows: the figures that they report, and the loop of runs without threads.

A run can be stopped, and ends with a summary.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

from django.db import InterfaceError, OperationalError

from core.http import observe, process
from core.http.events import AttemptEnded, Event, RetryStarted
from package.jobs.stopper import Stopped, Stopper

logger = logging.getLogger(__name__)


@dataclass
class RunSummary:
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


def each(primary_keys: Sequence[int], stopper: Stopper, summary: RunSummary, visit: Callable[[int], None]) -> None:
    """Call `visit` for each of these rows until the run must end. If it raises `Stopped`, the row counts as left."""
    for position, primary_key in enumerate(primary_keys):
        summary.left = len(primary_keys) - position
        if stopper.reason:
            break
        try:
            visit(primary_key)
        except Stopped:
            break
        except (OperationalError, InterfaceError) as exc:  # the results of the other rows could not be saved either
            logger.exception("The database failed; the run ends here")
            stopper.stop(f"the database failed: {type(exc).__name__}")
            summary.database_failed = True
            break
        summary.tried += 1
    else:
        summary.left = 0
    summary.stopped = stopper.reason if summary.left else ""


def printable(text: str) -> str:
    """Return `text` with "?" in place of control characters, which could corrupt a terminal or a log."""
    return "".join(character if character.isprintable() else "?" for character in text)
