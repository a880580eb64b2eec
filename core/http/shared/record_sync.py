"""Exchanges the record of one upstream in the shared cache: reads it, merges it with the local state, writes it back.

A record contains wall-clock times, so the clocks of the machines should differ by at most about a second. The classes
are not thread-safe, because only the background thread exchanges records.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import Generic, TypeVar

from ..engine.mergeable_state import BreakerSnapshot, GateSnapshot, Transition
from ..engine.rate_limit_gate import MAX_CLOSED
from ..engine.upstream import Upstream
from ..events import BreakerFollowed, BreakerState
from ..log import logger
from ..upstream_id import UpstreamId
from .cache import Cache
from .records import DAY, Record, key_of, lifetime, read

_TICK = 0.001
_S = TypeVar("_S", BreakerSnapshot, GateSnapshot)


@dataclass(frozen=True, slots=True)
class _Told(Generic[_S]):
    """One snapshot, in times of this process's clock (`here`) and in the wall-clock times of the record (`there`)."""

    here: _S
    there: _S

    def translate(self, here: _S, ahead: float) -> _S:
        """Return `here` in wall-clock times. A new change is dated after the last change in the record.

        :param ahead: seconds that the wall clock is ahead of this process's clock.
        """
        if here == self.here:  # unchanged; another conversion would add a rounding error
            return self.there
        shifted, known = here.shifted(ahead), self.there[0]
        return shifted.dated(known if here[0] == self.here[0] else max(shifted[0], known + _TICK))


class RecordSync:
    """Writes the state of one upstream to the cache, and adopts the state that other processes wrote."""

    def __init__(self, cache: Cache, upstream: Upstream, about: UpstreamId) -> None:
        self.upstream = upstream
        self.about = about
        self.key = key_of(*about)
        self.host_key = key_of(about.name, about.origin)
        """Key of the name and the origin of the upstream, which events contain. (`key` also depends on the partition
        and on `untrusted`.)"""
        self._cache = cache
        self._breaker = _Told(BreakerSnapshot(), BreakerSnapshot())
        self._gate = _Told(GateSnapshot(), GateSnapshot())
        self._owed = False
        self._ignoring = False
        """Whether the value in the cache is invalid, which has been logged."""
        self._reported: Transition | None = None

    def transition(self, wall: float) -> Transition | None:
        """Return the last transition of the breaker in this process, in wall-clock time.

        None: there was none since the last call of this method.
        """
        breaker = self.upstream.breaker
        last = None if breaker is None else breaker.last_transition
        if last is None or last == self._reported:
            return None
        self._reported = last
        return last._replace(at=last.at + wall - self.upstream.clock())

    def sync(self, wall: float) -> Record:
        """Read the record, adopt newer state, and write the record if this process has newer state.

        Returns the merged record. Raises the errors of the cache.
        """
        heard = self._read(wall)
        ahead = wall - self.upstream.clock()
        here = self.upstream.snapshots
        known = Record(self._breaker.translate(here[0], ahead), self._gate.translate(here[1], ahead))
        self._owed |= here != (self._breaker.here, self._gate.here)
        merged = known.merge(heard)
        self._breaker = self._follow_breaker(_Told(here[0], known.breaker), merged.breaker, ahead)
        self._gate = self._follow_gate(_Told(here[1], known.gate), merged.gate, ahead)
        # A missing record is written again only while it restricts calls; otherwise processes would write it forever.
        if merged != heard and (self._owed or heard != Record() or merged.is_in_force(wall)):
            self._cache.set(self.key, merged.plain, timeout=lifetime(merged, wall))
        self._owed = False
        return merged

    def _read(self, wall: float) -> Record:
        found = self._cache.get(self.key)
        heard = read(found, wall)
        before, self._ignoring = self._ignoring, found is not None and heard == Record()
        if self._ignoring and not before:
            with suppress(Exception):  # an exception of a logging filter would look like a failure of the cache
                logger.warning("The shared cache holds no valid state under %s: its value is ignored", self.key)
        return heard

    def _follow_breaker(
        self, told: _Told[BreakerSnapshot], snapshot: BreakerSnapshot, ahead: float
    ) -> _Told[BreakerSnapshot]:
        upstream, breaker = self.upstream, self.upstream.breaker
        settings = upstream.policy.circuit_breaker
        if snapshot == told.there or breaker is None or settings is None:
            return told
        now = upstream.clock()
        state = BreakerState.OPEN if snapshot.is_open else BreakerState.CLOSED
        here = snapshot.shifted(-ahead).at_most(now, now + settings.open_max if state is BreakerState.OPEN else now)
        before = breaker.adopt(told.here, here)
        if before is None:
            return told
        if before is not state and upstream.breaker is not None:  # None: `forget` has just removed the breaker
            host = self.about.origin.rpartition("/")[2]
            upstream.observe(BreakerFollowed(upstream.name, host, before, state, max(here.until - now, 0.0)))
        if state is BreakerState.OPEN:
            upstream.wake()
        return _Told(here, snapshot)

    def _follow_gate(self, told: _Told[GateSnapshot], snapshot: GateSnapshot, ahead: float) -> _Told[GateSnapshot]:
        if snapshot == told.there:
            return told
        now = self.upstream.clock()
        here = snapshot.shifted(-ahead).at_most(now + MAX_CLOSED, now + DAY)
        return _Told(here, snapshot) if self.upstream.gate.adopt(told.here, here) else told
