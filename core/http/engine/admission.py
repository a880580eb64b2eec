"""Decides whether an attempt may be sent now: asks each admission rule in order.

If one rule refuses, what the others granted is released. A new rule is one file with an `AdmissionRule`, and one line
in `Admission.__init__`.
"""

from __future__ import annotations

from collections.abc import Callable

from ..outcome import Outcome
from .admission_rule import AdmissionRule, CallContext, Refused
from .circuit_breaker import BreakerGuard
from .concurrency_and_pacing import Reservation, Slot
from .rate_limit_gate import GateGuard
from .steps import Wait
from .upstream import Upstream

_ELSEWHERE = 1.0
"""Seconds after which the gate is asked again while another process sends the probe."""


class Admission:
    """The admission rules of an upstream, with the state of one call. Not thread-safe."""

    __slots__ = ("_breaker", "_gate", "_reservation", "_rules", "_upstream")

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream
        limits, breaker, budget = upstream.limits, upstream.breaker, upstream.budget
        self._gate = GateGuard(upstream.gate) if upstream.policy.rate_limit_gate else None
        self._reservation = Reservation(limits) if limits is not None else None
        self._breaker = BreakerGuard(breaker) if breaker is not None else None
        in_order: tuple[AdmissionRule | None, ...] = (self._gate, self._reservation, self._breaker, budget)
        self._rules = [rule for rule in in_order if rule is not None]

    def resume(self, call: CallContext, now: float) -> None:
        """Record the end of the call's wait at the gate, if it waited there."""
        if self._gate is not None:
            self._gate.resume(call, now)

    def refusal(self, now: float) -> Refused | None:
        """Return a refusal if the breaker is open, so that waiting would be pointless; otherwise None."""
        breaker = self._upstream.breaker
        if breaker is None or self._breaker is None or not breaker.is_open(now):
            return None
        return self._breaker.refused(now)

    def ask(self, call: CallContext, now: float) -> Wait | Refused | None:
        """Ask all rules for permission to make an attempt. None: all rules granted it."""
        upstream = self._upstream
        if upstream.elect is not None and not upstream.gate.is_closed(now):
            for subject in upstream.with_probe_due(now):
                obstacle = self._elected(subject, call, now)
                if obstacle is not None:
                    return obstacle
        for rule in self._rules:
            obstacle = rule.ask(call, now)
            if obstacle is not None:
                self.give_back(but=rule)
                return obstacle
        if self._gate is None or self._reservation is None:
            return None
        # A call closes the gate before it releases its slot, so this call may have got the slot of a call that has
        # closed the gate since the gate was asked.
        obstacle = self._gate.ask_again(call, upstream.clock())
        if obstacle is not None:
            self.give_back()
        return obstacle

    def _elected(self, subject: Upstream, call: CallContext, now: float) -> Wait | Refused | None:
        """Ask whether this process may send the probe that is due. None: the process may send it."""
        assert self._upstream.elect is not None  # noqa: S101 - the caller has checked it
        if self._breaker is not None and self._breaker.prefers_others(call, now):
            return self._breaker.refused(now)
        # Take the slot first: a call that cannot send must not win an election.
        obstacle = self._reservation.ask(call, now) if self._reservation is not None else None
        if obstacle is not None:
            return obstacle
        elected = self._upstream.elect(subject, now)
        return None if elected is True else self._not_elected(elected, call, now)

    def sent(self) -> None:
        """Record that the attempt started."""
        if self._reservation is not None:
            self._reservation.sent()

    def tell(self, call: CallContext, outcome: Outcome, now: float) -> None:
        """Report the outcome to all rules. The slot is released last, so that the next call sees their new state."""
        reservation = self._reservation
        for rule in self._rules:
            if rule is not reservation:
                rule.tell(call, outcome, now)
        if reservation is not None:
            reservation.tell(call, outcome, now)

    def give_back(self, *, but: AdmissionRule | None = None) -> None:
        """Release all permissions and places in queues, except those of the rule `but`."""
        for rule in self._rules:
            if rule is not but:
                rule.give_back()

    def waking(self, wake: Callable[[], object]) -> None:
        """Call `wake` when the call gets its slot."""
        if self._reservation is not None:
            self._reservation.waking(wake)

    def keep_slot(self) -> Slot | None:
        """Transfer the slot of the current attempt to the caller; None: the policy does not limit concurrency."""
        return None if self._reservation is None else self._reservation.keep_slot()

    @property
    def holds_reservation(self) -> bool:
        """Whether the call has a slot or a turn, or waits for one."""
        return self._reservation is not None and self._reservation.is_held

    def _not_elected(self, elected: Wait | bool, call: CallContext, now: float) -> Wait | Refused:
        """Return the next step of a call that has not won the election.

        While the election is undecided, the call waits. If another process won and the probe is for an open breaker,
        the call is refused. If the probe is for a gate, the call waits for the result, unless its deadline is earlier.
        """
        if isinstance(elected, Wait):
            return Wait(min(elected.seconds, call.deadline - now), for_turn=True)
        breaker = self._upstream.breaker
        self.give_back()
        if breaker is not None and self._breaker is not None and breaker.probe_due(now):
            return self._breaker.refused(now)
        return Wait(_ELSEWHERE) if self._gate is None else self._gate.wait(call, now, _ELSEWHERE)
