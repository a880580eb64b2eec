"""Spaces the starts of attempts. No function blocks: a caller gets the time of its turn."""

from __future__ import annotations

import threading
from heapq import heappop, heappush

_LATE = 0.1
"""Seconds that a turn may be used late at any pace, because threads may wake late."""


class Pace:
    """Evenly spaced turns. Turns that were not used in time expire, so there are no bursts. Thread-safe."""

    def __init__(self, per_second: float) -> None:
        self._interval = 1 / per_second
        self._lock = threading.RLock()
        self._next = float("-inf")
        self._returned: list[float] = []
        """A heap of turns before the next one that were given back."""

    def reserve(self, now: float, before: float) -> float | None:
        """Take the next turn and return its time. None: the next turn is not before `before`, and none is taken."""
        with self._lock:
            while self._returned and self._returned[0] < now:
                heappop(self._returned)
            turn = self._returned[0] if self._returned else max(self._next, now)
            if turn >= before:
                return None
            if self._returned:
                heappop(self._returned)
            else:
                self._next = turn + self._interval
            return turn

    def is_lost(self, turn: float, now: float) -> bool:
        """Return whether a turn has expired: after a stall, using all turns that it delayed would be a burst."""
        return now - turn > max(self._interval, _LATE)

    def give_back(self, turn: float) -> None:
        """Give back an unused turn, for the next call that reserves one."""
        with self._lock:
            if turn + self._interval == self._next:
                self._next = turn
            else:
                heappush(self._returned, turn)
