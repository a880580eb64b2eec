"""How many attempts an upstream gets at once from this process, and how fast they follow each other.

Nothing here blocks: whoever has to wait is told so, and asks again.
"""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from heapq import heappop, heappush

from core.http.policy import Policy

ASK_AGAIN = 0.1
"""Seconds. Whoever cannot be woken looks this often whether their turn for a slot has come."""
LOOK_ANYWAY = 1.0
"""Seconds after which whoever is woken looks as well, should that have gone wrong."""

_LATE = 0.1
"""Seconds that a turn may be used late at any pace: threads wake when they can, not when they should."""


class Ticket:
    """A place in the queue for a slot, and then the slot. Serves once: whoever has left with it needs another."""

    __slots__ = ("wake",)

    def __init__(self) -> None:
        self.wake: Callable[[], object] = _nobody
        """Called when the slot is there. Raises nothing, and takes no lock: see `Slots.leave`."""


class Slots:
    """At most `limit` at once, in the order in which they came. Safe for threads, and for finalizers."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._holders: set[Ticket] = set()
        self._queue: OrderedDict[Ticket, None] = OrderedDict()
        self._left: deque[Ticket] = deque()

    def take(self, ticket: Ticket) -> bool:
        """Take a slot, or a place in the queue: ask again when `ticket` is woken."""
        with self._lock:
            if ticket not in self._holders:
                self._queue.setdefault(ticket)
            served = self._serve()
        self._settle()  # what was left while we had the lock
        _wake(served)
        return self.holds(ticket)

    def holds(self, ticket: Ticket) -> bool:
        """Say whether the slot is there."""
        return ticket in self._holders

    def leave(self, ticket: Ticket) -> None:
        """Give back the slot, or the place in the queue; once they are given back, nothing.

        A finalizer may call this: in any thread and between any two lines of this class, with the lock held by
        that very thread. So it does not wait for the lock: whoever has it, does the rest.
        """
        self._left.append(ticket)
        self._settle()

    def _settle(self) -> None:
        # The lock is taken by the loop itself: an interrupt may come right after a call of `acquire`, before the
        # line that would have it released, and then nobody would ever get a slot again.
        for _ in iter(partial(self._lock.acquire, False), False) if self._left else ():
            try:
                served = self._serve()
            finally:
                self._lock.release()
            _wake(served)
            if not self._left:
                break

    def _serve(self) -> list[Ticket]:
        """Pass on what is free; returns who got it. An interrupt at any line of it loses nothing."""
        while self._left:
            self._holders.discard(self._left[0])
            self._queue.pop(self._left[0], None)
            self._left.popleft()
        served = []
        while self._queue and len(self._holders) < self._limit:
            first = next(iter(self._queue))
            self._holders.add(first)
            del self._queue[first]
            served.append(first)
        return served


class Pace:
    """Turns at even distances. What was not used in a pause is gone: no burst makes up for it. Safe for threads."""

    def __init__(self, per_second: float) -> None:
        self._interval = 1 / per_second
        self._lock = threading.Lock()
        self._next = float("-inf")
        self._returned: list[float] = []
        """Turns before the next one that nobody has any more: a heap."""

    def reserve(self, now: float, before: float) -> float | None:
        """Take the next turn; returns when that is. None: not `before` then, and none is taken."""
        with self._lock:
            while self._returned and self._returned[0] < now:
                heappop(self._returned)
            turn = self._returned[0] if self._returned else max(self._next, now)
            if turn >= before:
                return None
            if self._returned:
                heappop(self._returned)
            else:
                self._next = turn + self._interval
            return turn

    def is_lost(self, turn: float, now: float) -> bool:
        """Say whether a turn has passed: all that were not used in a stall, used after it, would be a burst."""
        return now - turn > max(self._interval, _LATE)

    def give_back(self, turn: float) -> None:
        """Leave a turn that was not used to whoever asks next."""
        with self._lock:
            if turn + self._interval == self._next:
                self._next = turn
            else:
                heappush(self._returned, turn)


@dataclass(frozen=True, slots=True)
class Limits:
    """Both of an upstream, or one of them."""

    slots: Slots | None
    pace: Pace | None


def limits_of(policy: Policy) -> Limits | None:
    """Make what `policy` asks for; None: nothing."""
    slots = Slots(policy.max_concurrency) if policy.max_concurrency is not None else None
    pace = Pace(policy.requests_per_second) if policy.requests_per_second is not None else None
    return Limits(slots, pace) if slots or pace else None


class Place:
    """Where one attempt stands: in the queue for a slot, then with a slot and waiting for its turn, then sent.

    When nobody refers to it any more, it gives its slot back: so an interrupt at any moment loses none.
    """

    def __init__(self, limits: Limits) -> None:
        self._slots = limits.slots
        self._pace = limits.pace
        self._ticket = Ticket()
        self._has_slot = False
        self._turn: float | None = None

    def wait(self, now: float, before: float) -> float | None:
        """Seconds to wait before asking again; 0: go. None: its turn does not come `before` then."""
        if self._slots is not None and not self._has_slot:
            self._has_slot = self._slots.take(self._ticket)
            if not self._has_slot:
                return min(ASK_AGAIN, before - now)
        if self._pace is None:
            return 0.0
        if self._turn is None or self._pace.is_lost(self._turn, now):
            self._turn = self._pace.reserve(now, before)
        return None if self._turn is None else max(self._turn - now, 0.0)

    @property
    def queues(self) -> bool:
        """It waits for a slot."""
        return self._slots is not None and not self._has_slot

    def waking(self, wake: Callable[[], object]) -> None:
        """Call `wake` when the slot that it waits for is there; at once if it came since it was asked for."""
        self._ticket.wake = wake
        if self._slots is not None and not self._has_slot and self._slots.holds(self._ticket):
            wake()

    def sent(self) -> None:
        """Note that its turn was used."""
        self._turn = None

    def leave(self) -> None:
        """Give back what it has. Safe for finalizers once it was sent."""
        if self._pace is not None and self._turn is not None:
            self._pace.give_back(self._turn)
            self._turn = None
        if self._slots is not None:
            self._slots.leave(self._ticket)
            self._slots = None

    def __del__(self) -> None:
        self._turn = None  # is lost: giving it back would take a lock
        self.leave()


def _nobody() -> None:
    pass


def _wake(served: list[Ticket]) -> None:
    for ticket in served:
        ticket.wake()
