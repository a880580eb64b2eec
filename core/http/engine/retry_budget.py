"""The retry budget of an upstream: it limits retries to a fraction of the attempts.

The model is Finagle's RetryBudget: a fraction of the requests of the last 10 s, plus a few retries for times with few
requests. (`policy.RetryBudget` lists the differences.) Two other models were rejected. In gRPC's throttling (proposal
A6), failures lower a counter and successes raise it slowly, so retries stay off for some time after an outage. Envoy's
budget is a fraction of the requests in flight. In a job with few workers, this is less than one retry, so only Envoy's
fixed minimum (`min_retry_concurrency`) would apply.
"""

from __future__ import annotations

import threading

from ..outcome import Outcome
from ..policy import RetryBudget
from .admission_rule import CallContext
from .sliding_window import Window


class Budget:
    """An `AdmissionRule` that counts attempts and refuses none. `take` refuses retries. Thread-safe: calls share it."""

    def __init__(self, settings: RetryBudget) -> None:
        self._settings = settings
        self._lock = threading.RLock()
        self._attempts = Window(settings.window)
        self._retries = Window(settings.window)

    def ask(self, call: CallContext, now: float) -> None:  # noqa: ARG002 - `AdmissionRule`
        """Count the attempt and grant it."""
        with self._lock:
            self._attempts.add(now)

    def tell(self, call: CallContext, outcome: Outcome, now: float) -> None:
        """Do nothing: `take` counts a retry when it is scheduled."""

    def give_back(self) -> None:
        """Do nothing: the attempt remains counted."""

    def take(self, now: float) -> bool:
        """Take one retry from the budget. Returns False if the budget is exhausted."""
        with self._lock:
            if self._used(now) + 1 > self._allowed():
                return False
            self._retries.add(now)
            return True

    def remaining(self, now: float) -> float:
        """Return the fraction of the currently allowed retries that is unused, from 0 to 1."""
        if not self._retries.total:  # the usual case, which needs no lock
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
