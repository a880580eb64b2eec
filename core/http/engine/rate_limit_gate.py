"""The rate-limit gate of an upstream. It is closed while the upstream asks for a pause, at most for an hour."""

from __future__ import annotations

import threading
import weakref

from ..events import GateClosed, GateWaited, Suppression
from ..outcome import Outcome, Reason, Rejection
from .admission_rule import CallContext, Refused
from .mergeable_state import GateSnapshot
from .steps import Wait

MAX_CLOSED = 3600.0
"""Maximum number of seconds for which the gate stops all calls. If the upstream asked for a longer pause, one call at a
time may then send a probe."""
MOST_WHY = 200
"""Maximum number of characters of the reason that a gate keeps. It is part of errors and stored in the shared cache."""
DEFAULT_WHY = "asked for a pause"
_PROBED = 1.0
"""Seconds between checks of the gate while a probe is in flight, whose response may open the gate at any time."""


class Gate:
    """The state of one gate. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._closed_until = 0.0
        self._asked_until = 0.0
        self._probe_until = 0.0
        self._prober: weakref.ref[object] = weakref.ref(self)
        """The guard of the call that sends the probe. The reference is weak, because an interrupted call may never
        report the outcome."""
        self._reopened = 0.0
        self._refusals = 0
        """Number of consecutive pauses with `doubled`: see `close`."""
        self._why = ""
        """The reason for the pause, for messages; "": `DEFAULT_WHY`."""

    def close(self, now: float, seconds: float, *, doubled: bool = False, why: str = "") -> float:
        """Close the gate for `seconds`, at most an hour; an earlier pause that ends later remains.

        Returns the time at which the gate will open.

        :param doubled: whether to double the pause each time that the upstream asks for one after the end of the last.
        :param why: the reason for the pause, for messages.
        """
        with self._lock:
            if doubled and now < self._closed_until:  # a response to a request that was sent before the gate closed
                return self._closed_until
            if doubled:
                seconds = min(seconds * 2.0 ** min(self._refusals, 20), MAX_CLOSED)
                self._refusals += 1
            if now + seconds > self._closed_until:
                self._why = "".join(filter(str.isprintable, why))[:MOST_WHY]
            self._probe_until = 0.0
            self._asked_until = max(self._asked_until, now + seconds)
            self._closed_until = max(self._closed_until, min(now + seconds, now + MAX_CLOSED))
            return self._closed_until

    def answered(self, now: float) -> None:
        """Record a response that does not ask for a pause. The response to a probe opens the gate."""
        if self._refusals and now >= self._closed_until:
            self._refusals = 0
        # While the gate is closed, responses belong to requests that were sent earlier.
        if self._asked_until > now >= self._closed_until:
            with self._lock:
                if now >= self._closed_until:  # another thread may have closed the gate since the first check
                    self._asked_until = self._closed_until = self._reopened = now
                    self._why = ""

    def closed_for(self, now: float, prober: object) -> float:
        """Return the seconds that a call must wait; 0: the call may be sent.

        If the pause is longer than an hour, the gate allows one call at a time, the probe, after one hour.

        :param prober: identifies the call, which becomes the probe if one is due.
        """
        if now >= self._asked_until:  # the gate is open and no probe is due, so no lock is needed
            return 0.0
        with self._lock:
            if now < self._closed_until:
                return self._closed_until - now
            if self.is_probing(now):
                return self._probe_until - now
            self._prober = weakref.ref(prober)
            self._probe_until = min(now + MAX_CLOSED, self._asked_until)
            return 0.0

    def release(self, prober: object) -> None:
        """Allow the next probe, because the call of `prober` was not sent or got no response.

        Does nothing if that call was not the probe.
        """
        if self._prober() is prober:
            self._probe_until = 0.0

    @property
    def snapshot(self) -> GateSnapshot:
        """The state that is shared with other processes."""
        with self._lock:
            return self._snapshot()

    def adopt(self, seen: GateSnapshot, snapshot: GateSnapshot) -> bool:
        """Adopt the state of another process. Returns whether it was adopted.

        :param seen: the snapshot of this gate for which the caller decided to adopt `snapshot`. If the gate has changed
            since then, nothing is adopted.
        """
        with self._lock:
            if self._snapshot() != seen:
                return False
            self._reopened, self._closed_until, self._asked_until, self._why = snapshot
            self._probe_until = 0.0
            return True

    def is_closed(self, now: float) -> bool:
        """Return whether the gate stops all calls, even a probe."""
        return now < self._closed_until

    def probe_due(self, now: float) -> bool:
        """Return whether the next call would be the probe."""
        return self._closed_until <= now < self._asked_until and not self.is_probing(now)

    def is_probing(self, now: float) -> bool:
        return self._closed_until <= now < min(self._asked_until, self._probe_until) and self._prober() is not None

    def refusal(self, now: float) -> Refused | None:
        """Return the refusal that a call would get now; None: the call would be allowed. Does not start a probe."""
        if self.is_closed(now):
            return self.refused(self._closed_until - now)
        return self.refused(_PROBED) if self.is_probing(now) else None

    def refused(self, seconds: float) -> Refused:
        """Return the refusal of a call that cannot wait `seconds`."""
        why = f"the upstream {self._why or DEFAULT_WHY}"
        return Refused(Rejection.RATE_LIMITED, Suppression.DEADLINE, why, seconds)

    def _snapshot(self) -> GateSnapshot:
        return GateSnapshot(self._reopened, self._closed_until, self._asked_until, self._why)


class GateGuard:
    """The `AdmissionRule` of the rate-limit gate: the gate, with the state of one call."""

    __slots__ = ("__weakref__", "_gate", "_waits_since")

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._waits_since: float | None = None

    def ask(self, call: CallContext, now: float) -> Wait | Refused | None:
        closed_for = self._gate.closed_for(now, self)
        return self.wait(call, now, closed_for) if closed_for > 0 else None

    def ask_again(self, call: CallContext, now: float) -> Wait | Refused | None:
        """Return a `Wait` or a refusal if the gate has closed since `ask`."""
        return self.wait(call, now, self._gate.closed_for(now, self)) if self._gate.is_closed(now) else None

    def wait(self, call: CallContext, now: float, seconds: float) -> Wait | Refused:
        """Return a `Wait` of `seconds`, or a refusal if the deadline of the call is earlier."""
        if now + seconds < call.deadline:
            self._waits_since = now
            return Wait(seconds)
        return self._gate.refused(seconds)

    def resume(self, call: CallContext, now: float) -> None:
        """Report how long the call waited at the gate. Does nothing if the call did not wait."""
        if self._waits_since is not None:
            call.upstream.observe(GateWaited(call.upstream.name, now - self._waits_since))
            self._waits_since = None

    def tell(self, call: CallContext, outcome: Outcome, now: float) -> None:
        limited = outcome.reason is Reason.HTTP_429
        if outcome.retry_after and (outcome.transient or limited):
            until = self._gate.close(now, outcome.retry_after, doubled=outcome.doubled, why=outcome.why)
            seconds = max(outcome.retry_after, until - now)
            call.upstream.observe(GateClosed(call.upstream.name, call.target, seconds, call.upstream.partition))
        elif outcome.status is None or limited:
            self._gate.release(self)  # no response, or a 429 without a time: if this was the probe, allow another one
        else:
            self._gate.answered(now)

    def give_back(self) -> None:
        self._gate.release(self)
