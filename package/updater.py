"""A run over packages: each in its turn, and again later what could not be fetched at once."""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import islice

from django.db import InterfaceError, OperationalError
from django.utils import timezone

from core.http import ResilientSession, registry
from core.http.breaker import State
from core.http.engine import OTHER
from core.http.events import BreakerChanged, Event, GateClosed, QuotaSeen
from package.aside import Aside, Task
from package.credentials import ApiSession
from package.models import Package, SourceStatus
from package.results import FetchOutcome, FetchResult
from package.sources import Part, Sessions, parts_of
from package.stopping import Stopped, Stopper
from package.summary import Summary
from package.update import update_package

logger = logging.getLogger(__name__)

PATIENCE = 30.0
"""Seconds a run waits, in all, for what it has put aside when nothing else is left to do."""
PASSES = 6
"""How often a part is asked for in a run."""
LONGEST = 120.0
"""Seconds for one package, in one pass: no server can make a run its own."""
SILENT_IN_A_ROW = 3
"""A source that let so many packages wait in vain is held: too few attempts an hour to open its breaker."""
RESERVE = 0.1
"""Fraction of a quota that is left for interactive use."""
_FIRST_PAUSE = 3.0
_LONGEST_PAUSE = 60.0
"""Seconds before a part that failed, or was not ready, is asked for again; doubled in between."""


Progress = Callable[[Package, list[FetchResult], bool], None]
"""Told of each package, of what was tried of it, and whether that was put aside before."""


