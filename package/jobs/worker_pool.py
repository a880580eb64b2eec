"""The threads that fetch, while the main thread of a run does everything else."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

logger = logging.getLogger(__name__)
W = TypeVar("W")
GATHER = 0.03
"""Seconds for which `finished` collects finished work, so that more of it is stored per transaction."""


@dataclass
class WorkerPool(Generic[W]):
    """A pool of threads. With one worker, the work is done in the calling thread.

    The threads are daemons, so that an aborted run does not wait for attempts in progress.
    """

    workers: int
    """Maximum number of threads."""
    do: Callable[[W], object]
    """A function that is called with each piece of work."""
    busy: int = 0
    """Number of pieces of work that were given and that `finished` has not returned yet."""
    _given: queue.SimpleQueue[W | None] = field(default_factory=queue.SimpleQueue)
    _done: queue.SimpleQueue[W] = field(default_factory=queue.SimpleQueue)
    _threads: int = 0

    @property
    def idle(self) -> int:
        return self.workers - self.busy

    def give(self, work: W) -> None:
        """Let an idle worker do `work`. `idle` must not be 0."""
        self.busy += 1
        self._given.put(work)
        if self.workers == 1:
            self._given.put(None)
            self._work()
        elif self._threads < self.busy:
            self._threads += 1
            threading.Thread(target=self._work, name=f"worker-{self._threads}", daemon=True).start()

    def finished(self, timeout: float | None) -> list[W]:
        """Return the finished work. After the first piece, wait up to `GATHER` seconds for more.

        :param timeout: maximum seconds to wait for the first piece; None: no limit.
        """
        done: list[W] = []
        until = 0.0
        try:
            while self.busy:
                done.append(self._done.get(timeout=timeout))
                self.busy -= 1
                until = until or time.monotonic() + GATHER
                timeout = max(until - time.monotonic(), 0.0)
        except queue.Empty:
            pass
        return done

    def close(self) -> None:
        """End the threads when their work is done. After this, `give` must not be called."""
        for _ in range(self._threads):
            self._given.put(None)

    def _work(self) -> None:
        while (work := self._given.get()) is not None:
            try:
                self.do(work)
            except Exception:
                logger.exception("%r failed with an unexpected error", work)
            finally:
                self._done.put(work)
