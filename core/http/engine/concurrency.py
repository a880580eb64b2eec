"""How many attempts an upstream gets at once from this process. Nothing here blocks."""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial


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
        self._lock = threading.RLock()
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
        """Pass on what is free; returns who got it.

        An interrupt at any line of it loses nothing, and a signal handler or a finalizer may enter it again at any.
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
            if len(self._holders) > self._limit:  # another was served meanwhile
                self._holders.discard(first)
                break
            self._queue.pop(first, None)
            served.append(first)
        return served


def _first(tickets: Iterable[Ticket]) -> Ticket | None:
    try:
        return next(iter(tickets), None)
    except RuntimeError:  # changed between the two calls, as by a finalizer
        return _first(tickets)


def _nobody() -> None:
    pass


def _wake(served: list[Ticket]) -> None:
    for ticket in served:
        ticket.wake()
