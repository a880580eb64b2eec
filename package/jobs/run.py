"""A run over packages: each source of each in its turn, and again later what could not be fetched at once.

The run's own thread plans, claims, stores and counts; its crew fetches. So the two share nothing but what is handed
over, and the database has one writer.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import islice

from django.db import InterfaceError, OperationalError, connection

from core.http import observe, process
from package.jobs import claims, deaths
from package.jobs.another_pass import comes_again, pause_before, waits
from package.jobs.claiming import Claimer, Task, read
from package.jobs.deaths import Danger
from package.jobs.due import parts_due
from package.jobs.fetching import LONGEST
from package.jobs.lanes import Lanes, Unit
from package.jobs.leftovers import leave
from package.jobs.pauses import Pause, Pauses, is_suspect, was_asked
from package.jobs.refresh_one import nothing_to_ask
from package.jobs.stopper import Stopped, Stopper
from package.jobs.storing import store
from package.jobs.summary import Summary
from package.jobs.workers import Crew
from package.models import Package, SourceStatus
from package.sources import registry
from package.sources.registry import Part
from package.sources.results import GOOD, FetchOutcome, FetchResult
from package.sources.sessions import Sessions

logger = logging.getLogger(__name__)

PATIENCE = 30.0
"""Seconds a run waits, in all, for what it has put aside when nothing else is left to do."""
_CHUNK = 200
"""Packages that are read at a time."""
_UNFINISHED = 5000
"""Packages that may wait for one of their sources before more are begun: they take up memory."""

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
        self._claimer = Claimer(everything=everything)
        self._clock = process.current().runtime.clock
        self._upstreams = _Upstreams(workers)
        self._lanes = Lanes(self._upstreams)
        self._in_hand: dict[int, _InHand] = {}
        self._unasked: set[int] = set()
        """Packages that had their turn, while no source of theirs could be asked."""
        self._patience = PATIENCE
        self._warned: set[str] = set()
        self._dangerous: dict[Danger, list[Unit]] = {Danger.RISKY: [], Danger.DEADLY: []}
        """What is left for the end, as it may kill this process, or has killed others."""
        self._up_to = Danger.NONE
        """From `RISKY` on, one unit at a time is fetched: so it is known which one killed the process."""
        self._sessions = Sessions.made(wait=stopper.wait, before=stopper.heed)
        self._crew: Crew[Task] = Crew(workers, self._fetch)

    def run(self) -> Summary:
        """Work until nothing is left to do, or the run is to end."""
        summary = self.summary
        try:
            with summary.measured(), observe(self._upstreams.pauses.observe):
                self._go_on()
                self._put_off_deadly()
        except (OperationalError, InterfaceError) as exc:
            self._lose_the_database(exc)
        except BaseException:  # aborted: what is in hand is for others
            self._stopper.stop("aborted")  # the crew's threads go on until they hear of it
            claims.release_all(self._claimer.owner)
            raise
        finally:
            self._crew.close()
            self._sessions.close()
        self._begin_risky()  # what had no turn is told of with the rest
        summary.left = len(self._queue) + len(self._in_hand)
        is_something_put_aside = any(unit.told for unit, _ in self._lanes.rest())
        summary.stopped = self._stopper.reason if summary.left or is_something_put_aside else ""
        if not summary.database_failed:
            try:
                leave(self._lanes, summary, self._claimer.began)
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
                elif self._stopper.reason or not (self._wait() or self._begin_risky()):
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

    def _begin_risky(self) -> bool:
        """Go on with what may kill the process, one unit at a time; False: there is none."""
        risky, self._dangerous[Danger.RISKY] = self._dangerous[Danger.RISKY], []
        for unit in risky:
            if unit.told:
                self._lanes.put_back(unit, self._clock())
            else:
                self._lanes.put(unit, self._clock())
        if risky:
            self._up_to = Danger.RISKY
        return bool(risky)

    def _lose_the_database(self, error: Exception) -> None:
        logger.error("The database failed; the run ends here", exc_info=error)
        self._stopper.stop(f"the database failed: {type(error).__name__}")
        self.summary.database_failed = True
        while self._crew.busy:
            self._crew.finished(None)
        with suppress(OperationalError, InterfaceError):  # it may be back: then nobody has to wait for the leases
            connection.close_if_unusable_or_obsolete()
            claims.release_all(self._claimer.owner)

    def _plan(self) -> bool:
        """Begin with more packages; False: there are none, or enough are in hand."""
        if not self._queue or len(self._in_hand) >= _UNFINISHED:
            return False
        keys = list(islice(self._queue, _CHUNK))
        light = SourceStatus.objects.only("package", "source", "part", "next_due", "last_success")
        packages = read(keys, light)
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
            results = [] if registry.parts_of(package) else [nothing_to_ask(package)]
            for result in results:
                self.summary.count(result)
            self._had_its_turn(package.pk, results)
        for (source, key), parts in by_source.items():
            self._upstreams.parts[key] = parts[0]
            self._lanes.put(Unit(package.pk, source, key, tuple(part.name for part in parts)), self._clock())

    @property
    def _idle(self) -> int:
        """How many more units may be begun."""
        if self._up_to is Danger.RISKY:
            return 0 if self._crew.busy else 1
        return self._crew.idle

    def _hand_out(self) -> None:
        """Give every idle worker something to do, as far as there is something."""
        while self._idle and not self._stopper.reason:
            units = list(islice(self._ready(), self._idle))
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

    def _claim(self, units: Sequence[Unit]) -> list[Task]:
        """Return the work that is to be done now; settle what becomes of the other units."""
        claimed = self._claimer.claim(units, self._up_to)
        for danger, unit in claimed.later:
            self._lanes.done(unit, answered=None)
            self._dangerous[danger].append(unit)
        for unit, why in claimed.others:
            self._lanes.done(unit, answered=None)
            self._pass_over(unit, why)
        return claimed.tasks

    def _put_off_deadly(self) -> None:
        """Send what has killed too many processes to the end of the queue: behind all that this run has tried."""
        units = self._dangerous[Danger.DEADLY]
        if not units:
            return
        claimed = self._claimer.claim(units, Danger.DEADLY)
        for task in claimed.tasks:
            deaths.put_off(task.work, self._sessions)
        store([task.work for task in claimed.tasks], self._claimer.owner)
        for task in claimed.tasks:
            self._count_unasked(task.unit, task.work.results)
        for unit, why in claimed.others:
            self._pass_over(unit, why)

    def _pass_over(self, unit: Unit, why: str) -> None:
        """Note that there is nothing to do. `why`: another run does it, or did; "": it is of no package any more."""
        results = [FetchResult(unit.source, FetchOutcome.SKIPPED, part, error=why) for part in unit.parts if why]
        self._count_unasked(unit, results)

    def _count_unasked(self, unit: Unit, results: list[FetchResult]) -> None:
        for result in results:
            self.summary.count(result)
        if not unit.told:
            self._had_its_turn(unit.package, results)

    def _fetch(self, task: Task) -> None:
        """Do a task; in a thread of the crew."""
        with self._sessions.within(LONGEST):
            task.work.do(self._sessions)

    def _take_in(self) -> None:
        """Store and count what is done, all of it at once; wait for the first."""
        seconds = None
        if self._idle and not self._stopper.reason:
            now = self._clock()
            at = self._lanes.next_at(now)
            seconds = None if at is None else max(at - now, 0.0)
        tasks = self._crew.finished(seconds)
        if not tasks:
            return
        store([task.work for task in tasks], self._claimer.owner)
        for task in tasks:
            self._settle(task)

    def _settle(self, task: Task) -> None:
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
            if not comes_again(result, unit.tries):
                self.summary.count(result)
                told.append(result)
                continue
            if result.outcome is FetchOutcome.LEFT_ALONE:
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
        only_waits = all(map(waits, later))
        pause = 0.0 if only_waits else pause_before(unit.tries)
        parts = tuple(result.part for result in later)
        left = replace(unit, parts=parts, tries=unit.tries + (not only_waits), last=tuple(later), told=True)
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
