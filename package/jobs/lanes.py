"""The queues of a run, called lanes. Each upstream has one, with the units that are still to be fetched from it.

`Lanes.take` decides which unit is fetched next. Whether an upstream may be called now is decided by `Upstreams`, which
is asked each time. This module does no I/O and has no clock. It is not thread-safe, because only the main thread of a
run uses it.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Protocol

from package.jobs.pauses import Pause
from package.sources.fetch_results import FetchResult
from package.sources.package_parts import Part


@dataclass(frozen=True, slots=True)
class Unit:
    """The smallest piece of work: those parts of one package that are fetched from one source."""

    package: int
    """Primary key of the package."""
    source: str
    key: str
    """The key of the lane: see `Part.key`."""
    parts: tuple[str, ...]
    """The names of the parts."""
    tries: int = 0
    """How often the parts were fetched in this run so far."""
    last: tuple[FetchResult, ...] = ()
    """The results of the last fetch in this run; empty: there was none."""
    told: bool = False
    """Whether the unit was put aside, and this was reported. Its package is reported without waiting for the unit."""

    def among(self, parts: Iterable[Part]) -> list[Part]:
        """Return those of `parts`, the parts of a package, that belong to this unit.

        The list is empty if the address of the package has changed.
        """
        return [
            part for part in parts if (part.source, part.key) == (self.source, self.key) and part.name in self.parts
        ]


class Upstreams(Protocol):
    """The limits and pauses of upstreams, by the keys of their lanes."""

    def limit(self, key: str) -> int:
        """Return how many units of a lane may be in progress at once."""

    def pause(self, key: str) -> Pause | None:
        """Return the pause of a lane; None: its units may be fetched."""

    def is_suspect(self, key: str) -> bool:
        """Return whether a few more failures would open the breaker of the upstream."""


@dataclass(slots=True)
class _Lane:
    key: str
    limit: int
    ready: deque[tuple[float, int, Unit]] = field(default_factory=deque)
    """Units that were not put aside, in order. Each item is the time at which the unit was added, a sequence number and
    the unit."""
    later: list[tuple[float, int, Unit]] = field(default_factory=list)
    """A heap of the units that were put aside. Each item is the time from which the unit may be fetched, a sequence
    number and the unit."""
    under_way: int = 0
    """Number of units in progress."""
    pause: Pause | None = None
    """The last pause that was found. It may be over."""
    probing: bool = False
    """Whether only one unit at a time is fetched, because the lane was paused and no request has succeeded since."""
    silent: bool = False
    """Whether the last request to the upstream failed."""

    @property
    def full(self) -> bool:
        return self.under_way >= (1 if self.probing else self.limit)

    def first(self, now: float) -> tuple[float, int, Unit] | None:
        """Return the next item of `ready` or `later` whose time has come; None: there is none."""
        ready = self.ready[0] if self.ready else None
        later = self.later[0] if self.later and self.later[0][0] <= now else None
        return min(ready, later, key=lambda each: each[:2]) if ready and later else ready or later


class Lanes:
    """The lanes of a run. All times are in seconds on the run's clock."""

    def __init__(self, upstreams: Upstreams) -> None:
        self._upstreams = upstreams
        self._lanes: dict[str, _Lane] = {}
        self._order = count()
        self._paused: set[str] = set()
        """Keys of the paused lanes that have units which `set_aside` has not returned yet."""

    def put(self, unit: Unit, now: float) -> None:
        """Add `unit` at the end of its lane."""
        self._lane(unit.key).ready.append((now, next(self._order), unit))

    def put_back(self, unit: Unit, not_before: float) -> None:
        """Add `unit` again, to be fetched at `not_before` or later."""
        heapq.heappush(self._lane(unit.key).later, (not_before, next(self._order), unit))

    def take(self, now: float) -> Unit | None:
        """Remove and return the next unit; None: no unit can be fetched now. The caller must pass it to `done` later.

        The next unit is the one that has been ready for the longest time, among the lanes that are neither full nor
        paused. Units of a lane whose upstream may be down come first. Otherwise, with few workers and many sources, the
        failures of a source would be too far apart to open its breaker.
        """
        waiting = [
            (not (lane.silent and self._upstreams.is_suspect(lane.key)), *first[:2], lane)
            for lane in self._lanes.values()
            if not lane.full and (first := lane.first(now))
        ]
        for _, _, order, lane in sorted(waiting, key=lambda each: each[:3]):
            if self._look(lane) is not None:
                continue
            lane.under_way += 1
            if lane.ready and lane.ready[0][1] == order:
                return lane.ready.popleft()[2]
            return heapq.heappop(lane.later)[2]
        return None

    def set_aside(self) -> list[tuple[Unit, Pause]]:
        """Put the remaining units of paused lanes aside, and return each with the pause of its lane.

        The units keep their place in the order. A lane counts as paused here only if another method has found it paused
        since the last call.
        """
        units = []
        for key in sorted(self._paused):
            lane = self._lanes[key]
            while lane.pause is not None and lane.ready:
                since, order, unit = lane.ready.popleft()
                heapq.heappush(lane.later, (since, order, replace(unit, told=True)))
                units.append((unit, lane.pause))
        self._paused.clear()
        return units

    def done(self, unit: Unit, *, answered: bool | None) -> None:
        """Record that `unit` is no longer in progress.

        :param answered: False if the request failed, with no response or one such as 503; None: no request was sent.
        """
        lane = self._lanes[unit.key]
        lane.under_way -= 1
        if answered is not None:
            lane.silent = not answered
        if answered:
            lane.probing = False

    def next_at(self, now: float) -> float | None:
        """Return the time at which `take` will return a unit.

        None: there are no units, or `take` returns none before a unit in progress is done.
        """
        moments = []
        for lane in self._lanes.values():
            if not lane.full and (lane.ready or lane.later):
                pause = self._look(lane)
                moments.append(max(pause.until if pause else now, now if lane.ready else lane.later[0][0]))
        return min(moments, default=None)

    def rest(self) -> Iterator[tuple[Unit, Pause | None]]:
        """Yield the units that are left, each with the last pause of its lane."""
        for lane in self._lanes.values():
            if lane.ready or lane.later:
                self._look(lane)
            for _, _, unit in (*lane.ready, *lane.later):
                yield unit, lane.pause

    def _look(self, lane: _Lane) -> Pause | None:
        """Return the current pause of a lane, and store it in the lane; None: the lane is not paused."""
        pause = self._upstreams.pause(lane.key)
        if pause is not None:
            lane.pause, lane.probing = pause, True
            if lane.ready:
                self._paused.add(lane.key)
        return pause

    def _lane(self, key: str) -> _Lane:
        lane = self._lanes.get(key)
        if lane is None:
            lane = self._lanes[key] = _Lane(key, self._upstreams.limit(key))
        return lane
