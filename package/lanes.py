"""What a run still has to do, one lane for each upstream: whose turn it is, who waits, and until when.

No I/O and no clock of its own; not safe for threads: the run's own thread has it.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import count

from package.results import FetchResult


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


@dataclass(slots=True)
class _Lane:
    limit: int
    held_until: float = 0.0
    why: str = ""
    ready: deque[tuple[float, int, Unit]] = field(default_factory=deque)
    """Those that have not been asked for, in their order: since when, and in which order."""
    later: list[tuple[float, int, Unit]] = field(default_factory=list)
    """A heap of those that were put aside: when they may go, in which order they came, and what."""
    under_way: int = 0
    probing: bool = False
    """It was held: one at a time goes, until one is answered."""

    @property
    def full(self) -> bool:
        return self.under_way >= (1 if self.probing else self.limit)

    def first(self, now: float) -> tuple[float, int, Unit] | None:
        """Return what goes next, and since when it could; None: nothing yet."""
        ready = self.ready[0] if self.ready else None
        later = self.later[0] if self.later and self.later[0][0] <= now else None
        return min(ready, later, key=lambda each: each[:2]) if ready and later else ready or later

    def next_at(self, now: float) -> float | None:
        """Say when its next unit may go; None: it has none, or that is no matter of time."""
        if self.full or not (self.ready or self.later):
            return None
        return max(self.held_until, now if self.ready else self.later[0][0])


class Lanes:
    """Times are seconds on the run's clock."""

    def __init__(self, limit: Callable[[str], int]) -> None:
        """`limit`: how many units of a lane may be under way at once."""
        self._limit = limit
        self._lanes: dict[str, _Lane] = {}
        self._order = count()

    @property
    def under_way(self) -> int:
        """How many units are, in all lanes."""
        return sum(lane.under_way for lane in self._lanes.values())

    def put(self, unit: Unit, now: float) -> None:
        """Add `unit`, behind all others."""
        self._lane(unit.key).ready.append((now, next(self._order), unit))

    def put_back(self, unit: Unit, not_before: float) -> None:
        """Add `unit` for later."""
        heapq.heappush(self._lane(unit.key).later, (not_before, next(self._order), unit))

    def hold(self, key: str, until: float, why: str) -> None:
        """Let nothing of `key` go before `until`, and then one unit alone."""
        lane = self._lane(key)
        if until > lane.held_until:
            lane.held_until, lane.why, lane.probing = until, why, True

    def set_aside(self, key: str) -> list[Unit]:
        """Turn what has not been asked for in a lane into what was put aside; it keeps its place. Returns it."""
        lane, units = self._lane(key), []
        while lane.ready:
            since, order, unit = lane.ready.popleft()
            heapq.heappush(lane.later, (since, order, replace(unit, told=True)))
            units.append(unit)
        return units

    def held(self, key: str, now: float) -> str:
        """Say why nothing of `key` is to go now; "" if it may."""
        lane = self._lanes.get(key)
        return lane.why if lane is not None and now < lane.held_until else ""

    def take(self, now: float) -> Unit | None:
        """Take out the unit that may go, and could do so first; None: there is none. Give it to `done` afterwards."""
        open_lanes = (lane for lane in self._lanes.values() if not lane.full and now >= lane.held_until)
        firsts = [(first, lane) for lane in open_lanes if (first := lane.first(now))]
        if not firsts:
            return None
        (_, _, unit), lane = min(firsts, key=lambda each: each[0][:2])
        if lane.ready and unit is lane.ready[0][2]:
            lane.ready.popleft()
        else:
            heapq.heappop(lane.later)
        lane.under_way += 1
        return unit

    def done(self, unit: Unit, *, answered: bool) -> None:
        """Note that `unit` is no longer under way. `answered`: its server is at work."""
        lane = self._lanes[unit.key]
        lane.under_way -= 1
        if answered:
            lane.probing = False

    def next_at(self, now: float) -> float | None:
        """Say when `take` will have one; None: not before one that is under way is done, if ever."""
        moments = [lane.next_at(now) for lane in self._lanes.values()]
        return min((moment for moment in moments if moment is not None), default=None)

    def rest(self) -> Iterator[tuple[Unit, str]]:
        """Go through what is left, and why it is held."""
        for lane in self._lanes.values():
            for _, _, unit in (*lane.ready, *lane.later):
                yield unit, lane.why

    def _lane(self, key: str) -> _Lane:
        lane = self._lanes.get(key)
        if lane is None:
            lane = self._lanes[key] = _Lane(self._limit(key))
        return lane
