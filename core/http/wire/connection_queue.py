"""The connections that a pool keeps, last in first out, without a lock that Python code takes.

`queue.LifoQueue` takes its lock in a Python function: an exception that a signal handler raises at its end leaves the
lock held, and every later call of the session waits for it for ever. Here each step is one call into C.
"""

from __future__ import annotations

import time
from collections import deque
from contextlib import suppress
from queue import Empty, Full, SimpleQueue
from typing import Any

_LOOK_ANYWAY = 0.1
"""Seconds after which who waits looks again, should an interrupt have swallowed the news."""


class ConnectionQueue:
    """What urllib3 uses of a `queue.LifoQueue`."""

    def __init__(self, maxsize: int = 0) -> None:
        self.maxsize = maxsize
        self._kept: deque[Any] = deque()
        self._news: SimpleQueue[None] = SimpleQueue()

    def qsize(self) -> int:
        return len(self._kept)

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:  # noqa: ARG002 - LifoQueue's
        """Keep a connection. Raises `queue.Full` at once, also with `block`: urllib3 never waits to give one back."""
        if 0 < self.maxsize <= len(self._kept):
            raise Full
        self._kept.append(item)
        if self._news.empty():  # one is enough: whoever hears of it looks, and those after them look anyway
            self._news.put(None)

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        """Take the connection that was kept last. Raises `queue.Empty` where there is none, with `block` in the end."""
        ends = None if timeout is None else time.monotonic() + timeout
        while True:
            try:
                return self._kept.pop()
            except IndexError:
                left = _LOOK_ANYWAY if ends is None else min(ends - time.monotonic(), _LOOK_ANYWAY)
                if not block or left <= 0:
                    raise Empty from None
            with suppress(Empty):
                self._news.get(timeout=left)
