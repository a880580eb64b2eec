"""What the last seconds brought, in buckets of one second: O(1) to add to and to read, whatever the traffic."""

from __future__ import annotations

import math


class Window:
    """Counts in a sliding window. Not safe for threads: its owner holds a lock."""

    __slots__ = ("_buckets", "_newest", "total")

    def __init__(self, seconds: float) -> None:
        # One more than fit in: so that what happened within `seconds` is never forgotten too early.
        self._buckets = [0] * (math.ceil(seconds) + 1)
        self._newest = 0
        self.total = 0
        """What the window holds, as of the last call of `advance` or `add`."""

    def advance(self, now: float) -> None:
        """Forget what has become too old. Time that goes back is taken for standing still."""
        second = int(now)
        if second <= self._newest:
            return
        buckets = self._buckets
        for passed in range(self._newest + 1, min(second, self._newest + len(buckets)) + 1):
            buckets[passed % len(buckets)] = 0
        self._newest = second
        self.total = sum(buckets)  # not counted down: an interrupt in between would leave it wrong for ever

    def add(self, now: float) -> None:
        """Count one."""
        self.advance(now)
        self._buckets[self._newest % len(self._buckets)] += 1
        self.total += 1

    def clear(self) -> None:
        """Forget everything."""
        self._buckets = [0] * len(self._buckets)
        self.total = 0


class WindowMaximum:
    """The greatest of the values in a sliding window. Not safe for threads either."""

    __slots__ = ("_greatest", "_seconds")

    def __init__(self, seconds: float) -> None:
        self._seconds = math.ceil(seconds)
        self._greatest: dict[int, float] = {}
        """Of each second; at most one more than fit in."""

    def add(self, now: float, value: float) -> None:
        """Add a value, which is not negative."""
        second, greatest = int(now), self._greatest
        if second not in greatest:
            self._advance(second)
            greatest[second] = value
        elif value > greatest[second]:
            greatest[second] = value

    def greatest(self, now: float) -> float | None:
        """Return the greatest; None: there is none."""
        self._advance(int(now))
        return max(self._greatest.values(), default=None)

    def clear(self) -> None:
        """Forget everything."""
        self._greatest.clear()

    def _advance(self, second: int) -> None:
        for old in [old for old in self._greatest if old < second - self._seconds]:
            del self._greatest[old]
