"""The record of an upstream in a shared cache. Other programs can write to the cache, so every value is validated."""

from __future__ import annotations

import hashlib
import math
from typing import NamedTuple

from ..engine.mergeable_state import BreakerSnapshot, GateSnapshot
from ..engine.rate_limit_gate import MAX_CLOSED, MOST_WHY
from ..events import OTHER

DAY = 86_400.0
"""Maximum number of seconds that the times in a record may be in the future. (Memcached reads a lifetime of more than
30 days as a date.)"""
_LEEWAY = 600
"""Seconds for which a record is kept after the last time in it. Longer than a breaker stays open by default."""


class Record(NamedTuple):
    """The state of an upstream. All times are Unix times."""

    breaker: BreakerSnapshot = BreakerSnapshot()
    gate: GateSnapshot = GateSnapshot()

    def merge(self, other: Record) -> Record:
        return Record(self.breaker.merge(other.breaker), self.gate.merge(other.gate))

    def is_in_force(self, wall: float) -> bool:
        """Return whether the record restricts calls."""
        return self.breaker.is_open or self.gate.asked_until > wall

    @property
    def plain(self) -> tuple[float | str, ...]:
        """The value to store: numbers, and the reason for the pause if there is one. All serializers support it.

        Without a reason, the value has exactly six numbers, because older releases accept only six.
        """
        moments = (*self.breaker, *self.gate[:3])
        return (*moments, self.gate.why) if self.gate.why else moments


def read(value: object, wall: float) -> Record:
    """Return the record in a value of the cache; an empty record if the value is invalid or its times are too late."""
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

    `origin` is hashed, because some caches do not accept keys as long as a URL.
    """
    if name == OTHER:
        name = hashlib.sha256(origin.encode()).hexdigest()[:32] + (".untrusted" if untrusted else "")
    return f"core.http:1:{name}" + (f"#{partition}" if partition else "")


def lifetime(record: Record, wall: float) -> int:
    """Return the seconds for which the cache should keep `record`."""
    left = max(record.breaker.until, record.gate.asked_until) - wall
    return int(min(max(left, 0.0), DAY)) + _LEEWAY