class Run:
    """Refreshes packages, each saved on its own."""

    def __init__(self, primary_keys: Sequence[int], stopper: Stopper, progress: Progress, *, everything: bool) -> None:
        """`everything`: every part of the packages, and not only those that the ledger says are due."""
        self.summary = Summary()
        self._queue = deque(primary_keys)
        self._stopper = stopper
        self._progress = progress
        self._everything = everything
        self._aside = Aside()
        self._patience = PATIENCE
        self._warned: set[str] = set()
        self._silent: Counter[str] = Counter()
        """How many packages in a row each key has let wait in vain."""
        self._clock = registry.current().time.clock

    def run(self) -> Summary:
        """Work until nothing is left to do, or the run is to end."""
        summary = self.summary
        sessions = Sessions(
            ApiSession(wait=self._stopper.wait),
            ResilientSession(untrusted=True, wait=self._stopper.wait),
            before=self._stopper.heed,
        )
        try:
            with summary.measured(), registry.current().observed_by(self._observe):
                while not self._stopper.reason and self._step(sessions):
                    pass
        except Stopped:
            pass
        finally:
            sessions.close()
        summary.left = len(self._queue)
        summary.stopped = self._stopper.reason if summary.left or self._aside.next_at() is not None else ""
        if not summary.database_failed:
            try:
                self._close()
            except (OperationalError, InterfaceError) as exc:
                self._lose_the_database(exc)
                summary.stopped = self._stopper.reason
        return summary

    def _step(self, sessions: Sessions) -> bool:
        """Do the next thing; False: there is none."""
        task = self._aside.take(self._clock())
        if task is not None:
            self._work(task.package, sessions, task)
        elif self._queue:
            self._work(self._queue.popleft(), sessions, None)
        else:
            return self._wait()
        return True

    def _wait(self) -> bool:
        """Wait for what is put aside, as far as patience reaches."""
        at = self._aside.next_at()
        seconds = 0.0 if at is None else max(at - self._clock(), 0.0)
        left = self._stopper.left
        if at is None or seconds > (self._patience if left is None else left):
            return False
        self._patience -= seconds
        self._stopper.wait(seconds)
        return True

    def _work(self, primary_key: int, sessions: Sessions, task: Task | None) -> None:
        try:
            self._refresh(primary_key, sessions, task)
        except Stopped:
            self._give_back(primary_key, task)
            raise
        except (OperationalError, InterfaceError) as exc:
            self._lose_the_database(exc)
            self._give_back(primary_key, task)

    def _refresh(self, primary_key: int, sessions: Sessions, task: Task | None) -> None:
        package = Package.objects.filter(pk=primary_key).prefetch_related("sources").first()
        if package is None:  # deleted meanwhile
            return
        parts = self._parts(package, task)
        if task is not None and not parts:  # it has another repository by now
            return
        free = [part for part in parts if not self._aside.held(part.key, self._clock())]
        results = [self._held(package, part) for part in parts if part not in free]
        if free or not parts:
            with sessions.within(LONGEST):
                results += _update(package, sessions, free, again=bool(task and task.tries))
        self.summary.tried += task is None
        self._progress(package, self._settle(package, parts, results, task.tries if task else 0), task is not None)

    def _give_back(self, primary_key: int, task: Task | None) -> None:
        """Take back that a package had its turn: it was cut short."""
        if task is not None:
            self._aside.put(task, self._clock())
        else:
            self._queue.appendleft(primary_key)

    def _lose_the_database(self, error: Exception) -> None:
        logger.error("The database failed; the run ends here", exc_info=error)
        self._stopper.stop(f"the database failed: {type(error).__name__}")
        self.summary.database_failed = True

    def _parts(self, package: Package, task: Task | None) -> list[Part]:
        """Return what is to be fetched of `package` now."""
        parts = parts_of(package)
        if task is not None:
            wanted = {(result.source, result.part) for result in task.last}
            return [part for part in parts if (part.source, part.name) in wanted]
        if self._everything:
            return parts
        now = timezone.now()
        later = {(row.source, row.part) for row in package.sources.all() if row.next_due and row.next_due > now}
        return [part for part in parts if (part.source, part.name) not in later] or parts

    def _held(self, package: Package, part: Part) -> FetchResult:
        """Say that `part` is not asked for, because its upstream is to be left alone."""
        why = self._aside.held(part.key, self._clock())
        rows = (row.last_success for row in package.sources.all() if (row.source, row.part) == (part.source, part.name))
        return FetchResult(
            part.source,
            FetchOutcome.LEFT_ALONE,
            part.name,
            error=why,
            reason="left_alone",
            upstream=part.upstream,
            stored=next(rows, None),
        )

    def _settle(self, package: Package, parts: list[Part], results: list[FetchResult], tries: int) -> list[FetchResult]:
        """Put aside what is worth another try, and count the rest. Returns what there is to tell."""
        now = self._clock()
        keys = {(part.source, part.name): part.key for part in parts}
        self._hold_the_silent(keys, results)
        aside: dict[tuple[str, bool], list[FetchResult]] = {}
        told = []
        for result in results:
            alone = result.outcome is FetchOutcome.LEFT_ALONE
            if not (alone or result.again) or tries + 1 >= PASSES:
                self.summary.count(result)
                told.append(result)
                continue
            key = keys[result.source, result.part]
            if result.retry_at is not None:
                seconds = (result.retry_at - datetime.now(UTC)).total_seconds() + 0.1  # two clocks: rather late
                self._aside.hold(key, now + seconds, result.error)
            if alone and key not in self._warned:
                self._warned.add(key)
                logger.warning("%s is put aside: %s", result.source, result.error)
            aside.setdefault((key, alone), []).append(result)
            told.append(replace(result, outcome=FetchOutcome.PUT_ASIDE))
        for (key, alone), last in aside.items():
            held = alone and bool(self._aside.held(key, now))
            pause = 0.0 if held else min(_FIRST_PAUSE * 2**tries, _LONGEST_PAUSE)
            self._aside.put(Task(package.pk, key, tuple(last), tries + (not held)), now + pause)
            self.summary.put_aside += len(last)
        return told

    def _hold_the_silent(self, keys: dict[tuple[str, str], str], results: list[FetchResult]) -> None:
        """Leave alone what does not answer at all: with one call at a time, a breaker sees too little of it."""
        for key in set(keys.values()):
            asked = [result for result in results if keys.get((result.source, result.part)) == key]
            asked = [result for result in asked if result.outcome is not FetchOutcome.LEFT_ALONE]
            if not asked:
                continue
            self._silent[key] = self._silent[key] + 1 if all(each.reason == "timeout" for each in asked) else 0
            if (more := self._silent[key] - SILENT_IN_A_ROW) >= 0:
                seconds = min(15.0 * 2 ** min(more, 10), 300.0)  # as a breaker would
                why = f"{key} does not answer; nothing is sent before {_at(seconds)}"
                self._aside.hold(key, self._clock() + seconds, why)

    def _close(self) -> None:
        """Count, and note in the ledger, what is still put aside."""
        rest = self._aside.rest()
        while some := list(islice(rest, 200)):
            self._note_rest(some)

    def _note_rest(self, rest: list[tuple[Task, str]]) -> None:
        rows = []
        for task, why in rest:
            for result in task.last:
                if result.outcome is FetchOutcome.LEFT_ALONE:
                    result = replace(result, error=why or result.error)  # noqa: PLW2901 - as it is by now
                    rows.append(
                        SourceStatus(
                            package_id=task.package,
                            source=result.source,
                            part=result.part,
                            outcome=result.outcome.value,
                            error=result.error,
                            reason=result.reason,
                        )
                    )
                self.summary.count(result)
        there = set(Package.objects.filter(pk__in={row.package_id for row in rows}).values_list("pk", flat=True))
        SourceStatus.objects.bulk_create(
            [row for row in rows if row.package_id in there],
            update_conflicts=True,
            unique_fields=["package", "source", "part"],
            update_fields=["outcome", "error", "reason"],
        )

    def _observe(self, event: Event) -> None:
        """Leave an upstream alone as soon as it is known to be down, limited, or near the end of its quota."""
        now = self._clock()
        if isinstance(event, BreakerChanged) and event.state is State.OPEN:
            why = f"{_key(event)} is down; nothing is sent before {_at(event.seconds)}"
            self._aside.hold(_key(event), now + event.seconds, why)
        elif isinstance(event, GateClosed):
            why = f"{_key(event)} limits our rate; nothing is sent before {_at(event.seconds)}"
            self._aside.hold(_key(event), now + event.seconds, why)
        elif isinstance(event, QuotaSeen) and event.upstream != OTHER:
            quota = event.quota
            if quota.limit and quota.remaining is not None and quota.reset and quota.remaining <= RESERVE * quota.limit:
                left = f"{quota.remaining} of {quota.limit} calls"
                why = f"{event.upstream}'s last {left} are for others until {_at(quota.reset)}"
                self._aside.hold(event.upstream, now + quota.reset, why)


def run(primary_keys: Sequence[int], stopper: Stopper, progress: Progress, *, everything: bool = False) -> Summary:
    """Refresh these packages, and tell `progress` of each. `everything`: and not only what the ledger says is due."""
    return Run(primary_keys, stopper, progress, everything=everything).run()


def _key(event: BreakerChanged | GateClosed) -> str:
    return event.target.host if event.upstream == OTHER else event.upstream


def _at(seconds: float) -> str:
    return f"{datetime.now(UTC) + timedelta(seconds=seconds):%H:%M:%S} UTC"


def _update(package: Package, sessions: Sessions, parts: list[Part], *, again: bool) -> list[FetchResult]:
    try:
        return update_package(package, sessions, parts=parts, again=again)
    except (Stopped, OperationalError, InterfaceError):  # the database is gone: nothing could be saved of others either
        raise
    except Exception as exc:
        if not Package.objects.filter(pk=package.pk).exists():
            return [FetchResult("site", FetchOutcome.SKIPPED, error="was deleted meanwhile")]
        logger.exception("%s: not updated", package.slug)
        error = f"unexpected {type(exc).__name__}; see the log"
        package.note_failure(error)
        return [FetchResult("site", FetchOutcome.FAILED, error=error, reached=False)]
