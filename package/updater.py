"""Refreshing packages: one of them from all its sources, and a whole run over those that are due."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import Any

import requests
from django.db import InterfaceError, OperationalError
from django.db.models import F, Q, QuerySet
from django.db.models.functions import Coalesce, Greatest

from core.http import ResilientSession, registry
from core.http.events import AttemptEnded, Event, RetryStarted
from package import pypi
from package.models import Package
from package.results import FetchOutcome, FetchResult

logger = logging.getLogger(__name__)

_SLICE = 0.2  # seconds a waiting run may take to notice that it is to stop


class Stopped(Exception):  # noqa: N818 - an order, not an error
    """The run is to end now: no more waiting, no more attempts."""


def update_package(
    package: Package, session: requests.Session | None = None, leave_alone: Mapping[str, str] = MappingProxyType({})
) -> list[FetchResult]:
    """Refresh `package` from every source it has and save it; a source that fails does not stop the others.

    `leave_alone` says of sources that are not to be asked why not.
    """
    if pypi.SOURCE in leave_alone:
        return [FetchResult(pypi.SOURCE, FetchOutcome.LEFT_ALONE, error=leave_alone[pypi.SOURCE])]
    results = [pypi.update_package_from_pypi(package, session)]
    if all(result.outcome is FetchOutcome.SKIPPED for result in results):
        package.record_success([])  # it had its turn: back to the end of the queue
    return results


def due(stale_before: datetime | None = None) -> QuerySet[Package]:
    """Return packages in the order in which they are to be refreshed: those tried longest ago first.

    With `stale_before`, only those last refreshed before then, or never.
    """
    packages = Package.objects.all()
    if stale_before is not None:
        packages = packages.filter(Q(last_fetched=None) | Q(last_fetched__lt=stale_before))
    tried = Greatest(
        Coalesce("last_fetched", "last_exception_at"),
        Coalesce("last_exception_at", "last_fetched"),
    )
    return packages.order_by(tried.asc(nulls_first=True), F("pk"))


class Stopper:
    """Tells a run when to end: because somebody asked, or because its time is up."""

    def __init__(self, time_budget: float | None = None) -> None:
        """`time_budget`: seconds from now; None: no limit."""
        clock = registry.current().time.clock
        self._deadline = None if time_budget is None else clock() + time_budget
        self._asked = ""

    def stop(self, reason: str) -> None:
        self._asked = reason

    @property
    def reason(self) -> str:
        """Why the run is to end; "" while it is not."""
        if not self._asked and self._deadline is not None and registry.current().time.clock() >= self._deadline:
            return "the time budget is used up"
        return self._asked

    def wait(self, seconds: float) -> None:
        """Wait, as `ResilientSession` asks for. Raises `Stopped` as soon as the run is to end."""
        time = registry.current().time
        end = time.clock() + seconds
        while True:
            if self.reason:
                raise Stopped(self.reason)
            left = end - time.clock()
            if left <= 0:
                return
            time.wait(min(left, _SLICE))


@dataclass
class Summary:
    """What a run came to."""

    outcomes: dict[str, Counter[FetchOutcome]] = field(default_factory=dict)
    """By source."""
    tried: int = 0
    unreachable: int = 0
    """Fetches that got no usable answer."""
    left: int = 0
    """Packages that were due and had no turn."""
    left_alone: dict[str, str] = field(default_factory=dict)
    """Sources that were not asked any more, and why."""
    stopped: str = ""
    """Why it ended early; "" where it did not."""
    database_failed: bool = False
    attempts: int = 0
    retries: int = 0
    backoff_seconds: float = 0.0
    seconds: float = 0.0

    @property
    def reached_nothing(self) -> bool:
        """Packages were tried, and none of them could be fetched."""
        left = sum(counter[FetchOutcome.LEFT_ALONE] for counter in self.outcomes.values())
        wanted = sum(counter.total() - counter[FetchOutcome.SKIPPED] for counter in self.outcomes.values())
        return 0 < self.unreachable + left == wanted

    def count(self, results: list[FetchResult]) -> None:
        self.tried += 1
        for result in results:
            self.outcomes.setdefault(result.source, Counter())[result.outcome] += 1
            self.unreachable += not result.reached
            if result.outcome is FetchOutcome.LEFT_ALONE and result.source not in self.left_alone:
                logger.warning("%s is left alone for the rest of the run: %s", result.source, result.error)
                self.left_alone[result.source] = result.error

    def observe(self, event: Event) -> None:
        """Count what core.http does meanwhile."""
        if isinstance(event, AttemptEnded):
            self.attempts += event.outcome is not None
        elif isinstance(event, RetryStarted):
            self.retries += 1
            self.backoff_seconds += event.waited

    def as_dict(self) -> dict[str, Any]:
        return {
            "sources": {
                source: {outcome.value: counter[outcome] for outcome in FetchOutcome}
                for source, counter in self.outcomes.items()
            },
            "tried": self.tried,
            "left": self.left,
            "left_alone": self.left_alone,
            "stopped": self.stopped,
            "attempts": self.attempts,
            "retries": self.retries,
            "backoff_seconds": round(self.backoff_seconds, 3),
            "seconds": round(self.seconds, 3),
        }


Progress = Callable[[Package, list[FetchResult]], None]


def run(primary_keys: list[int], stopper: Stopper, progress: Progress) -> Summary:
    """Refresh these packages, one after the other, each saved on its own, and tell `progress` of each."""
    summary = Summary()
    with _measured(summary), ResilientSession(wait=stopper.wait) as session:
        for position, primary_key in enumerate(primary_keys):
            summary.left = len(primary_keys) - position
            if stopper.reason:
                break
            package = Package.objects.filter(pk=primary_key).first()
            if package is None:  # deleted meanwhile
                continue
            try:
                results = _update(package, session, summary.left_alone)
            except Stopped as exc:
                package.record_failure(f"the run ended before an attempt succeeded: {exc}")  # it had its turn
                break
            except (OperationalError, InterfaceError) as exc:
                logger.exception("The database failed; the run ends here")
                stopper.stop(f"the database failed: {type(exc).__name__}")
                summary.database_failed = True
                break
            summary.count(results)
            progress(package, results)
        else:
            summary.left = 0
    summary.stopped = stopper.reason if summary.left else ""
    return summary


def _update(package: Package, session: requests.Session, leave_alone: Mapping[str, str]) -> list[FetchResult]:
    try:
        return update_package(package, session, leave_alone)
    except Stopped:
        raise
    except (OperationalError, InterfaceError):  # the database is gone: nothing could be saved of the others either
        raise
    except Exception as exc:
        if not Package.objects.filter(pk=package.pk).exists():
            return [FetchResult("site", FetchOutcome.SKIPPED, error="was deleted meanwhile")]
        logger.exception("%s: not updated", package.slug)
        error = f"unexpected {type(exc).__name__}; see the log"
        package.record_failure(error)
        return [FetchResult("site", FetchOutcome.FAILED, error=error, reached=False)]


@contextmanager
def _measured(summary: Summary) -> Iterator[None]:
    clock = registry.current().time.clock
    started = clock()
    with registry.current().observed_by(summary.observe):
        yield
    summary.seconds = clock() - started
