"""The slot of one attempt, if the policy limits concurrency, and its turn, if the policy limits requests per second."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..events import Suppression
from ..outcome import Outcome, Rejection
from ..policy import Policy
from .admission_rule import CallContext, Refused
from .concurrency import Slots, Ticket
from .pacing import Pace
from .steps import Wait

POLL_SLOT = 0.1
"""Seconds after which a driver that cannot be woken asks for its slot again."""
POLL_ANYWAY = 1.0
"""Seconds after which a driver that can be woken asks for its slot again, in case it was not woken."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The slots and the pace of an upstream, which all its calls share."""

    slots: Slots | None
    pace: Pace | None


def limits_of(policy: Policy) -> Limits | None:
    """Return the limits of `policy`; None: the policy has no limits."""
    slots = Slots(policy.max_concurrency) if policy.max_concurrency is not None else None
    pace = Pace(policy.requests_per_second) if policy.requests_per_second is not None else None
    return Limits(slots, pace) if slots or pace else None


class Slot:
    """Holds a slot, or a place in the queue for a slot.

    When the object is garbage-collected, the slot or the place is given back. So an interrupt at any time loses no
    slot.
    """

    __slots__ = ("__weakref__", "_slots", "_taken", "_ticket")

    def __init__(self, slots: Slots) -> None:
        self._ticket = Ticket()
        self._taken = False
        self._slots: Slots | None = slots

    def take(self) -> bool:
        """Take the slot, or keep the place in the queue. Returns whether the slot was taken."""
        if self._slots is not None and not self._taken:
            self._taken = self._slots.take(self._ticket)
        return self._taken

    def waking(self, wake: Callable[[], object]) -> None:
        """Call `wake` when the slot is free, or immediately if it became free after `take`."""
        self._ticket.wake = wake
        if self._slots is not None and not self._taken and self._slots.holds(self._ticket):
            wake()

    def leave(self) -> None:
        """Give back the slot, or the place in the queue. Safe for finalizers."""
        if self._slots is not None:
            self._slots.leave(self._ticket)
            self._slots = None  # last: after an earlier interrupt, `__del__` gives the slot back

    def __del__(self) -> None:
        if hasattr(self, "_slots"):  # missing if an interrupt came during `__init__`
            self.leave()


class Reservation:
    """The `AdmissionRule` of the limits: slots and pace, with the state of one call."""

    __slots__ = ("_limits", "_slot", "_turn")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._slot: Slot | None = None
        self._turn: float | None = None

    def ask(self, call: CallContext, now: float) -> Wait | Refused | None:
        deadline = call.deadline
        slots, pace = self._limits.slots, self._limits.pace
        if slots is not None:
            if self._slot is None:
                self._slot = Slot(slots)
            if not self._slot.take():
                left = deadline - now
                poll = min(POLL_SLOT, left)
                return Wait(poll, for_turn=True, if_woken=max(poll, min(POLL_ANYWAY, left)))
        if pace is None:
            return None
        if self._turn is None or pace.is_lost(self._turn, now):
            self._turn = pace.reserve(now, deadline)
        if self._turn is None:
            why = "its turn under requests_per_second comes after the total timeout"
            return Refused(Rejection.DEADLINE_EXCEEDED, Suppression.DEADLINE, why)
        return Wait(self._turn - now) if self._turn > now else None

    def waking(self, wake: Callable[[], object]) -> None:
        """Call `wake` when the slot is free."""
        if self._slot is not None:
            self._slot.waking(wake)

    @property
    def is_held(self) -> bool:
        """Whether the call has a slot, a turn or a place in the queue."""
        return self._slot is not None or self._turn is not None

    def sent(self) -> None:
        """Record that the turn was used."""
        self._turn = None

    def keep_slot(self) -> Slot | None:
        """Return the slot, which the caller must release with `Slot.leave`."""
        slot, self._slot = self._slot, None
        return slot

    def tell(self, call: CallContext, outcome: Outcome, now: float) -> None:  # noqa: ARG002 - `AdmissionRule`
        self.give_back()

    def give_back(self) -> None:
        turn, self._turn = self._turn, None
        if turn is not None and self._limits.pace is not None:
            self._limits.pace.give_back(turn)
        slot, self._slot = self._slot, None
        if slot is not None:
            slot.leave()
