"""Which process sends the one probe of an upstream that was found down: whoever adds a key to the cache first.

A call asks and does not wait for the cache: the thread that exchanges asks it, and where no answer is there after
100 ms the process decides for itself, as it would without a cache.
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
"""Seconds that a call waits for an election."""
_PAUSE = 1.0
"""Seconds after which a process that lost asks again, and after which one that won and sends nothing gives way."""
_LOSSES = 3
"""Probes that a process leaves to others, one after the other; then it sends its own. Theirs may fail for another
reason than the upstream's: a host without network wins elections as well as any."""
_LEEWAY = 5
"""Seconds within which a winner begins its probe. Its key lasts as long and an attempt more, should it be killed."""


class Election:
    """One of them, as this process sees it."""

    def __init__(self, upstream: Upstream, now: float) -> None:
        self.upstream = upstream
        self.about = upstream.snapshots
        """What is known of the upstream; when that changes, the next probe is another matter."""
        self.won: bool | None = None
        self.key: str | None = None
        """What was added to the cache."""
        self.since = now
        """When it was asked for; then, when it was decided."""
        self.used = now
        """When this process, having won, was last told to go."""

    def decide(self, now: float, *, won: bool) -> None:
        self.won = won
        self.since = self.used = now

    def is_over(self, now: float) -> bool:
        """Say whether the next who asks needs another one."""
        lasts = _LEEWAY if self.won else _PAUSE
        return self.about != self.upstream.snapshots or (self.won is not None and now - self.since >= lasts)

    def came_to_nothing(self, now: float) -> bool:
        """Say whether this process won, and sends nothing."""
        return bool(self.won) and now - self.used > _PAUSE and not self.upstream.is_probing(now)


class Elections:
    """Those of a process. Safe for threads: calls ask, one other thread decides."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        self._me = uuid.uuid4().hex
        self._lock = threading.RLock()
        self._running: dict[Upstream, Election] = {}
        self._lost: dict[Upstream, tuple[int, object]] = {}
        """How many probes in a row this process left to others while an upstream was down, and the last of them."""

    def ask(self, upstream: Upstream, now: float) -> bool | Wait:
        """Say whether this process may send the probe, or how long to wait until that is decided."""
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
        """Ask the cache, and wake who waits for the answer. Raises what the cache raises."""
        upstream = election.upstream
        record = sync.sync(wall)  # somebody may have sent the probe, and told what came of it
        if upstream.probe_due(now):
            key = f"{sync.key}:probe:{record.breaker.until:.3f}:{record.gate.closed_until:.3f}"
            won = self._take(key, math.ceil(upstream.policy.attempt_timeout) + _LEEWAY)
            with self._lock:
                election.about = upstream.snapshots
                election.key = key if won else None
                if election.won is None:  # else somebody lost patience
                    election.decide(now, won=won)
                self._count(election)
        else:
            with self._lock:
                self._running.pop(upstream, None)
        upstream.wake()

    def decide_alone(self, now: float) -> None:
        """Let this process send its probes, for the cache cannot be asked."""
        for election in self.undecided:
            with self._lock:
                election.decide(now, won=True)
            election.upstream.wake()

    def clear(self, now: float) -> None:
        """Forget those that are over; let others send what this process won and does not send."""
        given_up = []
        with self._lock:
            for upstream in [upstream for upstream in self._lost if not upstream.is_down(now)]:
                del self._lost[upstream]
            for upstream, election in tuple(self._running.items()):
                changed, idle = election.about != upstream.snapshots, election.came_to_nothing(now)
                if changed or idle or (not election.won and election.is_over(now)):
                    del self._running[upstream]
                    if election.key is not None and not changed:
                        given_up.append(election.key)
        for key in given_up:
            if self._cache.get(key) == self._me:
                self._cache.delete(key)

    def _count(self, election: Election) -> None:
        """Note who won. A probe that this process asks for once a second is one."""
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
        self._cache.set(key, self._me, timeout=seconds)  # ours, of a probe that came to nothing
        return True
