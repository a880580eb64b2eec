"""A last-in, first-out queue for the connections of a pool, without a lock that Python code acquires.

`queue.LifoQueue` acquires its lock in a Python function. If a signal handler raises at the end of that function, the
lock stays held, and every later call of the session waits for it forever. Here each step is one C call.
"""

from __future__ import annotations

import time
from collections import deque
from contextlib import suppress
from queue import Empty, Full, SimpleQueue
from typing import Any

_POLL_INTERVAL = 0.1
"""Seconds after which a waiting `get` checks the queue again, because an interrupt may have lost a notification."""


class ConnectionQueue:
    """The part of `queue.LifoQueue` that urllib3 uses."""

    def __init__(self, maxsize: int = 0) -> None:
        self.maxsize = maxsize
        self._kept: deque[Any] = deque()
        self._notifications: SimpleQueue[None] = SimpleQueue()

    def qsize(self) -> int:
        return len(self._kept)

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:  # noqa: ARG002 - LifoQueue's
        """Add a connection. Raises `queue.Full` without waiting, even with `block`, which urllib3 does not use here."""
        if 0 < self.maxsize <= len(self._kept):
            raise Full
        self._kept.append(item)
        if self._notifications.empty():  # one notification is enough: it wakes one waiter, and the others poll
            self._notifications.put(None)

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        """Remove and return the newest connection.

        Raises `queue.Empty` if there is none; with `block`, after `timeout` seconds.
        """
        ends = None if timeout is None else time.monotonic() + timeout
        while True:
            try:
                return self._kept.pop()
            except IndexError:
                left = _POLL_INTERVAL if ends is None else min(ends - time.monotonic(), _POLL_INTERVAL)
                if not block or left <= 0:
                    raise Empty from None
            with suppress(Empty):
                self._notifications.get(timeout=left)
