"""Spaces the starts of attempts evenly. No function blocks: a caller gets the time at which it may start."""

from __future__ import annotations

import threading
from heapq import heappop, heappush

_LATE = 0.1
"""Seconds. At any pace, a turn may be used this much too late, because threads may wake late."""


class Pace:
    """Evenly spaced times to start an attempt, called turns. Thread-safe.

    Turns that are not used in time expire, which prevents bursts.
    """

    def __init__(self, per_second: float) -> None:
        self._interval = 1 / per_second
        self._lock = threading.RLock()
        self._next = float("-inf")
        self._returned: list[float] = []
        """A heap of the turns before `_next` that were given back."""

    def reserve(self, now: float, before: float) -> float | None:
        """Take the next turn and return its time. None: that time is not before `before`, so no turn is taken."""
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
        """Return whether `turn` has expired.

        After a stall of the process, many turns would be late at once; using all of them would be a burst.
        """
        return now - turn > max(self._interval, _LATE)

    def give_back(self, turn: float) -> None:
        """Give back an unused turn, for the next call that reserves one."""
        with self._lock:
            if turn + self._interval == self._next:
                self._next = turn
            else:
                heappush(self._returned, turn)
