"""A run over packages: each source of each in its turn, and again later what could not be fetched at once.

The run's own thread plans, claims, stores and counts; its crew fetches. So the two share nothing but what is handed
over, and the database has one writer.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import islice

from django.db import InterfaceError, OperationalError, transaction
from django.db.models import Prefetch, QuerySet
from django.utils import timezone

from core.http import observe, process
from package import claims, sources
from package.crew import Crew
from package.fetching import LONGEST, Work
from package.lanes import Lanes, Unit
from package.leaving import leave, of_unit
from package.models import Package, SourceStatus
from package.pauses import Pause, Pauses, is_suspect, was_asked
from package.queue import parts_due
from package.results import GOOD, FetchOutcome, FetchResult
from package.sources import Part, Sessions
from package.stopping import Stopped, Stopper
from package.storing import store
from package.summary import Summary
from package.update import nothing_to_ask

logger = logging.getLogger(__name__)

PATIENCE = 30.0
"""Seconds a run waits, in all, for what it has put aside when nothing else is left to do."""
PASSES = 6
"""How often a part is asked for in a run."""
_FIRST_PAUSE = 3.0
_LONGEST_PAUSE = 60.0
"""Seconds before a part that failed, or was not ready, is asked for again; doubled in between."""
_CHUNK = 200
"""Packages that are read at a time."""
_UNFINISHED = 5000
"""Packages that may wait for one of their sources before more are begun: they take up memory."""
_READ = ("slug", "title", "repo_url", "repo_host", "repo_missing_since", "pypi_url", "pypi_missing_since")
"""What fetching looks at: a thread of the crew must have no need of the database."""

Progress = Callable[[Package, list[FetchResult], bool], None]
"""Told of each package, of what was tried of it, and whether that was put aside before."""


@dataclass
class _InHand:
    """A package in its turn."""

    package: Package
    left: int
    """Sources that have not had theirs."""
    asked: bool = False
    """At least one of them was asked."""
    results: list[FetchResult] = field(default_factory=list)


@dataclass
class _Task:
    """A unit under way, and the work that it means."""

    unit: Unit
    work: Work


class _Upstreams:
    """What is known of the upstreams that a run has to do with: for its lanes."""

    def __init__(self, workers: int) -> None:
        self.pauses = Pauses()
        self.parts: dict[str, Part] = {}
        """One of each lane: what holds for it holds for all of them."""
        self._workers = workers

    def limit(self, key: str) -> int:
        """Return how many units may be under way: one waits for each that is at it, so that none is waited for."""
        config = process.current().config
        most = config.upstreams.get(key, config.default).max_concurrency
        return self._workers if most is None else 2 * most

    def pause(self, key: str) -> Pause | None:
        return self.pauses.of(self.parts[key])

    def is_suspect(self, key: str) -> bool:
        return is_suspect(self.parts[key])


class Run:
    """Refreshes packages; each source of each is saved on its own."""

    def __init__(
        self, primary_keys: Sequence[int], stopper: Stopper, progress: Progress, *, everything: bool, workers: int
    ) -> None:
        """Make a run.

        :param everything: every part of the packages, and not only those that the ledger says are due.
        :param workers: threads that fetch.
        """
        self.summary = Summary()
        self._queue = deque(primary_keys)
        self._stopper = stopper
        self._progress = progress
        self._everything = everything
        self._owner = claims.new_owner()
        self._began = timezone.now()
        self._clock = process.current().runtime.clock
        self._upstreams = _Upstreams(workers)
        self._lanes = Lanes(self._upstreams)
        self._in_hand: dict[int, _InHand] = {}
        self._unasked: set[int] = set()
        """Packages that had their turn, while no source of theirs could be asked."""
        self._patience = PATIENCE
        self._warned: set[str] = set()
        self._sessions = Sessions.made(wait=stopper.wait, before=stopper.heed)
        self._crew: Crew[_Task] = Crew(workers, self._fetch)

    def run(self) -> Summary:
        """Work until nothing is left to do, or the run is to end."""
        summary = self.summary
        try:
            with summary.measured(), observe(self._upstreams.pauses.observe):
                self._go_on()
        except (OperationalError, InterfaceError) as exc:
            self._lose_the_database(exc)
        except BaseException:  # aborted: what is in hand is for others
            self._stopper.stop("aborted")  # the crew's threads go on until they hear of it
            claims.release_all(self._owner)
            raise
        finally:
            self._crew.close()
            self._sessions.close()
        summary.left = len(self._queue) + len(self._in_hand)
        waits = any(unit.told for unit, _ in self._lanes.rest())
        summary.stopped = self._stopper.reason if summary.left or waits else ""
        if not summary.database_failed:
            try:
                leave(self._lanes, summary, self._began)
            except (OperationalError, InterfaceError) as exc:
                self._lose_the_database(exc)
                summary.stopped = self._stopper.reason
        return summary

    def _go_on(self) -> None:
        try:
            while True:
                if not self._stopper.reason:
                    self._hand_out()
                if self._crew.busy:
                    self._take_in()
                elif self._stopper.reason or not self._wait():
                    return
        except Stopped:
            return

    def _wait(self) -> bool:
        """Wait for what is put aside, as far as patience reaches."""
        now = self._clock()
        at = self._lanes.next_at(now)
        seconds = 0.0 if at is None else max(at - now, 0.0)
        left = self._stopper.left
        if at is None or seconds > (self._patience if left is None else left):
            return False
        self._patience -= seconds
        self._stopper.wait(seconds)
        return True

    def _lose_the_database(self, error: Exception) -> None:
        logger.error("The database failed; the run ends here", exc_info=error)
        self._stopper.stop(f"the database failed: {type(error).__name__}")
        self.summary.database_failed = True
        while self._crew.busy:
            self._crew.finished(None)

    def _plan(self) -> bool:
        """Begin with more packages; False: there are none, or enough are in hand."""
        if not self._queue or len(self._in_hand) >= _UNFINISHED:
            return False
        keys = list(islice(self._queue, _CHUNK))
        light = SourceStatus.objects.only("package", "source", "part", "next_due", "last_success")
        packages = _read(keys, light)
        for key in keys:
            self._queue.popleft()
            if key in packages:  # not deleted meanwhile
                self._begin(packages[key])
        return True

    def _begin(self, package: Package) -> None:
        by_source: dict[tuple[str, str], list[Part]] = {}
        for part in parts_due(package, everything=self._everything):
            by_source.setdefault((part.source, part.key), []).append(part)
        self._in_hand[package.pk] = _InHand(package, max(len(by_source), 1))
        if not by_source:
            results = [] if sources.parts_of(package) else [nothing_to_ask(package)]
            for result in results:
                self.summary.count(result)
            self._had_its_turn(package.pk, results)
        for (source, key), parts in by_source.items():
            self._upstreams.parts[key] = parts[0]
            self._lanes.put(Unit(package.pk, source, key, tuple(part.name for part in parts)), self._clock())

    def _hand_out(self) -> None:
        """Give every idle worker something to do, as far as there is something."""
        while self._crew.idle and not self._stopper.reason:
            units = list(islice(self._ready(), self._crew.idle))
            if not units:
                return
            for task in self._claim(units):
                self._crew.give(task)

    def _ready(self) -> Iterator[Unit]:
        """Take out what may go now; plan more where there is nothing."""
        nothing = True
        while True:
            unit = self._lanes.take(self._clock())
            self._set_aside()
            if unit is not None:
                nothing = False
                yield unit
            elif not (nothing and self._plan()):
                return

    def _set_aside(self) -> None:
        """Tell of what waits for sources that are to be left alone: its packages need not wait for it."""
        for unit, pause in self._lanes.set_aside():
            self._warn(unit, pause.why)
            self.summary.put_aside += len(unit.parts)
            told = [FetchResult(unit.source, FetchOutcome.PUT_ASIDE, part, error=pause.why) for part in unit.parts]
            self._had_its_turn(unit.package, told)

    def _claim(self, units: Sequence[Unit]) -> list[_Task]:
        """Make work of those units that nobody else does or has done."""
        rows = SourceStatus.objects.filter(source__in={unit.source for unit in units})
        with transaction.atomic():
            got = claims.claim(self._owner, {(unit.package, unit.source) for unit in units})
            packages = _read([package for package, _ in got], rows)
            tasks, others = [], []
            for unit in units:
                claim, package = got.pop((unit.package, unit.source), None), packages.get(unit.package)
                parts = self._still_wanted(unit, package) if package is not None else []
                if claim is not None and package is not None and parts:
                    tasks.append(_Task(unit, Work(package, parts, again=unit.tries > 0, claim=claim)))
                    continue
                others.append((unit, claim, package))
            claims.release([claim for _, claim, _ in others if claim is not None])
        for unit, claim, package in others:
            self._lanes.done(unit, answered=None)
            there = package is not None and of_unit(unit, sources.parts_of(package))
            done = "was fetched by another run" if there else ""
            self._pass_over(unit, "is being fetched by another run" if claim is None else done)
        return tasks

    def _still_wanted(self, unit: Unit, package: Package) -> list[Part]:
        """Return the parts that nobody has fetched since the run, or the last pass over them, began."""
        rows = {row.part: row for row in package.sources.all() if row.source == unit.source}
        # Another run may have had it in hand before this one began, and finished since: then it is no longer due.
        first_try = not (unit.tries or self._everything)
        due = {(part.source, part.name) for part in parts_due(package, everything=not first_try)}
        parts = []
        for part in of_unit(unit, sources.parts_of(package)):
            row = rows.get(part.name)
            since = None if row is None else row.last_success if unit.tries else row.last_attempt
            if (since is None or since < self._began) and (part.source, part.name) in due:
                parts.append(part)
        return parts

    def _pass_over(self, unit: Unit, why: str) -> None:
        """Note that there is nothing to do. `why`: another run does it, or did; "": it is of no package any more."""
        results = [FetchResult(unit.source, FetchOutcome.SKIPPED, part, error=why) for part in unit.parts if why]
        for result in results:
            self.summary.count(result)
        if not unit.told:
            self._had_its_turn(unit.package, results)

    def _fetch(self, task: _Task) -> None:
        """Do a task; in a thread of the crew."""
        with self._sessions.within(LONGEST):
            task.work.do(self._sessions)

    def _take_in(self) -> None:
        """Store and count what is done, all of it at once; wait for the first."""
        seconds = None
        if self._crew.idle and not self._stopper.reason:
            now = self._clock()
            at = self._lanes.next_at(now)
            seconds = None if at is None else max(at - now, 0.0)
        tasks = self._crew.finished(seconds)
        if not tasks:
            return
        store([task.work for task in tasks], self._owner)
        for task in tasks:
            self._settle(task)

    def _settle(self, task: _Task) -> None:
        """Put aside what is worth another try, and count the rest."""
        unit, results, now = task.unit, task.work.results, self._clock()
        asked = [result for result in results if was_asked(result)]
        self._lanes.done(unit, answered=any(result.reached for result in asked) if asked else None)
        if task.work.stopped is not None:
            if unit.told:
                self._cut_short(unit, results, now)
            return
        if asked:
            self._note_asked(unit.package)
        told: list[FetchResult] = []
        later: list[FetchResult] = []
        for result in results:
            self._upstreams.pauses.heed(self._upstreams.parts[unit.key], result)
            alone = result.outcome is FetchOutcome.LEFT_ALONE
            if not (_waits(result) or ((alone or result.again) and unit.tries + 1 < PASSES)):
                self.summary.count(result)
                told.append(result)
                continue
            if alone:
                self._warn(unit, result.error)
            later.append(result)
            told.append(replace(result, outcome=FetchOutcome.PUT_ASIDE))
        if later:
            self._put_aside(unit, later, now)
        if unit.told:
            self._progress(task.work.package, told, True)
        else:
            self._had_its_turn(unit.package, told)

    def _cut_short(self, unit: Unit, results: Sequence[FetchResult], now: float) -> None:
        """Count what came before the run was to end; the rest of `unit` is left as it was before."""
        came = {result.part: result for result in results if result.outcome in GOOD}
        for result in came.values():
            self.summary.count(result)
            self._note_asked(unit.package)
        last = tuple(result for result in unit.last if result.part not in came)
        if parts := tuple(part for part in unit.parts if part not in came):
            self._lanes.put_back(replace(unit, parts=parts, last=last), now)

    def _put_aside(self, unit: Unit, later: list[FetchResult], now: float) -> None:
        """Keep parts of a unit, and what came of them, for another pass.

        To be left alone is no try: a unit that only waits for its source comes back with its lane.
        """
        waits = all(map(_waits, later))
        pause = 0.0 if waits else min(_FIRST_PAUSE * 2**unit.tries, _LONGEST_PAUSE)
        parts = tuple(result.part for result in later)
        left = replace(unit, parts=parts, tries=unit.tries + (not waits), last=tuple(later), told=True)
        self._lanes.put_back(left, now + pause)
        self.summary.put_aside += len(later)

    def _had_its_turn(self, package: int, results: list[FetchResult]) -> None:
        """Note what came of a source; tell of the package when that was the last of its sources."""
        hand = self._in_hand[package]
        hand.left -= 1
        hand.results += results
        if not hand.left:
            del self._in_hand[package]
            if hand.asked:
                self.summary.tried += 1
            else:
                self._unasked.add(package)
            self._progress(hand.package, hand.results, False)

    def _note_asked(self, package: int) -> None:
        """Note that a source of `package` was asked: so it was tried, if not yet, as soon as it has had its turn."""
        if package in self._in_hand:
            self._in_hand[package].asked = True
        elif package in self._unasked:
            self._unasked.remove(package)
            self.summary.tried += 1

    def _warn(self, unit: Unit, why: str) -> None:
        if unit.key not in self._warned:
            self._warned.add(unit.key)
            logger.warning("%s is put aside: %s", unit.source, why)


def run(
    primary_keys: Sequence[int], stopper: Stopper, progress: Progress, *, everything: bool = False, workers: int = 1
) -> Summary:
    """Refresh these packages, and tell `progress` of each. `everything`: and not only what the ledger says is due."""
    return Run(primary_keys, stopper, progress, everything=everything, workers=workers).run()


def _waits(result: FetchResult) -> bool:
    """Say whether its source was not asked because it is to be left alone, until a moment that is known."""
    return not was_asked(result) and result.retry_at is not None and result.retry_at > datetime.now(UTC)


def _read(keys: Sequence[int], rows: QuerySet[SourceStatus]) -> dict[int, Package]:
    """Read packages, and these rows of theirs."""
    packages = Package.objects.filter(pk__in=keys).only(*_READ)
    return {package.pk: package for package in packages.prefetch_related(Prefetch("sources", rows))}
