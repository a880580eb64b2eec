"""What a run still has to do, one lane for each upstream: whose turn it is, and who waits.

Whether a lane may go at all is not decided here: that is asked each time. No I/O and no clock of its own; not safe for
threads: the run's own thread has it.
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
    """What is fetched at a time: parts of one package that one source knows."""

    package: int
    """Its primary key."""
    source: str
    key: str
    """The lane, see `Part.key`."""
    parts: tuple[str, ...]
    tries: int = 0
    """How often they were asked for already."""
    last: tuple[FetchResult, ...] = ()
    """What came of them, if they were."""
    told: bool = False
    """It had its turn, and was put aside."""


class Upstreams(Protocol):
    """What lanes need to know, by their keys."""

    def limit(self, key: str) -> int:
        """Return how many units of a lane may be under way at once."""

    def pause(self, key: str) -> Pause | None:
        """Return until when nothing of a lane may go; None: it may."""

    def is_suspect(self, key: str) -> bool:
        """Say whether a few more failures would show that the upstream is down."""


@dataclass(slots=True)
class _Lane:
    key: str
    limit: int
    ready: deque[tuple[float, int, Unit]] = field(default_factory=deque)
    """Those that have not been asked for, in their order: since when, and in which order."""
    later: list[tuple[float, int, Unit]] = field(default_factory=list)
    """A heap of those that were put aside: when they may go, in which order they came, and what."""
    under_way: int = 0
    pause: Pause | None = None
    """The last one that was seen; it may be over."""
    probing: bool = False
    """It was paused: one at a time goes, until one is answered."""
    silent: bool = False
    """The last one that was asked was not answered."""

    @property
    def full(self) -> bool:
        return self.under_way >= (1 if self.probing else self.limit)

    def first(self, now: float) -> tuple[float, int, Unit] | None:
        """Return what goes next, and since when it could; None: nothing yet."""
        ready = self.ready[0] if self.ready else None
        later = self.later[0] if self.later and self.later[0][0] <= now else None
        return min(ready, later, key=lambda each: each[:2]) if ready and later else ready or later


class Lanes:
    """Times are seconds on the run's clock."""

    def __init__(self, upstreams: Upstreams) -> None:
        self._upstreams = upstreams
        self._lanes: dict[str, _Lane] = {}
        self._order = count()
        self._paused: set[str] = set()
        """Lanes that were found to be paused and have units that nobody was told of."""

    def put(self, unit: Unit, now: float) -> None:
        """Add `unit`, behind all others."""
        self._lane(unit.key).ready.append((now, next(self._order), unit))

    def put_back(self, unit: Unit, not_before: float) -> None:
        """Add `unit` for later."""
        heapq.heappush(self._lane(unit.key).later, (not_before, next(self._order), unit))

    def take(self, now: float) -> Unit | None:
        """Take out the unit that goes next; None: there is none. Give it to `done` afterwards.

        That is the one that could go for longest, of a lane that may go. But before all others come those of a lane
        that is suspected to be down: where few ask many sources, failures of each would be too far apart to tell.
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
        """Turn what has not been asked for in paused lanes into what was put aside; it keeps its place. Returns it.

        Paused are those that `take` has found to be.
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
        """Note that `unit` is no longer under way. `answered`: its server is at work; None: it was not asked."""
        lane = self._lanes[unit.key]
        lane.under_way -= 1
        if answered is not None:
            lane.silent = not answered
        if answered:
            lane.probing = False

    def next_at(self, now: float) -> float | None:
        """Say when `take` will have one; None: not before one that is under way is done, if ever."""
        moments = []
        for lane in self._lanes.values():
            if not lane.full and (lane.ready or lane.later):
                pause = self._look(lane)
                moments.append(max(pause.until if pause else now, now if lane.ready else lane.later[0][0]))
        return min(moments, default=None)

    def rest(self) -> Iterator[tuple[Unit, Pause | None]]:
        """Go through what is left, and why its lane is, or was, paused."""
        for lane in self._lanes.values():
            if lane.ready or lane.later:
                self._look(lane)
            for _, _, unit in (*lane.ready, *lane.later):
                yield unit, lane.pause

    def _look(self, lane: _Lane) -> Pause | None:
        """Return the pause of a lane, which is remembered."""
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
