"""Threads that fetch, while the run's own thread does everything else."""

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
"""Seconds in which what is done is gathered, so that the database has less to do."""


@dataclass
class Crew(Generic[W]):
    """Does pieces of work, several at a time; one worker is the calling thread itself.

    Daemon threads: whoever aborts a run is not made to wait for attempts in hand.
    """

    workers: int
    do: Callable[[W], object]
    """What is done with each piece."""
    busy: int = 0
    _given: queue.SimpleQueue[W | None] = field(default_factory=queue.SimpleQueue)
    _done: queue.SimpleQueue[W] = field(default_factory=queue.SimpleQueue)
    _threads: int = 0

    @property
    def idle(self) -> int:
        return self.workers - self.busy

    def give(self, work: W) -> None:
        """Let somebody do `work`. Ask for no more than are idle."""
        self.busy += 1
        self._given.put(work)
        if self.workers == 1:
            self._given.put(None)
            self._work()
        elif self._threads < self.busy:
            self._threads += 1
            threading.Thread(target=self._work, name=f"crew-{self._threads}", daemon=True).start()

    def finished(self, timeout: float | None) -> list[W]:
        """Return what is done, and what is done a moment later; wait for it `timeout` seconds (None: without limit)."""
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
        """Let the threads go; nothing more is given."""
        for _ in range(self._threads):
            self._given.put(None)

    def _work(self) -> None:
        while (work := self._given.get()) is not None:
            try:
                self.do(work)
            except Exception:
                logger.exception("%r came to nothing", work)
            finally:
                self._done.put(work)
