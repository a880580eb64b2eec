"""The circuit breaker of an upstream: it rejects attempts while the upstream is down.

closed ── too many failures ──> open ── `probe_at` is reached ──> half-open ── the probe succeeds ──> closed
                                  ^                                   │
                                  └───────── the probe fails ─────────┘   (and the time until the next probe doubles)

The time does not double if the probe timed out because its caller had shortened the timeout.

Each transition starts a new generation, and a permit contains the generation in which it was granted. So the outcome of
an attempt that started before a transition has no effect after it.
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
"""Seconds. If there was no recent success, a timeout that the caller shortened to this or less is not a failure."""


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Permit:
    """Permission for one attempt. If the permit of a probe is garbage-collected, another probe is allowed."""

    generation: int
    entered: BreakerState | None = None
    """The state that the breaker entered by granting this permit: half-open for the first probe, otherwise None."""


class Breaker:
    """The state of one breaker. Thread-safe: a lock guards each change, and is never held during an attempt."""

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
        """Seconds after which the last probe timed out, if its caller had shortened the timeout; otherwise 0."""
        self.state = BreakerState.CLOSED
        self.probe_at = 0.0
        """While open: when the next probe is allowed."""
        self.snapshot = BreakerSnapshot()
        """The state that is shared with other processes."""
        self.last_transition: Transition | None = None
        """The last time that a call of this process opened or closed the breaker, for operators."""
        self.is_retired = False
        """Whether the breaker was replaced. No new call uses a retired breaker, and it reports no changes."""
        self._permit = Permit(0)
        self._probe: weakref.ref[Permit] = weakref.ref(self._permit)
        """The permit of the probe. The reference is weak, because an interrupted call may never report the outcome."""

    def acquire(self, now: float, patience: float) -> Permit | None:
        """Return a permit for one attempt; None: the breaker refuses.

        The caller must pass the permit to `record` or `release`.

        :param patience: seconds that the attempt may take.
        """
        permit = self._permit
        if self.state is BreakerState.CLOSED:  # no lock: a permit of a generation that just ended changes nothing
            return permit
        with self._lock:
            return self._acquire_probe(now, patience)

    def record(
        self, permit: Permit, health: Health, now: float, *, seconds: float = 0.0, cut_short: float | None = None
    ) -> BreakerState | None:
        """Record the outcome of an attempt. Returns the state that the breaker entered; None: it did not change.

        :param seconds: duration of the attempt.
        :param cut_short: seconds after which the attempt timed out, if they are less than the policy's timeout;
            otherwise None.
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
        """Take back an unused permit, because the attempt was cancelled."""
        with self._lock:
            if permit.generation == self._permit.generation:
                self._probe_until = 0.0

    def adopt(self, seen: BreakerSnapshot, snapshot: BreakerSnapshot) -> BreakerState | None:
        """Adopt the state of another process. Returns the former state; None: the state was not adopted.

        :param seen: the snapshot of this breaker for which the caller decided to adopt `snapshot`. If the breaker has
            changed since then, nothing is adopted.
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
        """Return whether the next attempt would be the probe."""
        return self.state is not BreakerState.CLOSED and now >= self.probe_at and not self.is_probing(now)

    def is_probing(self, now: float) -> bool:
        return self.state is BreakerState.HALF_OPEN and now < self._probe_until and self._probe() is not None

    def prefers_others(self, now: float, patience: float) -> bool:
        """Return whether the probe is reserved for calls with a longer timeout than a call with `patience` seconds.

        It is reserved if the last probe timed out because its caller had shortened the timeout, and `patience` is not
        longer than that timeout. The reservation ends `open_for` seconds after the probe became due, because there may
        be no other calls.
        """
        return patience <= self._hasty and now < self.probe_at + self._settings.open_for

    def _acquire_probe(self, now: float, patience: float) -> Permit | None:
        if self.state is BreakerState.CLOSED:  # closed since the check without the lock
            return self._permit
        if not self.probe_due(now) or self.prefers_others(now, patience):
            return None
        entered = BreakerState.HALF_OPEN if self.state is BreakerState.OPEN else None
        self._enter(BreakerState.HALF_OPEN)
        self._probed_at = now
        permit = Permit(self._permit.generation, entered)
        self._probe = weakref.ref(permit)
        # If no outcome of the probe is reported (its thread hangs), another probe is allowed after this time.
        self._probe_until = now + self._settings.open_max
        return permit

    def is_open(self, now: float) -> bool:
        """Return whether the breaker refuses all attempts until `probe_at`, so that waiting is pointless."""
        return self.state is BreakerState.OPEN and now < self.probe_at

    def retry_in(self, now: float) -> float:
        """Return the seconds until another attempt may be allowed, at least 1."""
        return max(self.probe_at - now, 1.0)  # at least 1 s: a probe may be in flight

    def is_suspect(self, now: float) -> bool:
        """Return whether the last attempt failed recently and the breaker is still closed.

        A few more failures in a row would open the breaker.
        """
        recent = now - self._last_failure <= self._settings.window
        return self.state is BreakerState.CLOSED and self._in_a_row > 0 and recent

    def refusal(self, now: float) -> Refused | None:
        """Return the refusal that an attempt would get now; None: the attempt would be allowed. Grants no permit."""
        if self.state is BreakerState.CLOSED or self.probe_due(now):
            return None
        return self.refused(now)

    def refused(self, now: float) -> Refused:
        """Return the refusal of an attempt."""
        why = "the upstream is down, its breaker is open"
        return Refused(Rejection.BREAKER_OPEN, Suppression.BREAKER_OPEN, why, self.retry_in(now))

    def _judge_probe(self, health: Health, now: float, cut_short: float | None) -> BreakerState | None:
        if health is Health.NEITHER:
            self._probe_until = 0.0
            return None
        self._hasty = cut_short or 0.0
        if cut_short is not None:  # the caller's timeout ended the probe: the upstream may work, only slower
            return self._open(now, self._probed_at, self._settings.open_for)
        if health is Health.FAILURE:
            self._open_for = min(self._open_for * 2, self._settings.open_max)
            # Count from the start of the probe: the upstream may have recovered at any time since then.
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
        """Return whether an attempt that timed out after `seconds`, the caller's shorter timeout, counts as a failure.

        It counts if `seconds` is longer than the slowest recent success or, without a recent success, longer than 1 s.
        """
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
    """The `AdmissionRule` of the circuit breaker: the breaker, with the state of one call."""

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
        if permit is None:
            return
        before = breaker.state
        health = health_of(outcome, any_host=call.upstream.name == OTHER)
        cut_short = cut_short_after(outcome, granted=call.granted, attempt_timeout=call.upstream.policy.attempt_timeout)
        state = breaker.record(permit, health, now, seconds=call.duration, cut_short=cut_short)
        self._permit = None  # not earlier: if `record` is interrupted, the call still releases the permit
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
        """Return whether the probe that is due is reserved for calls with a longer timeout."""
        return self._breaker.prefers_others(now, call.granted)

    def refused(self, now: float) -> Refused:
        """Return the refusal of an attempt."""
        return self._breaker.refused(now)

    def _report(self, call: CallContext, before: BreakerState, state: BreakerState, seconds: float) -> None:
        if not self._breaker.is_retired:
            upstream = call.upstream
            upstream.observe(BreakerChanged(upstream.name, call.target, before, state, seconds))
