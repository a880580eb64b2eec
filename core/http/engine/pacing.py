"""How fast attempts follow each other. Nothing here blocks: a caller gets the time of its turn."""

from __future__ import annotations

import threading
from heapq import heappop, heappush

_LATE = 0.1
"""Seconds that a turn may be used late at any pace: threads wake when they can, not when they should."""


class Pace:
    """Turns at even distances. What was not used in a pause is gone: no burst makes up for it. Safe for threads."""

    def __init__(self, per_second: float) -> None:
        self._interval = 1 / per_second
        self._lock = threading.RLock()
        self._next = float("-inf")
        self._returned: list[float] = []
        """Turns before the next one that nobody has any more: a heap."""

    def reserve(self, now: float, before: float) -> float | None:
        """Take the next turn; returns when that is. None: not `before` then, and none is taken."""
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
        """Say whether a turn has passed: all that were not used in a stall, used after it, would be a burst."""
        return now - turn > max(self._interval, _LATE)

    def give_back(self, turn: float) -> None:
        """Leave a turn that was not used to whoever asks next."""
        with self._lock:
            if turn + self._interval == self._next:
                self._next = turn
            else:
                heappush(self._returned, turn)
