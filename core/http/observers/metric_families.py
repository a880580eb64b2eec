"""The names, types and labels of the metrics. docs/metrics.md describes each metric."""

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
    """The metrics. They are created once per registry, because a registry refuses a name that it already has."""

    def __init__(self, timeouts: Iterable[float]) -> None:
        """Create the metrics.

        :param timeouts: seconds that become upper bounds of duration buckets, in addition to the usual bounds.
        """
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
            "call_duration_seconds", "Duration of calls, with backoff and waiting.", seconds, "upstream", "outcome"
        )
        self.call_attempts = histogram("call_attempts", "Attempts per call that was sent.", _ATTEMPTS, "upstream")
        self.attempts = counter("attempts", "Physical requests.", "upstream", "method", "status_code", "error_type")
        self.attempt_duration = histogram(
            "attempt_duration_seconds", "Duration of attempts, with the body.", seconds, "upstream", "outcome"
        )
        self.active_requests = gauge("active_requests", "Attempts in flight.", "livesum", "upstream")
        self.concurrency_limit = gauge(
            "concurrency_limit", "Maximum number of attempts in flight.", "livesum", "upstream"
        )
        self.retries = counter(
            "retries", "Attempts after the first, by the reason of the failure.", "upstream", "reason"
        )
        self.retries_suppressed = counter(
            "retries_suppressed", "Transient failures that were not retried.", "upstream", "reason"
        )
        self.backoff = counter("backoff_seconds", "Time spent waiting before retries.", "upstream", "source")
        self.budget_remaining = gauge(
            "retry_budget_remaining_ratio", "Unused fraction of the retry budget.", "livemin", "upstream"
        )
        self.breaker_state = gauge("breaker_state", "Breakers in the state.", "livesum", "upstream", "state")
        self.breaker_transitions = counter(
            "breaker_transitions", "Transitions of breakers to the state.", "upstream", "state"
        )
        self.ratelimit_limit = gauge("ratelimit_limit", "Size of the quota.", "mostrecent", *_QUOTA)
        self.ratelimit_remaining = gauge("ratelimit_remaining", "Unused part of the quota.", "mostrecent", *_QUOTA)
        self.ratelimit_reset = gauge(
            "ratelimit_reset_timestamp_seconds", "When the quota is full again.", "mostrecent", *_QUOTA
        )
        self.ratelimit_wait = counter("ratelimit_wait_seconds", "Time spent waiting at the gate.", "upstream")
        self.fallbacks = counter("fallbacks", "Uses of stored data in place of the upstream.", "upstream", "source")

    def register(self, registry: CollectorRegistry) -> None:
        """Register the metrics with `registry`. If a signal handler has interrupted this, another call completes it."""
        while self._to_register:
            metric = self._to_register[0]
            again, self._begun = self._begun is metric, metric
            try:
                registry.register(metric)
            except ValueError:  # the registry already has the name
                if not again:
                    raise
            self._to_register.popleft()

    def _made(self, metric: _Metric) -> _Metric:
        self._to_register.append(metric)
        return metric
