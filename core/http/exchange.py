"""One upstream's record in a cache that processes share: read, merged with what this process knows, written back.

A record says when; the clocks of the machines should agree to a second or so. Nothing here is safe for threads:
one thread exchanges.
"""

from __future__ import annotations

import hashlib
import math
from typing import NamedTuple, Protocol

from core.http.breaker import State
from core.http.engine import OTHER, Upstream
from core.http.events import BreakerFollowed
from core.http.facts import NOTHING, Fact, Turn
from core.http.gate import LONGEST

_DAY = 86_400.0
"""Seconds: the longest that a record is kept or believed. (Memcached takes more than 30 days for a date.)"""
_LEEWAY = 600
"""Seconds that a record outlives the times in it: at least as long as a breaker stays open."""
_TICK = 0.001


class Cache(Protocol):
    """What is asked of a cache: the part of Django's API of which `timeout` is in seconds."""

    def get(self, key: str, /) -> object: ...
    def add(self, key: str, value: object, /, timeout: int) -> bool: ...
    def set(self, key: str, value: object, /, timeout: int) -> object: ...
    def delete(self, key: str, /) -> object: ...


class Record(NamedTuple):
    """What is known of an upstream, in wall-clock time."""

    breaker: Fact = NOTHING
    gate: Fact = NOTHING

    def merge(self, other: Record) -> Record:
        return Record(self.breaker.merge(other.breaker), self.gate.merge(other.gate))

    def is_in_force(self, wall: float) -> bool:
        """Say whether it keeps anybody from sending."""
        return self.breaker.last > self.breaker.first or self.gate.last > wall


def read(value: object, wall: float) -> Record:
    """Read what the cache holds; what makes no sense, or is of the far future, is nothing."""
    if not isinstance(value, tuple | list) or len(value) != 6:
        return Record()
    if not all(isinstance(moment, float) and math.isfinite(moment) for moment in value):
        return Record()
    record = Record(Fact(*value[:3]), Fact(*value[3:]))
    sane = max(record.breaker.changed, record.gate.changed) <= wall + LONGEST and max(value) <= wall + LONGEST + _DAY
    return record if sane else Record()


def key_of(name: str, origin: str = "") -> str:
    """Name the record of an upstream; `origin` is hashed, for some caches take no such keys."""
    return f"core.http:1:{hashlib.sha256(origin.encode()).hexdigest()[:32] if name == OTHER else name}"


class _Told(NamedTuple):
    """A fact on the clock of this process, and what the record says in its place."""

    here: Fact = NOTHING
    there: Fact = NOTHING

    def translate(self, here: Fact, ahead: float) -> Fact:
        """Return what the record should say of `here`. A change comes after all that was known when it was made."""
        if here == self.here:  # not a rounding error away from it
            return self.there
        there = here.shifted(ahead)
        known = self.there.changed
        return there._replace(changed=known if here.changed == self.here.changed else max(there.changed, known + _TICK))


class Exchange:
    """Tells the others what this process found of an upstream, and takes over what they found."""

    def __init__(self, cache: Cache, upstream: Upstream, origin: str = "") -> None:
        """Exchange the state of `upstream`; `origin` ("https://host") tells those apart that have no name."""
        self.upstream = upstream
        self.origin = origin
        self.key = key_of(upstream.name, origin)
        self._cache = cache
        self._breaker = _Told()
        self._gate = _Told()
        self._owed = False
        self._turned: Turn | None = None

    def turn(self, wall: float) -> Turn | None:
        """Return how this process last opened or closed the breaker, in wall-clock time, unless it was told before."""
        turned = self.upstream.turned
        if turned == self._turned:
            return None
        self._turned = turned
        return turned and turned._replace(at=turned.at + wall - self.upstream.clock())

    def sync(self, wall: float) -> Record:
        """Ask the cache once, and write to it where it knows less than this process. Raises what the cache raises."""
        heard = read(self._cache.get(self.key), wall)
        ahead = wall - self.upstream.clock()
        here = self.upstream.facts
        known = Record(self._breaker.translate(here[0], ahead), self._gate.translate(here[1], ahead))
        self._owed |= here != (self._breaker.here, self._gate.here)
        merged = known.merge(heard)
        self._breaker = self._follow_breaker(_Told(here[0], known.breaker), merged.breaker, ahead)
        self._gate = self._follow_gate(_Told(here[1], known.gate), merged.gate, ahead)
        # Where the record is gone, it is written again for what still matters: each process would do so for ever.
        if merged != heard and (self._owed or heard != Record() or merged.is_in_force(wall)):
            self._cache.set(self.key, (*merged.breaker, *merged.gate), timeout=_timeout(merged, wall))
        self._owed = False
        return merged

    def _follow_breaker(self, told: _Told, fact: Fact, ahead: float) -> _Told:
        upstream, breaker = self.upstream, self.upstream.breaker
        settings = upstream.policy.circuit_breaker
        if fact == told.there or breaker is None or settings is None:
            return told
        now = upstream.clock()
        state = State.OPEN if fact.last > fact.first else State.CLOSED
        here = fact.shifted(-ahead).at_most(now, now + settings.open_max if state is State.OPEN else now)
        before = breaker.adopt(told.here, here)
        if before is None:
            return told
        if before is not state and upstream.breaker is not None:  # not forgotten meanwhile, and counted out
            host = self.origin.rpartition("/")[2]
            upstream.observe(BreakerFollowed(upstream.name, host, before, state, max(here.last - now, 0.0)))
        if state is State.OPEN:
            upstream.wake()
        return _Told(here, fact)

    def _follow_gate(self, told: _Told, fact: Fact, ahead: float) -> _Told:
        if fact == told.there:
            return told
        now = self.upstream.clock()
        here = fact.shifted(-ahead).at_most(now + LONGEST, now + _DAY)
        return _Told(here, fact) if self.upstream.gate.adopt(told.here, here) else told


def _timeout(record: Record, wall: float) -> int:
    left = max(record.breaker.last, record.gate.last) - wall
    return int(min(max(left, 0.0), _DAY)) + _LEEWAY
