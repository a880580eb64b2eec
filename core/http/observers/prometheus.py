"""The Prometheus observer. What each metric means is documented in docs/metrics.md.

Children are kept per upstream: `labels()` costs three times an `inc()` of a child at hand.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram

from .. import fork
from ..events import (
    OTHER,
    AttemptEnded,
    AttemptStarted,
    BackoffSource,
    BreakerChanged,
    BreakerFollowed,
    BreakerForgotten,
    BreakerState,
    CallEnded,
    Event,
    FallbackServed,
    GateWaited,
    QuotaSeen,
    RetryStarted,
    RetrySuppressed,
    Suppression,
)
from ..outcome import Outcome, Reason, Rejection, Result

_SECONDS = (0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_ATTEMPTS = (1, 2, 3, 4, 5, 10)
_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE", "POST", "PATCH"})
_RESOURCES = frozenset(  # GitHub's, from its REST API's documentation of rate limits
    {
        "actions_runner_registration",
        "audit_log",
        "audit_log_streaming",
        "code_scanning_autofix",
        "code_scanning_upload",
        "code_search",
        "core",
        "dependency_sbom",
        "dependency_snapshots",
        "graphql",
        "integration_manifest",
        "scim",
        "search",
        "source_import",
    }
)
_USUAL_STATUSES = (200, 201, 202, 204, 301, 302, 304, 400, 401, 403, 404, 410)


class PrometheusObserver:
    """Counts events. One for each registry of metrics: the names are taken after that."""

    def __init__(self, registry: CollectorRegistry, timeouts: Iterable[float]) -> None:
        """Make the metrics; `timeouts` (seconds) become edges of the duration buckets."""
        seconds = tuple(sorted({*_SECONDS, *timeouts}))

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"outbound_http_{name}", text, labels, registry=registry)

        def histogram(name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
            return Histogram(f"outbound_http_{name}", text, labels, buckets=buckets, registry=registry)

        def gauge(name: str, text: str, mode: Any, *labels: str) -> Gauge:
            return Gauge(f"outbound_http_{name}", text, labels, registry=registry, multiprocess_mode=mode)

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
        self.ratelimit_limit = gauge("ratelimit_limit", "The quota's size.", "mostrecent", "upstream", "resource")
        self.ratelimit_remaining = gauge(
            "ratelimit_remaining", "What is left of the quota.", "mostrecent", "upstream", "resource"
        )
        self.ratelimit_reset = gauge(
            "ratelimit_reset_timestamp_seconds", "When the quota is full again.", "mostrecent", "upstream", "resource"
        )
        self.ratelimit_wait = counter("ratelimit_wait_seconds", "Time spent waiting at the gate.", "upstream")
        self.fallbacks = counter("fallbacks", "Times that what was stored had to serve.", "upstream", "source")
        self._lock = threading.Lock()
        self._children: dict[str, _Children] = {}
        self._inherited = False
        """The gauges tell of the process that this one was forked from."""
        fork.renew_in_children(self)

    def __call__(self, event: Event) -> None:
        """Count `event`; of some there is nothing to count."""
        how = _HOW.get(type(event))
        if how is not None:
            if self._inherited:
                self.renew()
            how(self._children.get(event.upstream) or self.prepare(event.upstream), event)

    def prepare(self, upstream: str) -> _Children:
        """Create every series of `upstream` at zero: `increase()` does not see the first count of a late one."""
        with self._lock:
            children = self._children.get(upstream)
            if children is None:
                children = self._children[upstream] = _Children(self, upstream)
        return children

    def limit(self, limits: Mapping[str, int | None]) -> None:
        """Tell how many attempts of each upstream may be in flight; of those that are left out, any number."""
        for upstream in limits:
            self.prepare(upstream)
        for upstream, children in tuple(self._children.items()):
            children.limit(limits.get(upstream))

    def after_fork(self) -> None:
        self._lock = threading.Lock()
        self._inherited = True  # later: locks of prometheus_client's own may have been held at the fork
        for children in self._children.values():
            children.after_fork()

    def renew(self) -> None:
        """Set the gauges to what they are in this process, if they tell of another one still."""
        with self._lock:
            if self._inherited:
                for children in self._children.values():
                    children.begin()
                self._inherited = False


class _Children:
    """The metrics with the labels of one upstream filled in."""

    def __init__(self, metrics: PrometheusObserver, upstream: str) -> None:
        self._metrics = metrics
        self._upstream = upstream
        self._lock = threading.Lock()
        self._limit = math.inf
        self._by_attempt: dict[tuple[str, int | None, Result, Reason | None], tuple[Counter, Histogram]] = {}
        self.active_requests = metrics.active_requests.labels(upstream)
        self.concurrency_limit = metrics.concurrency_limit.labels(upstream)
        self.call_attempts = metrics.call_attempts.labels(upstream)
        self.calls: dict[tuple[Result, Reason | Rejection | None], tuple[Counter, Histogram]] = {
            (result, reason): (
                metrics.calls.labels(upstream, result.value, reason.value if reason else ""),
                metrics.call_duration.labels(upstream, result.value),
            )
            for result, reasons in _REASONS_OF_CALLS.items()
            for reason in reasons
        }
        self._attempt_duration: dict[Result, Histogram] = {
            r: metrics.attempt_duration.labels(upstream, r.value) for r in Result if r is not Result.REJECTED
        }
        self.retries = {r: metrics.retries.labels(upstream, r.value) for r in Reason}
        self.retries_suppressed = {r: metrics.retries_suppressed.labels(upstream, r.value) for r in Suppression}
        self.breaker_state = {s: metrics.breaker_state.labels(upstream, s.value) for s in BreakerState}
        self.breaker_transitions = {s: metrics.breaker_transitions.labels(upstream, s.value) for s in BreakerState}
        self.budget_remaining = metrics.budget_remaining.labels(upstream)
        self.ratelimit_wait = metrics.ratelimit_wait.labels(upstream)
        self.backoff = {s: metrics.backoff.labels(upstream, s.value) for s in BackoffSource}
        self.begin()
        metrics.fallbacks.labels(upstream, "database")  # a site's usual one
        for answer in _USUAL_STATUSES:
            metrics.attempts.labels(upstream, "GET", str(answer), "")
        for status, reason in _USUAL_FAILURES:
            metrics.attempts.labels(upstream, "GET", status, reason.value)

    def after_fork(self) -> None:
        self._lock = threading.Lock()

    def begin(self) -> None:
        """Set the gauges to what they are in a process that has made no call yet."""
        self._not_closed = 0
        self.active_requests.set(0)
        for state, gauge in self.breaker_state.items():
            gauge.set(1 if state is BreakerState.CLOSED and self._upstream != OTHER else 0)
        self._budget = 1.0
        self.budget_remaining.set(1)
        self.concurrency_limit.set(self._limit)

    def limit(self, concurrency: int | None) -> None:
        self._limit = math.inf if concurrency is None else concurrency
        self.concurrency_limit.set(self._limit)

    def attempt_started(self, _: AttemptStarted) -> None:
        self.active_requests.inc()

    def attempt_ended(self, event: AttemptEnded) -> None:
        self.active_requests.dec()
        if event.outcome is not None:
            outcome = event.outcome
            found = self._by_attempt.get((event.target.method, outcome.status, outcome.result, outcome.reason))
            counter, duration = found or self._attempt(event.target.method, outcome)
            counter.inc()
            duration.observe(event.seconds)

    def retry_started(self, event: RetryStarted) -> None:
        self.retries[event.reason].inc()
        self.backoff[event.source].inc(event.waited)

    def retry_suppressed(self, event: RetrySuppressed) -> None:
        self.retries_suppressed[event.reason].inc()

    def call_ended(self, event: CallEnded) -> None:
        counter, duration = self.calls[event.result, event.reason]
        counter.inc()
        duration.observe(event.seconds)
        if event.attempts:
            self.call_attempts.observe(len(event.attempts))
        if event.budget_remaining is not None and event.budget_remaining != self._budget:  # hardly ever changed
            self._budget = event.budget_remaining
            self.budget_remaining.set(event.budget_remaining)

    def breaker_changed(self, event: BreakerChanged) -> None:
        self.breaker_transitions[event.state].inc()
        self._move(event.before, event.state)

    def breaker_followed(self, event: BreakerFollowed) -> None:
        self._move(event.before, event.state)  # no transition: one in the fleet is one, not one for each process

    def breaker_forgotten(self, event: BreakerForgotten) -> None:
        self._move(event.state, BreakerState.CLOSED)

    def _move(self, before: BreakerState, state: BreakerState) -> None:
        """Count a breaker out of one state and into another. Closed is 1 or 0: a session with a policy has its own."""
        with self._lock:
            for left, step in ((before, -1), (state, 1)):
                if left is not BreakerState.CLOSED:
                    self.breaker_state[left].inc(step)
                    self._not_closed += step
            if self._upstream != OTHER:
                self.breaker_state[BreakerState.CLOSED].set(0 if self._not_closed else 1)

    def fallback_served(self, event: FallbackServed) -> None:
        self._metrics.fallbacks.labels(event.upstream, event.source).inc()

    def gate_waited(self, event: GateWaited) -> None:
        self.ratelimit_wait.inc(event.seconds)

    def quota_seen(self, event: QuotaSeen) -> None:
        if event.upstream == OTHER:
            return
        quota = event.quota
        labels = (event.upstream, quota.resource if quota.resource in _RESOURCES else "other")
        if quota.limit is not None:
            self._metrics.ratelimit_limit.labels(*labels).set(quota.limit)
        if quota.remaining is not None:
            self._metrics.ratelimit_remaining.labels(*labels).set(quota.remaining)
        if quota.reset is not None:
            self._metrics.ratelimit_reset.labels(*labels).set(time.time() + quota.reset)

    def _attempt(self, method: str, outcome: Outcome) -> tuple[Counter, Histogram]:
        """Return the metrics of such attempts; labels stay within known methods and statuses."""
        status = outcome.status
        if method not in _METHODS:
            method = "_OTHER"  # OpenTelemetry's name for them
        if status is None or not 100 <= status < 600:
            status = None
        counter = self._metrics.attempts.labels(
            self._upstream, method, str(status or ""), outcome.reason.value if outcome.reason else ""
        )
        key = (method, status, outcome.result, outcome.reason)
        return self._by_attempt.setdefault(key, (counter, self._attempt_duration[outcome.result]))


_REASONS_OF_CALLS: dict[Result, tuple[Reason | Rejection | None, ...]] = {
    Result.SUCCESS: (None,),
    Result.CLIENT_ERROR: (None,),
    Result.FAILURE: tuple(Reason),
    Result.REJECTED: tuple(Rejection),
}
_USUAL_FAILURES: tuple[tuple[str, Reason], ...] = (
    ("408", Reason.TIMEOUT),
    ("403", Reason.HTTP_429),
    ("429", Reason.HTTP_429),
    *((status, Reason.HTTP_5XX) for status in ("500", "502", "503", "504")),
    *(("", reason) for reason in Reason if reason not in (Reason.HTTP_5XX, Reason.HTTP_429)),
)
_HOW: dict[type, Callable[[_Children, Any], None]] = {
    AttemptStarted: _Children.attempt_started,
    AttemptEnded: _Children.attempt_ended,
    RetryStarted: _Children.retry_started,
    RetrySuppressed: _Children.retry_suppressed,
    CallEnded: _Children.call_ended,
    BreakerChanged: _Children.breaker_changed,
    BreakerFollowed: _Children.breaker_followed,
    BreakerForgotten: _Children.breaker_forgotten,
    FallbackServed: _Children.fallback_served,
    GateWaited: _Children.gate_waited,
    QuotaSeen: _Children.quota_seen,
}
_made: list[PrometheusObserver] = []


def renew() -> None:
    """Set the gauges in a process that was forked off, before it counts anything else: that makes them 0."""
    for observer in _made:
        observer.renew()


def prometheus_observer(timeouts: frozenset[float]) -> PrometheusObserver:
    """Return the process's observer. `timeouts` shape the buckets on the first call: metrics cannot change."""
    if not _made:
        _made.append(PrometheusObserver(REGISTRY, timeouts))
    return _made[0]
