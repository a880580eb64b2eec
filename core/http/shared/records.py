"""The record of an upstream in a cache that processes share. What is read there may be anything, written by anybody."""

from __future__ import annotations

import hashlib
import math
from typing import NamedTuple

from ..engine.mergeable_state import BreakerSnapshot, GateSnapshot
from ..engine.rate_limit_gate import MAX_CLOSED, MOST_WHY
from ..events import OTHER

DAY = 86_400.0
"""Seconds: the longest that a record is kept or believed. (Memcached takes more than 30 days for a date.)"""
_LEEWAY = 600
"""Seconds that a record outlives the times in it: at least as long as a breaker stays open."""


class Record(NamedTuple):
    """What is known of an upstream, in wall-clock time."""

    breaker: BreakerSnapshot = BreakerSnapshot()
    gate: GateSnapshot = GateSnapshot()

    def merge(self, other: Record) -> Record:
        return Record(self.breaker.merge(other.breaker), self.gate.merge(other.gate))

    def is_in_force(self, wall: float) -> bool:
        """Say whether it keeps anybody from sending."""
        return self.breaker.is_open or self.gate.asked_until > wall

    @property
    def plain(self) -> tuple[float | str, ...]:
        """What a cache is given: every serializer can store it, JSON too.

        Without a reason it is six numbers, which is what releases before the reason read.
        """
        moments = (*self.breaker, *self.gate[:3])
        return (*moments, self.gate.why) if self.gate.why else moments


def read(value: object, wall: float) -> Record:
    """Read what the cache holds; what makes no sense, or is of the far future, is nothing."""
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
    """Name the record of an upstream, by the fields of its `UpstreamId`.

    `origin` is hashed, for some caches take no such keys.
    """
    if name == OTHER:
        name = hashlib.sha256(origin.encode()).hexdigest()[:32] + (".untrusted" if untrusted else "")
    return f"core.http:1:{name}" + (f"#{partition}" if partition else "")


def lifetime(record: Record, wall: float) -> int:
    """Seconds for which the cache is to keep `record`."""
    left = max(record.breaker.until, record.gate.asked_until) - wall
    return int(min(max(left, 0.0), DAY)) + _LEEWAY
