"""A run over packages. It fetches each source of each package.

Parts that failed for a transient reason are fetched again later in the run. The main thread of the run plans, claims,
stores and counts. The threads of the pool only fetch, so only the main thread writes to the database. The threads share
the queues of tasks, the sessions, the stopper, and two observers of events: the pauses and the counters of the summary.
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
from package.jobs import claims, crash_isolation
from package.jobs.claimer import Claimer, Task, read
from package.jobs.crash_isolation import Treatment
from package.jobs.due import parts_due
from package.jobs.fetching import LONGEST
from package.jobs.lanes import Lanes, Unit
from package.jobs.pauses import Pause, Pauses, is_suspect, was_asked
from package.jobs.refresh_summary import RefreshSummary
from package.jobs.run_retries import comes_again, pause_before, waits
from package.jobs.stopper import Stopped, Stopper
from package.jobs.storing import store, store_without_sources
from package.jobs.unfetched import leave
from package.jobs.worker_pool import WorkerPool
from package.models import Package, SourceStatus
from package.sources import package_parts
from package.sources.fetch_results import GOOD, FetchOutcome, FetchResult
from package.sources.package_parts import Part
from package.sources.sessions import Sessions

logger = logging.getLogger(__name__)

PATIENCE = 30.0
"""Maximum seconds in total that a run without a time budget waits for parts that were put aside, when nothing else is
left to do."""
_CHUNK = 200
"""Number of packages per database query."""
_UNFINISHED = 5000
"""Maximum number of packages in progress. Each takes up memory."""

Progress = Callable[[Package, list[FetchResult], bool], None]
"""A function that is called with a package, the results of its parts, and whether these parts were put aside before."""


@dataclass
class _InHand:
    """A package in progress."""

    package: Package
    left: int
    """Number of its sources that have neither been fetched nor put aside."""
    asked: bool = False
    """Whether a request was sent to at least one of its sources."""
    results: list[FetchResult] = field(default_factory=list)


class _Upstreams:
    """The limits and pauses of the upstreams of a run, for its lanes."""

    def __init__(self, workers: int) -> None:
        self.pauses = Pauses()
        self.parts: dict[str, Part] = {}
        """One part of each lane, by the key of the lane. All parts of a lane have the same limit and pauses."""
        self._workers = workers

    def limit(self, key: str) -> int:
        """Return how many units of a lane may be in progress.

        This is twice the upstream's `max_concurrency`, so that there is always another request to send.
        """
        config = process.current().config
        most = config.upstreams.get(key, config.default).max_concurrency
        return self._workers if most is None else 2 * most

    def pause(self, key: str) -> Pause | None:
        return self.pauses.of(self.parts[key])

    def is_suspect(self, key: str) -> bool:
        return is_suspect(self.parts[key])


class Run:
    """Refreshes packages. The results of a source are saved without waiting for the other sources of the package."""

    def __init__(
        self, primary_keys: Sequence[int], stopper: Stopper, progress: Progress, *, everything: bool, workers: int
    ) -> None:
        """Prepare a run.

        :param everything: whether to fetch all parts of the packages, not only those that are due.
        :param workers: number of threads that fetch.
        """
        self.summary = RefreshSummary()
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
        """Packages that were reported, but for which no request has been sent yet."""
        self._patience = PATIENCE
        self._warned: set[str] = set()
        self._kept_back: dict[Treatment, list[Unit]] = {Treatment.ALONE: [], Treatment.POSTPONED: []}
        """Units that are kept until the end of the run, because their fetch may kill this process."""
        self._up_to = Treatment.NORMAL
        """Units with this treatment or a smaller one are fetched now. With `ALONE`, one unit is fetched at a time, so
        that the claim of a killed process shows which unit was the cause."""
        self._sessions = Sessions.made(wait=stopper.wait, before=stopper.heed)
        self._pool: WorkerPool[Task] = WorkerPool(workers, self._fetch)

    def run(self) -> RefreshSummary:
        """Refresh the packages until nothing is left to do, or the run must end. Returns the summary."""
        summary = self.summary
        try:
            with summary.measured(), observe(self._upstreams.pauses.observe):
                self._go_on()
                self._postpone()
        except (OperationalError, InterfaceError) as exc:
            self._lose_the_database(exc)
        except BaseException:  # the run is aborted: return its claims, so that other runs can claim them
            self._stopper.stop("aborted")  # ends the threads of the pool, too
            claims.release_all(self._claimer.owner)
            raise
        finally:
            self._pool.close()
            self._sessions.close()
        self._begin_alone()  # moves the units that were kept back to the lanes, to count them with the rest
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
                if self._pool.busy:
                    self._take_in()
                elif self._stopper.reason or not (self._wait() or self._begin_alone()):
                    return
        except Stopped:
            return

    def _wait(self) -> bool:
        """Wait until a unit that was put aside is ready. Returns False if there is none, or if this takes too long."""
        now = self._clock()
        at = self._lanes.next_at(now)
        seconds = 0.0 if at is None else max(at - now, 0.0)
        left = self._stopper.left
        if at is None or seconds > (self._patience if left is None else left):
            return False
        self._patience -= seconds
        self._stopper.wait(seconds)
        return True

    def _begin_alone(self) -> bool:
        """Continue with the units that may kill the process, one at a time. Returns False if there are none."""
        alone, self._kept_back[Treatment.ALONE] = self._kept_back[Treatment.ALONE], []
        for unit in alone:
            if unit.told:
                self._lanes.put_back(unit, self._clock())
            else:
                self._lanes.put(unit, self._clock())
        if alone:
            self._up_to = Treatment.ALONE
        return bool(alone)

    def _lose_the_database(self, error: Exception) -> None:
        logger.error("The database failed; the run ends here", exc_info=error)
        self._stopper.stop(f"the database failed: {type(error).__name__}")
        self.summary.database_failed = True
        while self._pool.busy:
            self._pool.finished(None)
        # If the database works again, return the claims, so that other runs need not wait for the end of the leases.
        with suppress(OperationalError, InterfaceError):
            connection.close_if_unusable_or_obsolete()
            claims.release_all(self._claimer.owner)

    def _plan(self) -> bool:
        """Begin more packages. Returns False if there are none, or if `_UNFINISHED` packages are in progress."""
        if not self._queue or len(self._in_hand) >= _UNFINISHED:
            return False
        keys = list(islice(self._queue, _CHUNK))
        light = SourceStatus.objects.only("package", "source", "part", "next_due", "last_success")
        packages = read(keys, light)
        for key in keys:
            self._queue.popleft()
            if key in packages:  # otherwise the package has been deleted
                self._begin(packages[key])
        return True

    def _begin(self, package: Package) -> None:
        by_source: dict[tuple[str, str], list[Part]] = {}
        for part in parts_due(package, everything=self._everything):
            by_source.setdefault((part.source, part.key), []).append(part)
        self._in_hand[package.pk] = _InHand(package, max(len(by_source), 1))
        if not by_source:
            results = [] if package_parts.parts_of(package) else [store_without_sources(package)]
            for result in results:
                self.summary.count(result)
            self._had_its_turn(package.pk, results)
        for (source, key), parts in by_source.items():
            self._upstreams.parts[key] = parts[0]
            self._lanes.put(Unit(package.pk, source, key, tuple(part.name for part in parts)), self._clock())

    @property
    def _idle(self) -> int:
        """Number of units that may be started now."""
        if self._up_to is Treatment.ALONE:
            return 0 if self._pool.busy else 1
        return self._pool.idle

    def _hand_out(self) -> None:
        """Give tasks to the idle threads until there are no more idle threads or tasks."""
        while self._idle and not self._stopper.reason:
            units = list(islice(self._ready(), self._idle))
            if not units:
                return
            for task in self._claim(units):
                self._pool.give(task)

    def _ready(self) -> Iterator[Unit]:
        """Remove and yield the units that may be fetched now. If there are none, begin more packages first."""
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
        """Put the units of paused sources aside, and report this, so that their packages need not wait for them."""
        for unit, pause in self._lanes.set_aside():
            self._warn(unit, pause.why)
            self.summary.put_aside += len(unit.parts)
            told = [FetchResult(unit.source, FetchOutcome.PUT_ASIDE, part, error=pause.why) for part in unit.parts]
            self._had_its_turn(unit.package, told)

    def _claim(self, units: Sequence[Unit]) -> list[Task]:
        """Claim units and return the tasks to do now. The other units are skipped, or kept until the end of the run."""
        claimed = self._claimer.claim(units, self._up_to)
        for treatment, unit in claimed.later:
            self._lanes.done(unit, answered=None)
            self._kept_back[treatment].append(unit)
        for unit, why in claimed.others:
            self._lanes.done(unit, answered=None)
            self._pass_over(unit, why)
        return claimed.tasks

    def _postpone(self) -> None:
        """Postpone the units whose fetch has killed too many processes. Their packages move to the end of the queue."""
        units = self._kept_back[Treatment.POSTPONED]
        if not units:
            return
        claimed = self._claimer.claim(units, Treatment.POSTPONED)
        for task in claimed.tasks:
            crash_isolation.put_off(task.work, self._sessions)
        store([task.work for task in claimed.tasks], self._claimer.owner)
        for task in claimed.tasks:
            self._count_unasked(task.unit, task.work.results)
        for unit, why in claimed.others:
            self._pass_over(unit, why)

    def _pass_over(self, unit: Unit, why: str) -> None:
        """Skip a unit.

        :param why: the reason: another run fetches it or has fetched it; "": its package was deleted or has moved.
        """
        results = [FetchResult(unit.source, FetchOutcome.SKIPPED, part, error=why) for part in unit.parts if why]
        self._count_unasked(unit, results)

    def _count_unasked(self, unit: Unit, results: list[FetchResult]) -> None:
        for result in results:
            self.summary.count(result)
        if not unit.told:
            self._had_its_turn(unit.package, results)

    def _fetch(self, task: Task) -> None:
        """Do a task, in a thread of the pool."""
        with self._sessions.within(LONGEST):
            task.work.do(self._sessions)

    def _take_in(self) -> None:
        """Wait for a finished task, then store and count all finished tasks together."""
        seconds = None
        if self._idle and not self._stopper.reason:
            now = self._clock()
            at = self._lanes.next_at(now)
            seconds = None if at is None else max(at - now, 0.0)
        tasks = self._pool.finished(seconds)
        if not tasks:
            return
        store([task.work for task in tasks], self._claimer.owner)
        for task in tasks:
            self._settle(task)

    def _settle(self, task: Task) -> None:
        """Put those parts of a finished task aside that are fetched again later, and count the others."""
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
        """Count the parts that were fetched before the run had to end. The rest of `unit` stays put aside."""
        came = {result.part: result for result in results if result.outcome in GOOD}
        for result in came.values():
            self.summary.count(result)
            self._note_asked(unit.package)
        last = tuple(result for result in unit.last if result.part not in came)
        if parts := tuple(part for part in unit.parts if part not in came):
            self._lanes.put_back(replace(unit, parts=parts, last=last), now)

    def _put_aside(self, unit: Unit, later: list[FetchResult], now: float) -> None:
        """Keep parts of a unit, which are fetched again later in the run, and their results.

        If all parts only wait for the end of a pause, the fetch does not count as a try, and there is no further delay.
        """
        only_waits = all(map(waits, later))
        pause = 0.0 if only_waits else pause_before(unit.tries)
        parts = tuple(result.part for result in later)
        left = replace(unit, parts=parts, tries=unit.tries + (not only_waits), last=tuple(later), told=True)
        self._lanes.put_back(left, now + pause)
        self.summary.put_aside += len(later)

    def _had_its_turn(self, package: int, results: list[FetchResult]) -> None:
        """Record the results of a source of a package. After the last source of the package, report the package."""
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
        """Record that a request was sent for `package`, so that the package counts (once) in `BaseSummary.tried`."""
        if package in self._in_hand:
            self._in_hand[package].asked = True
        elif package in self._unasked:
            self._unasked.remove(package)
            self.summary.tried += 1

    def _warn(self, unit: Unit, why: str) -> None:
        if unit.key not in self._warned:
            self._warned.add(unit.key)
            logger.warning("Refreshing %s paused: %s", unit.source, why)


def run(
    primary_keys: Sequence[int], stopper: Stopper, progress: Progress, *, everything: bool = False, workers: int = 1
) -> RefreshSummary:
    """Refresh these packages and call `progress` with the results of each. Returns the summary.

    :param everything: whether to fetch all parts of the packages, not only those that are due.
    :param workers: number of threads that fetch.
    """
    return Run(primary_keys, stopper, progress, everything=everything, workers=workers).run()
