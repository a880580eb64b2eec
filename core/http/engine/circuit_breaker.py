"""The circuit breaker of an upstream: when attempts are not worth making.

closed ── too many failures ──> open ── its time is up ──> half-open ── the probe succeeds ──> closed
                                  ^                            │
                                  └───── the probe fails ──────┘   (and the next time is twice as long)

A permit carries the generation of the state in which it was given: an answer that comes late, from before a
transition, changes nothing any more.
"""

from __future__ import annotations

import threading
import weakref
from dataclasses import dataclass

from ..events import OTHER, BreakerChanged, BreakerState, Suppression
from ..outcome import Outcome, Rejection
from ..policy import CircuitBreaker
from .admission_rule import CallContext, Refused
from .attempt_health import Health, cut_short_after, health_of
from .mergeable_state import BreakerSnapshot, Transition
from .sliding_window import Window, WindowMaximum

_PATIENT = 1.0
"""Seconds. A timeout that its caller made shorter says nothing of an upstream that has not answered yet."""


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Permit:
    """Leave for one attempt. One for a probe is over, too, when nothing refers to it any more."""

    generation: int
    entered: BreakerState | None = None
    """The state that giving this permit led to: half-open, for the first probe."""


class Breaker:
    """Safe for threads: a lock guards each change, and is never held while an attempt runs."""

    def __init__(self, settings: CircuitBreaker) -> None:
        self._settings = settings
        self._lock = threading.RLock()
        self._attempts = Window(settings.window)
        self._failures = Window(settings.window)
        self._slowest = WindowMaximum(settings.window)
        self._in_a_row = 0
        self._last_failure = 0.0
        self._open_for = settings.open_for
        self._probe_until = 0.0
        self._probed_at = 0.0
        self._hasty = 0.0
        """Seconds after which the caller of the last probe gave up; 0: it did not."""
        self.state = BreakerState.CLOSED
        self.probe_at = 0.0
        """While open: when the next probe is let through."""
        self.snapshot = BreakerSnapshot()
        """What other processes should know."""
        self.last_transition: Transition | None = None
        """When calls of this process last opened or closed it: since when the upstream is down, for people to know."""
        self.is_retired = False
        """Nobody asks it any more, and nothing that it learns is reported."""
        self._permit = Permit(0)
        self._probe: weakref.ref[Permit] = weakref.ref(self._permit)
        """What the probe was permitted with: an interrupt at any moment may have it reported by nobody."""

    def acquire(self, now: float, patience: float) -> Permit | None:
        """Ask leave for one attempt, which may take `patience` seconds; None: not now.

        Whoever gets a permit hands it to `record` or `release`.
        """
        permit = self._permit
        if self.state is BreakerState.CLOSED:  # no lock: a permit of a generation that just ended changes nothing
            return permit
        with self._lock:
            return self._acquire_probe(now, patience)

    def record(
        self, permit: Permit, health: Health, now: float, *, seconds: float = 0.0, cut_short: float | None = None
    ) -> BreakerState | None:
        """Tell what an attempt came to. Returns the state that this led to, None where it stayed the same.

        :param seconds: how long it took.
        :param cut_short: seconds after which it was given up, where the policy would have waited longer.
        """
        with self._lock:
            if permit.generation != self._permit.generation:
                return None
            if self.state is BreakerState.HALF_OPEN:
                return self._judge_probe(health, now, cut_short)
            if health is Health.NEITHER or (cut_short is not None and not self._is_silence(cut_short, now)):
                return None
            self._attempts.add(now)
            if health is Health.SUCCESS:
                self._in_a_row = 0
                self._slowest.add(now, seconds)
                return None
            self._failures.add(now)
            self._in_a_row = 1 if now - self._last_failure > self._settings.window else self._in_a_row + 1
            self._last_failure = now
            if self._is_too_much() and self.state is BreakerState.CLOSED:  # a signal handler's call may have opened it
                return self._open(now, now, self._open_for)
            return None

    def release(self, permit: Permit) -> None:
        """Give a permit back unused: the attempt was cancelled."""
        with self._lock:
            if permit.generation == self._permit.generation and self.state is BreakerState.HALF_OPEN:
                self._probe_until = 0.0

    def adopt(self, seen: BreakerSnapshot, snapshot: BreakerSnapshot) -> BreakerState | None:
        """Take over what another process found. Returns the state before.

        None: nothing was taken over, for this process has found something itself since it knew `seen`.
        """
        with self._lock:
            if self.snapshot != seen:
                return None
            before, self.snapshot = self.state, snapshot
            if snapshot.is_open:
                longest, shortest = self._settings.open_max, self._settings.open_for
                self._open_for = min(max(snapshot.until - snapshot.since, shortest), longest)
                self.probe_at = snapshot.until
                self._enter(BreakerState.OPEN)
            elif before is not BreakerState.CLOSED:
                self._close()
            return before

    def probe_due(self, now: float) -> bool:
        """Say whether the next who asks would be the probe."""
        return self.state is not BreakerState.CLOSED and now >= self.probe_at and not self.is_probing(now)

    def is_probing(self, now: float) -> bool:
        return self.state is BreakerState.HALF_OPEN and now < self._probe_until and self._probe() is not None

    def prefers_others(self, now: float, patience: float) -> bool:
        """Say whether the probe is kept for those who wait longer than who cut the last one short.

        For as long as the breaker stays open at first, not for ever: there may be nobody else.
        """
        return patience <= self._hasty and now < self.probe_at + self._settings.open_for

    def _acquire_probe(self, now: float, patience: float) -> Permit | None:
        if self.state is BreakerState.CLOSED:  # since we looked
            return self._permit
        if not self.probe_due(now) or self.prefers_others(now, patience):
            return None
        entered = BreakerState.HALF_OPEN if self.state is BreakerState.OPEN else None
        self._enter(BreakerState.HALF_OPEN)
        self._probed_at = now
        permit = Permit(self._permit.generation, entered)
        self._probe = weakref.ref(permit)
        # A probe whose fate nobody reports (its thread hangs) is given up after a while.
        self._probe_until = now + self._settings.open_max
        return permit

    def is_open(self, now: float) -> bool:
        """Say whether waiting is in vain: nobody gets leave now, nor before the time is up."""
        return self.state is BreakerState.OPEN and now < self.probe_at

    def retry_in(self, now: float) -> float:
        """Seconds until asking again may help."""
        return max(self.probe_at - now, 1.0)  # a probe is on its way: soon, but not at once

    def is_suspect(self, now: float) -> bool:
        """Say whether it is closed, but the next failure would be one more in a row: a few of them open it."""
        recent = now - self._last_failure <= self._settings.window
        return self.state is BreakerState.CLOSED and self._in_a_row > 0 and recent

    def refusal(self, now: float) -> Refused | None:
        """Return why it would not let an attempt pass now, None if it would. Takes no permit."""
        if self.state is BreakerState.CLOSED or self.probe_due(now):
            return None
        return self.refused(now)

    def refused(self, now: float) -> Refused:
        """Say why no attempt may be made."""
        why = "the upstream is down, its breaker is open"
        return Refused(Rejection.BREAKER_OPEN, Suppression.BREAKER_OPEN, why, self.retry_in(now))

    def _judge_probe(self, health: Health, now: float, cut_short: float | None) -> BreakerState | None:
        if health is Health.NEITHER:
            self._probe_until = 0.0
            return None
        self._hasty = cut_short or 0.0
        if cut_short is not None:  # its caller gave up: the upstream may be well, only slower than that
            return self._open(now, self._probed_at, self._settings.open_for)
        if health is Health.FAILURE:
            self._open_for = min(self._open_for * 2, self._settings.open_max)
            # The upstream may have healed at any time since the probe began.
            return self._open(now, self._probed_at, self._open_for)
        self.snapshot = BreakerSnapshot(now, now, now)
        return self._close()

    def _is_too_much(self) -> bool:
        settings = self._settings
        if self._in_a_row >= settings.failures_in_a_row:
            return True
        attempts, failures = self._attempts.total, self._failures.total
        return attempts >= settings.minimum_attempts and failures >= settings.failure_rate * attempts

    def _is_silence(self, seconds: float, now: float) -> bool:
        """Say whether a timeout that its caller shortened to `seconds` tells of more than a caller in a hurry."""
        slowest = self._slowest.greatest(now)
        return seconds > (_PATIENT if slowest is None else slowest)

    def _open(self, now: float, since: float, seconds: float) -> BreakerState:
        self.probe_at = since + seconds
        self.snapshot = BreakerSnapshot(now, since, self.probe_at)
        return self._enter(BreakerState.OPEN)

    def _close(self) -> BreakerState:
        self._open_for = self._settings.open_for
        self._attempts.clear()
        self._failures.clear()
        self._slowest.clear()
        self._in_a_row = 0
        self._hasty = 0.0
        return self._enter(BreakerState.CLOSED)

    def _enter(self, state: BreakerState) -> BreakerState:
        self.state = state
        self._permit = Permit(self._permit.generation + 1)
        return state


