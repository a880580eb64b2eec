"""The retry budget of an upstream: retries are a share of the traffic, so that they cannot become the traffic.

Modelled on Finagle's RetryBudget (a share of the requests of the last 10 s, plus a few for quiet times).
gRPC's throttling (proposal A6) counts successes up and failures down, and takes long to notice that an outage
has ended; Envoy's budget is a share of the requests in flight, of which a job with few workers has too few to
have a share of.
"""

from __future__ import annotations

import threading

from ..outcome import Outcome
from ..policy import RetryBudget
from .admission_rule import CallContext
from .sliding_window import Window


class Budget:
    """An `AdmissionRule` that admits every attempt, and counts it. Safe for threads: it is the same for all calls."""

    def __init__(self, settings: RetryBudget) -> None:
        self._settings = settings
        self._lock = threading.RLock()
        self._attempts = Window(settings.window)
        self._retries = Window(settings.window)

    def ask(self, call: CallContext, now: float) -> None:  # noqa: ARG002 - they are asked in the same way
        """Count an attempt, of which retries may be a share."""
        with self._lock:
            self._attempts.add(now)

    def tell(self, call: CallContext, outcome: Outcome, now: float) -> None:
        """Do nothing: a retry is taken from the budget when it is decided on."""

    def give_back(self) -> None:
        """Do nothing: an attempt stays counted."""

    def take(self, now: float) -> bool:
        """Take one retry out of the budget; False: it is used up."""
        with self._lock:
            if self._used(now) + 1 > self._allowed():
                return False
            self._retries.add(now)
            return True

    def remaining(self, now: float) -> float:
        """Return what is left, as a fraction of what is allowed at the moment."""
        if not self._retries.total:  # most of the time: no lock
            return 1.0 if self._allowed() else 0.0
        with self._lock:
            used, allowed = self._used(now), self._allowed()
        return max(0.0, 1 - used / allowed) if allowed else 0.0

    def _used(self, now: float) -> int:
        self._attempts.advance(now)
        self._retries.advance(now)
        return self._retries.total

    def _allowed(self) -> float:
        return self._settings.minimum + self._settings.ratio * self._attempts.total
