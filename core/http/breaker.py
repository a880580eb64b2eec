"""The circuit breaker of an upstream: when attempts are not worth making.

closed ── too many failures ──> open ── its time is up ──> half-open ── the probe succeeds ──> closed
                                  ^                            │
                                  └───── the probe fails ──────┘   (and the next time is twice as long)

A permit carries the generation of the state that it was given in: an answer that comes late, from before a
transition, changes nothing any more.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass
from enum import StrEnum

from core.http.facts import NOTHING, Fact
from core.http.outcome import Verdict
from core.http.policy import CircuitBreaker
from core.http.window import Window


class State(StrEnum):
    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@dataclass(frozen=True, slots=True)
class Permit:
    """Leave for one attempt."""

    generation: int
    entered: State | None = None
    """The state that giving this permit led to: half-open, for the first probe."""


class Breaker:
    """Safe for threads: a lock guards each change, and is never held while an attempt runs."""

    def __init__(self, settings: CircuitBreaker) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._attempts = Window(settings.window)
        self._failures = Window(settings.window)
        self._in_a_row: deque[float] = deque(maxlen=settings.failures_in_a_row)
        self._open_for = settings.open_for
        self._probe_until = 0.0
        self._probed_at = 0.0
        self.state = State.CLOSED
        self.opens_at = 0.0
        """While open: when the next probe is let through."""
        self.fact = NOTHING
        """What other processes should know."""
        self._permit = Permit(0)

    def acquire(self, now: float) -> Permit | None:
        """Ask leave for one attempt; None: not now. Whoever gets a permit hands it to `record` or `release`."""
        permit = self._permit
        if self.state is State.CLOSED:  # no lock: a permit of a generation that just ended changes nothing
            return permit
        with self._lock:
            return self._acquire_probe(now)

    def record(self, permit: Permit, verdict: Verdict, now: float) -> State | None:
        """Tell what an attempt came to. Returns the state that this led to, None where it stayed the same."""
        with self._lock:
            if permit.generation != self._permit.generation:
                return None
            if self.state is State.HALF_OPEN:
                return self._judge_probe(verdict, now)
            if verdict is Verdict.NEITHER:
                return None
            self._attempts.add(now)
            if verdict is Verdict.SUCCESS:
                self._in_a_row.clear()
                return None
            self._failures.add(now)
            self._in_a_row.append(now)
            return self._open(now, since=now) if self._is_too_much(now) else None

    def release(self, permit: Permit) -> None:
        """Give a permit back unused: the attempt was cancelled."""
        with self._lock:
            if permit.generation == self._permit.generation and self.state is State.HALF_OPEN:
                self._probe_until = 0.0

    def adopt(self, seen: Fact, fact: Fact) -> State | None:
        """Take over what another process found. Returns the state before.

        None: nothing was taken over, for this process has found something itself since it knew `seen`.
        """
        with self._lock:
            if self.fact != seen:
                return None
            before, self.fact = self.state, fact
            if fact.last > fact.first:
                longest, shortest = self._settings.open_max, self._settings.open_for
                self._open_for = min(max(fact.last - fact.first, shortest), longest)
                self.opens_at = fact.last
                self._enter(State.OPEN)
            elif before is not State.CLOSED:
                self._close()
            return before

    def probe_due(self, now: float) -> bool:
        """Say whether the next who asks would be the probe."""
        return self.state is not State.CLOSED and now >= self.opens_at and not self.is_probing(now)

    def is_probing(self, now: float) -> bool:
        return self.state is State.HALF_OPEN and now < self._probe_until

    def _acquire_probe(self, now: float) -> Permit | None:
        if self.state is State.CLOSED:  # since we looked
            return self._permit
        if not self.probe_due(now):
            return None
        entered = State.HALF_OPEN if self.state is State.OPEN else None
        self._enter(State.HALF_OPEN)
        self._probed_at = now
        permit = Permit(self._permit.generation, entered)
        # A probe whose fate nobody reports (its thread was killed) is given up after a while.
        self._probe_until = now + self._settings.open_max
        return permit

    def is_open(self, now: float) -> bool:
        """Say whether waiting is in vain: nobody gets leave now, nor before the time is up."""
        return self.state is State.OPEN and now < self.opens_at

    def retry_in(self, now: float) -> float:
        """Seconds until asking again may help."""
        return max(self.opens_at - now, 1.0)  # a probe is on its way: soon, but not at once

    def _judge_probe(self, verdict: Verdict, now: float) -> State | None:
        if verdict is Verdict.NEITHER:
            self._probe_until = 0.0
            return None
        if verdict is Verdict.FAILURE:
            self._open_for = min(self._open_for * 2, self._settings.open_max)
            return self._open(now, since=self._probed_at)  # the upstream may have healed at any time since
        self.fact = Fact(now, now, now)
        return self._close()

    def _is_too_much(self, now: float) -> bool:
        settings = self._settings
        row = self._in_a_row
        if len(row) == settings.failures_in_a_row and now - row[0] <= settings.window:
            return True
        attempts, failures = self._attempts.total, self._failures.total
        return attempts >= settings.minimum_attempts and failures >= settings.failure_rate * attempts

    def _open(self, now: float, *, since: float) -> State:
        self.opens_at = since + self._open_for
        self.fact = Fact(now, since, self.opens_at)
        return self._enter(State.OPEN)

    def _close(self) -> State:
        self._open_for = self._settings.open_for
        for count in (self._attempts, self._failures, self._in_a_row):
            count.clear()
        return self._enter(State.CLOSED)

    def _enter(self, state: State) -> State:
        self.state = state
        self._permit = Permit(self._permit.generation + 1)
        return state
