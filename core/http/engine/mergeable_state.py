"""What processes tell each other of an upstream: moments that any two processes merge alike.

Numbers are seconds on one clock. Which process merges with which, in which order and how often, makes no difference.
"""

from __future__ import annotations

from typing import NamedTuple


class BreakerSnapshot(NamedTuple):
    """The state of a circuit breaker. The default: it has never changed."""

    changed: float = 0.0
    """When it opened or closed."""
    since: float = 0.0
    """When it opened, or when the probe began that kept it open."""
    until: float = 0.0
    """When the next probe is due; the same as `since`: it is closed."""

    @property
    def is_open(self) -> bool:
        """Not closed: half-open counts as open."""
        return self.until > self.since

    def merge(self, other: BreakerSnapshot) -> BreakerSnapshot:
        """Return the later change; of the same change, the longer times."""
        if self.changed != other.changed:
            return max(self, other, key=lambda snapshot: snapshot.changed)
        return BreakerSnapshot(self.changed, max(self.since, other.since), max(self.until, other.until))

    def shifted(self, seconds: float) -> BreakerSnapshot:
        """Return the same on a clock that is `seconds` ahead."""
        return BreakerSnapshot(self.changed + seconds, self.since + seconds, self.until + seconds)

    def dated(self, moment: float) -> BreakerSnapshot:
        """Return the same, changed at `moment`."""
        return self._replace(changed=moment)

    def at_most(self, since: float, until: float) -> BreakerSnapshot:
        """Return the same, but no later than this: clocks of machines differ, and anybody may write to a cache."""
        return BreakerSnapshot(self.changed, min(self.since, since), min(self.until, until))


class GateSnapshot(NamedTuple):
    """The state of a rate-limit gate. The default: it has never been closed."""

    reopened: float = 0.0
    """When a probe's answer last opened it early."""
    closed_until: float = 0.0
    asked_until: float = 0.0
    """Until when the upstream asked for a pause: it may be later than `closed_until`."""
    why: str = ""
    """The reason for `closed_until`, for people; "": the usual one."""

    def merge(self, other: GateSnapshot) -> GateSnapshot:
        """Return the later reopening; of the same one, the longer times."""
        if self.reopened != other.reopened:
            return max(self, other, key=lambda snapshot: snapshot.reopened)
        closed_until, why = max((self.closed_until, self.why), (other.closed_until, other.why))
        return GateSnapshot(self.reopened, closed_until, max(self.asked_until, other.asked_until), why)

    def shifted(self, seconds: float) -> GateSnapshot:
        """Return the same on a clock that is `seconds` ahead."""
        return self._replace(
            reopened=self.reopened + seconds,
            closed_until=self.closed_until + seconds,
            asked_until=self.asked_until + seconds,
        )

    def dated(self, moment: float) -> GateSnapshot:
        """Return the same, reopened at `moment`."""
        return self._replace(reopened=moment)

    def at_most(self, closed_until: float, asked_until: float) -> GateSnapshot:
        """Return the same, but no later than this."""
        return self._replace(
            closed_until=min(self.closed_until, closed_until), asked_until=min(self.asked_until, asked_until)
        )


class Transition(NamedTuple):
    """A breaker went from closed to open, or back. A failed probe is none, so an outage begins and ends with one."""

    at: float
    is_open: bool
