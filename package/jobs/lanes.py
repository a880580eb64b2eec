"""The units that a run still has to fetch, in one queue (lane) for each upstream: decides which unit is next.

Whether an upstream may be called now is not decided here; `Upstreams` is asked each time. This module does no I/O and
has no clock. It is not thread-safe: only the run's own thread uses it.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Protocol

from package.jobs.pauses import Pause
from package.sources.results import FetchResult


@dataclass(frozen=True, slots=True)
class Unit:
    """The smallest piece of work: parts of one package that come from one source."""

    package: int
    """Primary key of the package."""
    source: str
    key: str
    """The lane, see `Part.key`."""
    parts: tuple[str, ...]
    tries: int = 0
    """How often the parts were fetched in this run already."""
    last: tuple[FetchResult, ...] = ()
    """The results of the last fetch, if there was one."""
    told: bool = False
    """The unit had its turn and was put aside. Its package need not wait for it."""


class Upstreams(Protocol):
    """What lanes need to know about upstreams, by the keys of the lanes."""

    def limit(self, key: str) -> int:
        """Return how many units of a lane may be in progress at once."""

    def pause(self, key: str) -> Pause | None:
        """Return the pause of a lane; None if its units may be fetched."""

    def is_suspect(self, key: str) -> bool:
        """Return whether a few more failures would show that the upstream is down."""


@dataclass(slots=True)
class _Lane:
    key: str
    limit: int
    ready: deque[tuple[float, int, Unit]] = field(default_factory=deque)
    """Units that were not put aside, in order: the time since when each is ready, its number, the unit."""
    later: list[tuple[float, int, Unit]] = field(default_factory=list)
    """A heap of the units that were put aside: the time from which each may be fetched, its number, the unit."""
    under_way: int = 0
    """Units in progress."""
    pause: Pause | None = None
    """The last pause that was seen. It may be over."""
    probing: bool = False
    """The lane was paused. Only one unit at a time is fetched until one is answered."""
    silent: bool = False
    """The last request to the upstream was not answered."""

    @property
    def full(self) -> bool:
        return self.under_way >= (1 if self.probing else self.limit)

    def first(self, now: float) -> tuple[float, int, Unit] | None:
        """Return the next unit that is ready, with its time and number; None if no unit is ready."""
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
        """Keys of paused lanes with units that `set_aside` has not returned yet."""

    def put(self, unit: Unit, now: float) -> None:
        """Add `unit` at the end of its lane."""
        self._lane(unit.key).ready.append((now, next(self._order), unit))

    def put_back(self, unit: Unit, not_before: float) -> None:
        """Add `unit` again, to be fetched at `not_before` or later."""
        heapq.heappush(self._lane(unit.key).later, (not_before, next(self._order), unit))

    def take(self, now: float) -> Unit | None:
        """Remove and return the next unit; None if no unit can be fetched now. The caller must pass it to `done` later.

        This is the unit that has been ready for longest, among lanes that are neither full nor paused. Units of a lane
        that is suspected to be down come first. Otherwise, with few workers and many sources, the failures of a source
        would be too far apart to open its breaker.
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
        """Put the remaining units of paused lanes aside, and return each with its pause. They keep their place.

        This considers the lanes that `take` or another method has found to be paused.
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

        :param answered: whether its server answered; None if no request was sent.
        """
        lane = self._lanes[unit.key]
        lane.under_way -= 1
        if answered is not None:
            lane.silent = not answered
        if answered:
            lane.probing = False

    def next_at(self, now: float) -> float | None:
        """Return when `take` will return a unit; None: not before a unit that is in progress is done, or never."""
        moments = []
        for lane in self._lanes.values():
            if not lane.full and (lane.ready or lane.later):
                pause = self._look(lane)
                moments.append(max(pause.until if pause else now, now if lane.ready else lane.later[0][0]))
        return min(moments, default=None)

    def rest(self) -> Iterator[tuple[Unit, Pause | None]]:
        """Return the units that are left, each with the last pause of its lane."""
        for lane in self._lanes.values():
            if lane.ready or lane.later:
                self._look(lane)
            for _, _, unit in (*lane.ready, *lane.later):
                yield unit, lane.pause

    def _look(self, lane: _Lane) -> Pause | None:
        """Return the current pause of a lane, and remember it."""
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
