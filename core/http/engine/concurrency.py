"""Limits the number of concurrent attempts of this process to an upstream. No function blocks."""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial


class Ticket:
    """Represents a place in the queue for a slot, and later the slot. After `Slots.leave`, it cannot be used again."""

    __slots__ = ("wake",)

    def __init__(self) -> None:
        self.wake: Callable[[], object] = _do_nothing
        """A function that is called when the ticket gets its slot. It must not raise or acquire a lock: see
        `Slots.leave`."""


class Slots:
    """At most `limit` slots, assigned in the order of the requests. Safe for threads and for finalizers."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lock = threading.RLock()
        self._holders: set[Ticket] = set()
        self._queue: OrderedDict[Ticket, None] = OrderedDict()
        self._left: deque[Ticket] = deque()

    def take(self, ticket: Ticket) -> bool:
        """Take a slot and return True, or take a place in the queue and return False.

        In the second case, `ticket.wake` is called when the ticket gets its slot.
        """
        with self._lock:
            if ticket not in self._holders:
                self._queue.setdefault(ticket)
            served = self._serve()
        self._settle()  # process tickets that were given back while this thread held the lock
        _wake(served)
        return self.holds(ticket)

    def holds(self, ticket: Ticket) -> bool:
        """Return whether `ticket` has its slot."""
        return ticket in self._holders

    def leave(self, ticket: Ticket) -> None:
        """Give back the slot or the place in the queue. Does nothing if it was given back before.

        A finalizer may call this in any thread and between any two lines of this class, even while its own thread holds
        the lock. So this method does not wait for the lock. If another thread holds it, that thread processes the
        ticket.
        """
        self._left.append(ticket)
        self._settle()

    def _settle(self) -> None:
        # The loop statement itself acquires the lock: an interrupt between a call of `acquire` and the `try` would
        # leave the lock held forever, and no call would get a slot again.
        for _ in iter(partial(self._lock.acquire, False), False) if self._left else ():
            try:
                served = self._serve()
            finally:
                self._lock.release()
            _wake(served)
            if not self._left:
                break

    def _serve(self) -> list[Ticket]:
        """Assign free slots to the tickets in the queue. Returns the tickets that got a slot.

        An interrupt at any line loses no slot, and a signal handler or a finalizer may call this method at any line of
        it.
        """
        for ticket in iter(partial(_first, self._left), None):
            self._holders.discard(ticket)
            self._queue.pop(ticket, None)
            with suppress(ValueError):
                self._left.remove(ticket)
        served = []
        while len(self._holders) < self._limit:
            first = _first(self._queue)
            if first is None:
                break
            self._holders.add(first)
            if len(self._holders) > self._limit:  # a re-entrant call has assigned the slot since the check
                self._holders.discard(first)
                break
            self._queue.pop(first, None)
            served.append(first)
        return served


def _first(tickets: Iterable[Ticket]) -> Ticket | None:
    try:
        return next(iter(tickets), None)
    except RuntimeError:  # a finalizer changed the collection between `iter` and `next`
        return _first(tickets)


def _do_nothing() -> None:
    pass


def _wake(served: list[Ticket]) -> None:
    for ticket in served:
        ticket.wake()
