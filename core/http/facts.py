"""What processes tell each other of an upstream, as moments that any two of them merge alike."""

from __future__ import annotations

from typing import NamedTuple


class Fact(NamedTuple):
    """One thing that is known of an upstream: three moments, in seconds on one clock.

    Of a breaker: when it opened or closed, since when it is open, and until when (the same moment: it is closed).
    Of a gate: when it was last opened before its time, until when it is closed, until when the upstream asked for it.
    """

    changed: float
    first: float
    last: float

    def merge(self, other: Fact) -> Fact:
        """Return what holds where both were told: the later change; of the same one, the longer times.

        Who merges with whom, in which order and how often, makes no difference.
        """
        if self.changed != other.changed:
            return max(self, other, key=lambda fact: fact.changed)
        return Fact(self.changed, max(self.first, other.first), max(self.last, other.last))

    def shifted(self, seconds: float) -> Fact:
        """Return the same on a clock that is `seconds` ahead."""
        return Fact(self.changed + seconds, self.first + seconds, self.last + seconds)

    def at_most(self, first: float, last: float) -> Fact:
        """Return the same, but no later than this: clocks of machines differ, and caches are no safe place."""
        return Fact(self.changed, min(self.first, first), min(self.last, last))


NOTHING = Fact(0.0, 0.0, 0.0)


class Turn(NamedTuple):
    """A breaker went from closed to open, or back. No probe in between is one, so an outage begins and ends with it."""

    at: float
    is_open: bool
