"""Elects the process that sends the one probe of an upstream that is down.

The first process that adds a certain key to the cache is elected. A call only requests an election; the background
thread that exchanges state accesses the cache. If there is no result after 100 ms, the process sends the probe, as it
would without a cache.
"""

from __future__ import annotations

import math
import threading
import uuid

from ..engine.steps import Wait
from ..engine.upstream import Upstream
from .cache import Cache
from .record_sync import RecordSync

PATIENCE = 0.1
"""Seconds that a call waits for the result of an election."""
_PAUSE = 1.0
"""Seconds after which a process that lost an election requests another one, and after which a process that won but
sends no probe gives up its right."""
_LOSSES = 3
"""Number of consecutive probes that a process leaves to other processes before it sends its own. The probes of others
may fail although the upstream works, for example because their machine has no network."""
_LEEWAY = 5
"""Seconds within which the winner must start its probe. Its key expires after this time plus the duration of an
attempt, in case the process is killed."""


class Election:
    """One election, as this process sees it."""

    def __init__(self, upstream: Upstream, now: float) -> None:
        self.upstream = upstream
        self.about = upstream.snapshots
        """The state of the upstream at the time of the election. After a change, another election is needed."""
        self.won: bool | None = None
        self.key: str | None = None
        """The key that this process added to the cache; None: it added none."""
        self.since = now
        """When the election was requested, and later when it was decided."""
        self.used = now
        """When a call of this process last asked for the decision."""

    def decide(self, now: float, *, won: bool) -> None:
        self.won = won
        self.since = self.used = now

    def is_over(self, now: float) -> bool:
        """Return whether this election no longer counts, so that the next probe needs another one."""
        lasts = _LEEWAY if self.won else _PAUSE
        return self.about != self.upstream.snapshots or (self.won is not None and now - self.since >= lasts)

    def is_unused(self, now: float) -> bool:
        """Return whether this process won the election but sends no probe."""
        return bool(self.won) and now - self.used > _PAUSE and not self.upstream.is_probing(now)


class Elections:
    """The elections of this process. Thread-safe: calls request elections, and the background thread decides them."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        self._me = uuid.uuid4().hex
        self._lock = threading.RLock()
        self._running: dict[Upstream, Election] = {}
        self._lost: dict[Upstream, tuple[int, object]] = {}
        """For each upstream that is down: how many consecutive probes this process left to other processes, and the
        state of the upstream (`Election.about`) at the last of them."""

    def ask(self, upstream: Upstream, now: float) -> bool | Wait:
        """Return whether this process may send the probe, or a `Wait` for the decision."""
        with self._lock:
            election = self._running.get(upstream)
            if election is None or election.is_over(now):
                election = self._running[upstream] = Election(upstream, now)
                lost, last = self._lost.get(upstream, (0, None))
                if lost >= _LOSSES and last != election.about:
                    del self._lost[upstream]
                    election.decide(now, won=True)
            if election.won is None:
                left = PATIENCE - (now - election.since)
                if left > 0:
                    return Wait(left)
                election.decide(now, won=True)
            election.used = now
            return bool(election.won)

    @property
    def undecided(self) -> list[Election]:
        with self._lock:
            return [election for election in self._running.values() if election.won is None]

    def decide(self, election: Election, sync: RecordSync, *, wall: float, now: float) -> None:
        """Decide an election with the cache, and wake the calls that wait for it. Raises the errors of the cache."""
        upstream = election.upstream
        record = sync.sync(wall)  # another process may have sent the probe and shared its outcome
        if upstream.probe_due(now):
            key = f"{sync.key}:probe:{record.breaker.until:.3f}:{record.gate.closed_until:.3f}"
            won = self._take(key, math.ceil(upstream.policy.attempt_timeout) + _LEEWAY)
            with self._lock:
                election.about = upstream.snapshots
                election.key = key if won else None
                if election.won is None:  # otherwise a call decided it after `PATIENCE`
                    election.decide(now, won=won)
                self._count(election)
        else:
            with self._lock:
                self._running.pop(upstream, None)
        upstream.wake()

    def decide_alone(self, now: float) -> None:
        """Decide all open elections in favor of this process, because the cache fails."""
        for election in self.undecided:
            with self._lock:
                election.decide(now, won=True)
            election.upstream.wake()

    def clear(self, now: float) -> None:
        """Drop finished elections, and those that this process won without sending a probe.

        The keys of the latter are deleted from the cache, so that another process can win.
        """
        given_up = []
        with self._lock:
            for upstream in [upstream for upstream in self._lost if not upstream.is_down(now)]:
                del self._lost[upstream]
            for upstream, election in tuple(self._running.items()):
                changed, idle = election.about != upstream.snapshots, election.is_unused(now)
                if changed or idle or (not election.won and election.is_over(now)):
                    del self._running[upstream]
                    if election.key is not None and not changed:
                        given_up.append(election.key)
        for key in given_up:
            if self._cache.get(key) == self._me:
                self._cache.delete(key)

    def _count(self, election: Election) -> None:
        """Count consecutive losses. Several elections for the same probe count once."""
        lost, last = self._lost.get(election.upstream, (0, None))
        if election.won:
            self._lost.pop(election.upstream, None)
        elif last != election.about:
            self._lost[election.upstream] = (lost + 1, election.about)

    def _take(self, key: str, seconds: int) -> bool:
        if self._cache.add(key, self._me, timeout=seconds):
            return True
        if self._cache.get(key) != self._me:
            return False
        self._cache.set(key, self._me, timeout=seconds)  # the key of an earlier win whose probe was not sent
        return True
