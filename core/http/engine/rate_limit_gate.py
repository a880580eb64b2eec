"""The rate-limit gate of an upstream: closed while the upstream asks for a pause."""

from __future__ import annotations

import threading
import weakref

from ..events import GateClosed, GateWaited, Suppression
from ..outcome import Outcome, Reason, Rejection
from .admission_rule import CallContext, Refused
from .mergeable_state import GateSnapshot
from .steps import Wait

MAX_CLOSED = 3600.0
"""Maximum seconds of a pause. If an upstream asks for more, one probe is sent after an hour."""
MOST_WHY = 200
"""Maximum characters of the reason that a gate keeps: it is part of errors and stored in the shared cache."""
LEFT_ALONE = "asked for a pause"
_PROBED = 1.0
"""Seconds between checks of the gate while a probe is in flight, because its response may open the gate any time."""


class Gate:
    """The state of one gate. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._closed_until = 0.0
        self._asked_until = 0.0
        self._probe_until = 0.0
        self._prober: weakref.ref[object] = weakref.ref(self)
        """The guard of the call that probes. Weak, because an interrupted call may report no outcome."""
        self._reopened = 0.0
        self._refusals = 0
        """How often in a row the upstream still refused after a pause that grows."""
        self._why = ""
        """The reason of the pause, for messages; "": `LEFT_ALONE`."""

    def close(self, now: float, seconds: float, *, doubled: bool = False, why: str = "") -> float:
        """Close the gate for `seconds`, at most an hour; a longer pause stays. Returns when the gate will open.

        :param doubled: double the pause each time that the upstream asks for it again after the end of the last one.
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
        """Record that the upstream answered without asking for a pause: the response to a probe opens the gate."""
        if self._refusals and now >= self._closed_until:
            self._refusals = 0
        if self._asked_until > now >= self._closed_until:  # while closed, responses are to requests sent earlier
            with self._lock:
                if now >= self._closed_until:  # another thread may have closed the gate since the first check
                    self._asked_until = self._closed_until = self._reopened = now
                    self._why = ""

    def closed_for(self, now: float, prober: object) -> float:
        """Return the seconds to wait; 0: send. After an hour of a longer pause, one `prober` at a time may send."""
        if now >= self._asked_until:  # open, and no probe is due, so no lock is needed
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
        """Allow the next probe, if `prober` was the probe. To be called if it was not sent or got no response."""
        if self._prober() is prober:
            self._probe_until = 0.0

    @property
    def snapshot(self) -> GateSnapshot:
        """The state that is shared with other processes."""
        with self._lock:
            return self._snapshot()

    def adopt(self, seen: GateSnapshot, snapshot: GateSnapshot) -> bool:
        """Adopt the state of another process. False: not adopted, because this gate's snapshot is no longer `seen`."""
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
        """Return why the gate would stop a call now; None: it would let one pass. Uses up no probe."""
        if self.is_closed(now):
            return self.refused(self._closed_until - now)
        return self.refused(_PROBED) if self.is_probing(now) else None

    def refused(self, seconds: float) -> Refused:
        """Return the refusal of a call that cannot wait `seconds`."""
        return Refused(Rejection.RATE_LIMITED, Suppression.DEADLINE, f"the upstream {self._why or LEFT_ALONE}", seconds)

    def _snapshot(self) -> GateSnapshot:
        return GateSnapshot(self._reopened, self._closed_until, self._asked_until, self._why)


class GateGuard:
    """The gate with the state of one call: an `AdmissionRule`."""

    __slots__ = ("__weakref__", "_gate", "_waits_since")

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._waits_since: float | None = None

    def ask(self, call: CallContext, now: float) -> Wait | Refused | None:
        closed_for = self._gate.closed_for(now, self)
        return self.wait(call, now, closed_for) if closed_for > 0 else None

    def wait(self, call: CallContext, now: float, seconds: float) -> Wait | Refused:
        """Let the call wait at the gate, or refuse it if its deadline is earlier."""
        if now + seconds < call.deadline:
            self._waits_since = now
            return Wait(seconds)
        return self._gate.refused(seconds)

    def resume(self, call: CallContext, now: float) -> None:
        """Report the time that the call has waited at the gate, if it has."""
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
            self._gate.release(self)  # no response, or a 429 without a time: if this was the probe, allow another
        else:
            self._gate.answered(now)

    def give_back(self) -> None:
        self._gate.release(self)
