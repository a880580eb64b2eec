"""Ends a run on request, or when its time budget is used up, so that its results are saved."""

from __future__ import annotations

from core.http import process

_SLICE = 0.2  # seconds after which a waiting run checks whether it must end


class Stopped(Exception):  # noqa: N818 - a request, not an error
    """The run must end now, without further waiting or attempts."""


class Stopper:
    """Decides when a run must end: after `stop`, or when its time budget is used up."""

    def __init__(self, time_budget: float | None = None) -> None:
        """Start the time budget, in seconds from now. None: no limit."""
        clock = process.current().runtime.clock
        self._deadline = None if time_budget is None else clock() + time_budget
        self._asked = ""

    @property
    def left(self) -> float | None:
        """Seconds that are left of the time budget; None: there is no limit."""
        return None if self._deadline is None else self._deadline - process.current().runtime.clock()

    def heed(self) -> None:
        """Raise `Stopped` if the run must end."""
        if self.reason:
            raise Stopped(self.reason)

    def stop(self, reason: str) -> None:
        self._asked = reason

    @property
    def reason(self) -> str:
        """Why the run must end; "": it may continue."""
        if not self._asked and self._deadline is not None and process.current().runtime.clock() >= self._deadline:
            return "the time budget is used up"
        return self._asked

    def wait(self, seconds: float) -> None:
        """Wait for `seconds`. Raises `Stopped` as soon as the run must end. Usable as `wait` of a session."""
        time = process.current().runtime
        end = time.clock() + seconds
        while True:
            if self.reason:
                raise Stopped(self.reason)
            left = end - time.clock()
            if left <= 0:
                return
            time.wait(min(left, _SLICE))
