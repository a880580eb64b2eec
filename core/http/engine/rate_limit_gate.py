"""The rate-limit gate of an upstream: closed for as long as the upstream asks to be left alone."""

from __future__ import annotations

import threading
import weakref

from ..events import GateClosed, GateWaited, Suppression
from ..outcome import Outcome, Reason, Rejection
from .admission_rule import CallContext, Refused
from .mergeable_state import GateSnapshot
from .steps import Wait

MAX_CLOSED = 3600.0
"""Seconds. An upstream that asks for more is asked again after an hour, by one probe."""
MOST_WHY = 200
"""Characters of the reason that a gate keeps: it goes into errors and into the shared cache."""
LEFT_ALONE = "asked for a pause"
_PROBED = 1.0
"""Seconds after which a gate is looked at again while a probe is on its way, which may open it at any moment."""


class Gate:
    """Safe for threads."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._closed_until = 0.0
        self._asked_until = 0.0
        self._probe_until = 0.0
        self._prober: weakref.ref[object] = weakref.ref(self)
        """Who probes: until it says what came of it, and no longer than it lives."""
        self._reopened = 0.0
        self._refusals = 0
        """How often in a row the upstream still refused when a pause that grows was over."""
        self._why = ""
        """Why it is closed, for people; "": `LEFT_ALONE`."""

    def close(self, now: float, seconds: float, *, doubled: bool = False, why: str = "") -> float:
        """Close for `seconds`, an hour at most; a gate that is closed for longer stays so. Returns until when.

        :param doubled: for twice as long each time that it is closed so again after it had opened.
        """
        with self._lock:
            if doubled and now < self._closed_until:  # an answer to what was sent before it closed
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
        """Note that the upstream answered and asked for nothing: a probe's answer opens the gate for all."""
        if self._refusals and now >= self._closed_until:
            self._refusals = 0
        if self._asked_until > now >= self._closed_until:  # before, it is an answer to what was sent earlier
            with self._lock:
                if now >= self._closed_until:  # still: nobody closed it since we looked
                    self._asked_until = self._closed_until = self._reopened = now
                    self._why = ""

    def closed_for(self, now: float, prober: object) -> float:
        """Seconds to wait; 0: go. Where the upstream asked for more than an hour, one `prober` goes at a time."""
        if now >= self._asked_until:  # open, and nothing to probe: no lock
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
        """Let the next probe go, if it was this one that came to nothing."""
        if self._prober() is prober:
            self._probe_until = 0.0

    @property
    def snapshot(self) -> GateSnapshot:
        """What other processes should know."""
        with self._lock:
            return self._snapshot()

    def adopt(self, seen: GateSnapshot, snapshot: GateSnapshot) -> bool:
        """Take over what another process was told. False: not done, this one has been told something since `seen`."""
        with self._lock:
            if self._snapshot() != seen:
                return False
            self._reopened, self._closed_until, self._asked_until, self._why = snapshot
            self._probe_until = 0.0
            return True

    def is_closed(self, now: float) -> bool:
        """Say whether nobody may pass, not even a probe."""
        return now < self._closed_until

    def probe_due(self, now: float) -> bool:
        """Say whether the next who comes would be the probe."""
        return self._closed_until <= now < self._asked_until and not self.is_probing(now)

    def is_probing(self, now: float) -> bool:
        return self._closed_until <= now < min(self._asked_until, self._probe_until) and self._prober() is not None

    def refusal(self, now: float) -> Refused | None:
        """Return why nobody may pass now, None if somebody may. Passing is not asked for: no probe is used up."""
        if self.is_closed(now):
            return self.refused(self._closed_until - now)
        return self.refused(_PROBED) if self.is_probing(now) else None

    def refused(self, seconds: float) -> Refused:
        """Say why a call may not pass that cannot wait `seconds`."""
        return Refused(Rejection.RATE_LIMITED, Suppression.DEADLINE, f"the upstream {self._why or LEFT_ALONE}", seconds)

    def _snapshot(self) -> GateSnapshot:
        return GateSnapshot(self._reopened, self._closed_until, self._asked_until, self._why)


class GateGuard:
    """The gate, as one call sees it: an `AdmissionRule`."""

    __slots__ = ("__weakref__", "_gate", "_waits_since")

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._waits_since: float | None = None

    def ask(self, call: CallContext, now: float) -> Wait | Refused | None:
        closed_for = self._gate.closed_for(now, self)
        return self.wait(call, now, closed_for) if closed_for > 0 else None

    def wait(self, call: CallContext, now: float, seconds: float) -> Wait | Refused:
        """Have the call wait at the gate, if its deadline allows that."""
        if now + seconds < call.deadline:
            self._waits_since = now
            return Wait(seconds)
        return self._gate.refused(seconds)

    def resume(self, call: CallContext, now: float) -> None:
        """Report the time that the call has waited here, if it has."""
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
            self._gate.release(self)  # no answer, or "not yet" without a time: if this was the probe, another goes
        else:
            self._gate.answered(now)

    def give_back(self) -> None:
        self._gate.release(self)
