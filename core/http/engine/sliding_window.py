"""Sliding windows over the last seconds, in buckets of one second: the number of events does not affect their cost."""

from __future__ import annotations

import math


class Window:
    """The number of events in a sliding window. Not thread-safe: its owner must hold a lock."""

    __slots__ = ("_buckets", "_newest", "total")

    def __init__(self, seconds: float) -> None:
        # One bucket more than `seconds`, so that no event is dropped before it is `seconds` old.
        self._buckets = [0] * (math.ceil(seconds) + 1)
        self._newest = 0
        self.total = 0
        """Number of events in the window, as of the last call of `advance` or `add`."""

    def advance(self, now: float) -> None:
        """Drop events that are too old. Does nothing if `now` is earlier than in the call before."""
        second = int(now)
        if second <= self._newest:
            return
        buckets = self._buckets
        for passed in range(self._newest + 1, min(second, self._newest + len(buckets)) + 1):
            buckets[passed % len(buckets)] = 0
        self._newest = second
        self.total = sum(buckets)  # not by subtraction: an interrupt would leave the total wrong forever

    def add(self, now: float) -> None:
        """Count one event."""
        self.advance(now)
        self._buckets[self._newest % len(self._buckets)] += 1
        self.total += 1

    def clear(self) -> None:
        """Drop all events."""
        self._buckets = [0] * len(self._buckets)
        self.total = 0


class WindowMaximum:
    """The maximum of the values in a sliding window. Not thread-safe: its owner must hold a lock."""

    __slots__ = ("_greatest", "_seconds")

    def __init__(self, seconds: float) -> None:
        self._seconds = math.ceil(seconds)
        self._greatest: dict[int, float] = {}
        """The maximum of each second. It has at most one entry more than the window has seconds."""

    def add(self, now: float, value: float) -> None:
        """Add a value."""
        second, greatest = int(now), self._greatest
        if second not in greatest:
            self._advance(second)
            greatest[second] = value
        elif value > greatest[second]:
            greatest[second] = value

    def greatest(self, now: float) -> float | None:
        """Return the maximum; None: the window is empty."""
        self._advance(int(now))
        return max(self._greatest.values(), default=None)

    def clear(self) -> None:
        """Drop all values."""
        self._greatest.clear()

    def _advance(self, second: int) -> None:
        for old in tuple(self._greatest):  # a copy, because a call of a signal handler may add an entry
            if old < second - self._seconds:
                self._greatest.pop(old, None)
