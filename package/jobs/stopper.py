"""Ending a run in good order: because somebody asked, or because its time is up."""

from __future__ import annotations

from core.http import process

_SLICE = 0.2  # seconds a waiting run may take to notice that it is to stop


class Stopped(Exception):  # noqa: N818 - an order, not an error
    """The run is to end now: no more waiting, no more attempts."""


class Stopper:
    """Tells a run when to end: because somebody asked, or because its time is up."""

    def __init__(self, time_budget: float | None = None) -> None:
        """`time_budget`: seconds from now; None: no limit."""
        clock = process.current().runtime.clock
        self._deadline = None if time_budget is None else clock() + time_budget
        self._asked = ""

    @property
    def left(self) -> float | None:
        """Seconds until it ends by itself; None: it does not."""
        return None if self._deadline is None else self._deadline - process.current().runtime.clock()

    def heed(self) -> None:
        """Raise `Stopped` if the run is to end."""
        if self.reason:
            raise Stopped(self.reason)

    def stop(self, reason: str) -> None:
        self._asked = reason

    @property
    def reason(self) -> str:
        """Why the run is to end; "" while it is not."""
        if not self._asked and self._deadline is not None and process.current().runtime.clock() >= self._deadline:
            return "the time budget is used up"
        return self._asked

    def wait(self, seconds: float) -> None:
        """Wait, as `ResilientSession` asks for. Raises `Stopped` as soon as the run is to end."""
        time = process.current().runtime
        end = time.clock() + seconds
        while True:
            if self.reason:
                raise Stopped(self.reason)
            left = end - time.clock()
            if left <= 0:
                return
            time.wait(min(left, _SLICE))
