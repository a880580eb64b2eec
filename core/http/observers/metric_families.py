"""The names, types and labels of the metrics: docs/metrics.md describes each."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Any, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_Metric = TypeVar("_Metric", Counter, Gauge, Histogram)
_SECONDS = (0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_ATTEMPTS = (1, 2, 3, 4, 5, 10)
_QUOTA = ("upstream", "partition", "resource")


class MetricFamilies:
    """The metrics. They are made once for each registry, which refuses a name that it has."""

    def __init__(self, timeouts: Iterable[float]) -> None:
        """Make the metrics; `timeouts` (seconds) become edges of the duration buckets."""
        seconds = tuple(sorted({*_SECONDS, *timeouts}))
        self._to_register: deque[Any] = deque()
        self._begun: object = None

        def counter(name: str, text: str, *labels: str) -> Counter:
            return self._made(Counter(f"outbound_http_{name}", text, labels, registry=None))

        def histogram(name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
            return self._made(Histogram(f"outbound_http_{name}", text, labels, buckets=buckets, registry=None))

        def gauge(name: str, text: str, mode: Any, *labels: str) -> Gauge:
            return self._made(Gauge(f"outbound_http_{name}", text, labels, registry=None, multiprocess_mode=mode))

        self.calls = counter("calls", "Logical calls, after retries.", "upstream", "outcome", "reason")
        self.call_duration = histogram(
            "call_duration_seconds", "Calls, backoff and waiting included.", seconds, "upstream", "outcome"
        )
        self.call_attempts = histogram("call_attempts", "Attempts per call that was sent.", _ATTEMPTS, "upstream")
        self.attempts = counter("attempts", "Physical requests.", "upstream", "method", "status_code", "error_type")
        self.attempt_duration = histogram(
            "attempt_duration_seconds", "Physical requests, body included.", seconds, "upstream", "outcome"
        )
        self.active_requests = gauge("active_requests", "Attempts in flight.", "livesum", "upstream")
        self.concurrency_limit = gauge(
            "concurrency_limit", "How many attempts may be in flight.", "livesum", "upstream"
        )
        self.retries = counter(
            "retries", "Attempts after the first, by what made them necessary.", "upstream", "reason"
        )
        self.retries_suppressed = counter(
            "retries_suppressed", "Retries that were wanted and not made.", "upstream", "reason"
        )
        self.backoff = counter("backoff_seconds", "Time spent waiting before retries.", "upstream", "source")
        self.budget_remaining = gauge(
            "retry_budget_remaining_ratio", "What is left of the retry budget.", "livemin", "upstream"
        )
        self.breaker_state = gauge("breaker_state", "Breakers that are in that state.", "livesum", "upstream", "state")
        self.breaker_transitions = counter(
            "breaker_transitions", "Breakers that entered that state.", "upstream", "state"
        )
        self.ratelimit_limit = gauge("ratelimit_limit", "The quota's size.", "mostrecent", *_QUOTA)
        self.ratelimit_remaining = gauge("ratelimit_remaining", "What is left of the quota.", "mostrecent", *_QUOTA)
        self.ratelimit_reset = gauge(
            "ratelimit_reset_timestamp_seconds", "When the quota is full again.", "mostrecent", *_QUOTA
        )
        self.ratelimit_wait = counter("ratelimit_wait_seconds", "Time spent waiting at the gate.", "upstream")
        self.fallbacks = counter("fallbacks", "Times that what was stored had to serve.", "upstream", "source")

    def register(self, registry: CollectorRegistry) -> None:
        """Let `registry` collect the metrics. Goes on where an exception of a signal handler interrupted it."""
        while self._to_register:
            metric = self._to_register[0]
            again, self._begun = self._begun is metric, metric
            try:
                registry.register(metric)
            except ValueError:  # the registry has the name
                if not again:
                    raise
            self._to_register.popleft()

    def _made(self, metric: _Metric) -> _Metric:
        self._to_register.append(metric)
        return metric
