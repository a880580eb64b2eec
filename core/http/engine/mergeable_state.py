"""The state of an upstream that processes share. It consists of times that all processes merge in the same way.

All times are in seconds on one clock. The result does not depend on the order or the number of merges.
"""

from __future__ import annotations

from typing import NamedTuple


class BreakerSnapshot(NamedTuple):
    """The state of a circuit breaker. The default is a breaker that has never changed."""

    changed: float = 0.0
    """When the breaker opened or closed."""
    since: float = 0.0
    """When the breaker opened, or when the last failed probe started."""
    until: float = 0.0
    """When the next probe is due. If this equals `since`, the breaker is closed."""

    @property
    def is_open(self) -> bool:
        """Whether the breaker is open or half-open."""
        return self.until > self.since

    def merge(self, other: BreakerSnapshot) -> BreakerSnapshot:
        """Return the snapshot with the later change. If both have the same change, return the later of their times."""
        if self.changed != other.changed:
            return max(self, other, key=lambda snapshot: snapshot.changed)
        return BreakerSnapshot(self.changed, max(self.since, other.since), max(self.until, other.until))

    def shifted(self, seconds: float) -> BreakerSnapshot:
        """Return the same state on a clock that is `seconds` ahead."""
        return BreakerSnapshot(self.changed + seconds, self.since + seconds, self.until + seconds)

    def dated(self, moment: float) -> BreakerSnapshot:
        """Return the same state with the change dated `moment`."""
        return self._replace(changed=moment)

    def at_most(self, since: float, until: float) -> BreakerSnapshot:
        """Return the same state with its times limited, because clocks differ and a cache may hold wrong values."""
        return BreakerSnapshot(self.changed, min(self.since, since), min(self.until, until))


class GateSnapshot(NamedTuple):
    """The state of a rate-limit gate. The default is a gate that has never been closed."""

    reopened: float = 0.0
    """When the response to a probe last opened the gate before `asked_until`."""
    closed_until: float = 0.0
    asked_until: float = 0.0
    """End of the pause that the upstream asked for; it may be later than `closed_until`."""
    why: str = ""
    """The reason for the pause, for messages, from `Verdict.why`; "": the upstream asked for a pause."""

    def merge(self, other: GateSnapshot) -> GateSnapshot:
        """Return the snapshot with the later reopening. If both have the same, return the later of their times."""
        if self.reopened != other.reopened:
            return max(self, other, key=lambda snapshot: snapshot.reopened)
        closed_until, why = max((self.closed_until, self.why), (other.closed_until, other.why))
        return GateSnapshot(self.reopened, closed_until, max(self.asked_until, other.asked_until), why)

    def shifted(self, seconds: float) -> GateSnapshot:
        """Return the same state on a clock that is `seconds` ahead."""
        return self._replace(
            reopened=self.reopened + seconds,
            closed_until=self.closed_until + seconds,
            asked_until=self.asked_until + seconds,
        )

    def dated(self, moment: float) -> GateSnapshot:
        """Return the same state with the reopening dated `moment`."""
        return self._replace(reopened=moment)

    def at_most(self, closed_until: float, asked_until: float) -> GateSnapshot:
        """Return the same state with its times limited."""
        return self._replace(
            closed_until=min(self.closed_until, closed_until), asked_until=min(self.asked_until, asked_until)
        )


class Transition(NamedTuple):
    """A change of a breaker from closed to open, or back. A failed probe is not a transition."""

    at: float
    is_open: bool