class BreakerGuard:
    """The breaker, as one call sees it: an `AdmissionRule`."""

    __slots__ = ("_breaker", "_permit")

    def __init__(self, breaker: Breaker) -> None:
        self._breaker = breaker
        self._permit: Permit | None = None

    def ask(self, call: CallContext, now: float) -> Refused | None:
        self._permit = permit = self._breaker.acquire(now, call.granted)
        if permit is None:
            return self.refused(now)
        if permit.entered is not None:
            self._report(call, BreakerState.OPEN, permit.entered, 0.0)
        return None

    def tell(self, call: CallContext, outcome: Outcome, now: float) -> None:
        permit, breaker = self._permit, self._breaker
        if permit is None or breaker.is_retired:
            return
        before = breaker.state
        health = health_of(outcome, any_host=call.upstream.name == OTHER)
        cut_short = cut_short_after(outcome, granted=call.granted, attempt_timeout=call.upstream.policy.attempt_timeout)
        state = breaker.record(permit, health, now, seconds=call.duration, cut_short=cut_short)
        self._permit = None  # not before: interrupted, the call gives it back
        if state is None:
            return
        if BreakerState.CLOSED in (before, state):
            breaker.last_transition = Transition(now, state is BreakerState.OPEN)
        self._report(call, before, state, max(breaker.probe_at - now, 0.0))
        if state is BreakerState.OPEN:
            call.upstream.wake()

    def give_back(self) -> None:
        permit, self._permit = self._permit, None
        if permit is not None:
            self._breaker.release(permit)

    def prefers_others(self, call: CallContext, now: float) -> bool:
        """Say whether the probe that is due is kept for calls that wait longer."""
        return self._breaker.probe_due(now) and self._breaker.prefers_others(now, call.granted)

    def refused(self, now: float) -> Refused:
        """Say why no attempt may be made."""
        return self._breaker.refused(now)

    def _report(self, call: CallContext, before: BreakerState, state: BreakerState, seconds: float) -> None:
        if not self._breaker.is_retired:
            upstream = call.upstream
            upstream.observe(BreakerChanged(upstream.name, call.target, before, state, seconds))
