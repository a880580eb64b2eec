"""The record of an upstream in a shared cache. Other programs can write to the cache, so every value is validated."""

from __future__ import annotations

import hashlib
import math
from typing import NamedTuple

from ..engine.mergeable_state import BreakerSnapshot, GateSnapshot
from ..engine.rate_limit_gate import MAX_CLOSED, MOST_WHY
from ..events import OTHER

DAY = 86_400.0
"""Maximum seconds of a record's lifetime and of its future times. (Memcached reads more than 30 days as a date.)"""
_LEEWAY = 600
"""Seconds that a record outlives the times in it. At least as long as a breaker stays open by default."""


class Record(NamedTuple):
    """The state of an upstream, in wall-clock time."""

    breaker: BreakerSnapshot = BreakerSnapshot()
    gate: GateSnapshot = GateSnapshot()

    def merge(self, other: Record) -> Record:
        return Record(self.breaker.merge(other.breaker), self.gate.merge(other.gate))

    def is_in_force(self, wall: float) -> bool:
        """Return whether the record restricts calls."""
        return self.breaker.is_open or self.gate.asked_until > wall

    @property
    def plain(self) -> tuple[float | str, ...]:
        """The value to store, which every serializer supports, including JSON.

        Without a reason it has six numbers, because older releases, which do not know the reason, accept only six.
        """
        moments = (*self.breaker, *self.gate[:3])
        return (*moments, self.gate.why) if self.gate.why else moments


def read(value: object, wall: float) -> Record:
    """Return the record in a value of the cache; an empty record if the value is invalid or from the far future."""
    if not isinstance(value, tuple | list) or not 6 <= len(value) <= 7:
        return Record()
    moments, why = value[:6], value[6] if len(value) == 7 else ""
    if not all(isinstance(moment, float) and math.isfinite(moment) for moment in moments):
        return Record()
    if not isinstance(why, str) or len(why) > MOST_WHY or not why.isprintable():
        return Record()
    record = Record(BreakerSnapshot(*moments[:3]), GateSnapshot(moments[3], moments[4], moments[5], why))
    latest = wall + MAX_CLOSED
    sane = max(record.breaker.changed, record.gate.reopened) <= latest and max(moments) <= latest + DAY
    return record if sane else Record()


def key_of(name: str, origin: str = "", untrusted: bool = False, partition: str = "") -> str:
    """Return the cache key of an upstream from the fields of its `UpstreamId`.

    `origin` is hashed, because some caches do not accept such keys.
    """
    if name == OTHER:
        name = hashlib.sha256(origin.encode()).hexdigest()[:32] + (".untrusted" if untrusted else "")
    return f"core.http:1:{name}" + (f"#{partition}" if partition else "")


def lifetime(record: Record, wall: float) -> int:
    """Return the seconds for which the cache should keep `record`."""
    left = max(record.breaker.until, record.gate.asked_until) - wall
    return int(min(max(left, 0.0), DAY)) + _LEEWAY
