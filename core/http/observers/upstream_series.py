"""The series of one upstream, with their labels set in advance: `labels()` takes three times as long as `inc()`."""

from __future__ import annotations

import math
import time
import weakref
from typing import Any

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
    FallbackServed,
    GateWaited,
    QuotaSeen,
    RetryStarted,
    RetrySuppressed,
    Suppression,
    Target,
)
from ..outcome import Outcome, Reason, Rejection, Result
from . import compat
from .compat import Change
from .metric_families import MetricFamilies

_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE", "POST", "PATCH"})
_RESOURCES = frozenset(  # the resources in GitHub's documentation of the rate limits of its REST API
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
_MOST_PARTITIONS = 20
"""Maximum number of values of the label `partition`. Later partitions get the value "other"."""
_USUAL_STATUSES = (200, 201, 202, 204, 301, 302, 304, 400, 401, 403, 404, 410)


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


class UpstreamSeries:
    """The metrics with the labels of one upstream. Not thread-safe: the observer must hold its lock in each method."""

    def __init__(self, metrics: MetricFamilies, upstream: str) -> None:
        self._metrics = metrics
        self._upstream = upstream
        self._partitions = {""}
        self._limit = math.inf
        self._by_attempt: dict[tuple[str, int | None, Result, Reason | None], tuple[Change, Change]] = {}
        self._last: tuple[Any, ...] = (None, None, None, None)
        """Outcome and method of the last attempt, and the functions that change its counter and its duration."""
        self.active_requests = metrics.active_requests.labels(upstream)
        self.concurrency_limit = metrics.concurrency_limit.labels(upstream)
        self._set_active_requests = compat.setter(self.active_requests)
        self.note_call_attempts = compat.observer(metrics.call_attempts.labels(upstream))
        self.calls: dict[tuple[Result, Reason | Rejection | None], tuple[Change, Change]] = {
            (result, reason): (
                compat.adder(metrics.calls.labels(upstream, result.value, reason.value if reason else "")),
                compat.observer(metrics.call_duration.labels(upstream, result.value)),
            )
            for result, reasons in _REASONS_OF_CALLS.items()
            for reason in reasons
        }
        self._successes = self.calls[Result.SUCCESS, None]
        self._attempt_duration: dict[Result, Change] = {
            r: compat.observer(metrics.attempt_duration.labels(upstream, r.value))
            for r in Result
            if r is not Result.REJECTED
        }
        self.retries = {r: metrics.retries.labels(upstream, r.value) for r in Reason}
        self.retries_suppressed = {r: metrics.retries_suppressed.labels(upstream, r.value) for r in Suppression}
        self.breaker_state = {s: metrics.breaker_state.labels(upstream, s.value) for s in BreakerState}
        self.breaker_transitions = {s: metrics.breaker_transitions.labels(upstream, s.value) for s in BreakerState}
        self.budget_remaining = metrics.budget_remaining.labels(upstream)
        self.ratelimit_wait = metrics.ratelimit_wait.labels(upstream)
        self.backoff = {s: metrics.backoff.labels(upstream, s.value) for s in BackoffSource}
        self.begin()
        metrics.fallbacks.labels(upstream, "database")  # the usual source of a site
        for answer in _USUAL_STATUSES:
            metrics.attempts.labels(upstream, "GET", str(answer), "")
        for status, reason in _USUAL_FAILURES:
            metrics.attempts.labels(upstream, "GET", status, reason.value)

    def begin(self) -> None:
        """Set the gauges to the values of a process that has made no call yet."""
        self._not_closed = 0
        self._in_flight: dict[int, weakref.ref[Target]] = {}
        """The targets of the attempts in flight. (A number would stay wrong forever after an interrupt.)"""
        self.active_requests.set(0)
        for state, gauge in self.breaker_state.items():
            gauge.set(1 if state is BreakerState.CLOSED and self._upstream != OTHER else 0)
        self._budget = 1.0
        self.budget_remaining.set(1)
        self.concurrency_limit.set(self._limit)

    def limit(self, concurrency: int | None) -> None:
        self._limit = math.inf if concurrency is None else concurrency
        self.concurrency_limit.set(self._limit)

    def attempt_started(self, event: AttemptStarted) -> None:
        in_flight, key = self._in_flight, id(event.target)
        in_flight[key] = weakref.ref(event.target, lambda _: in_flight.pop(key, None))
        self._tell_in_flight()

    def attempt_ended(self, event: AttemptEnded) -> None:
        self._in_flight.pop(id(event.target), None)
        self._tell_in_flight()
        if event.outcome is not None:
            outcome = event.outcome
            method, (last_outcome, last_method, count, note_duration) = event.target.method, self._last
            if outcome is not last_outcome or method != last_method:  # usual responses share one outcome object
                found = self._by_attempt.get((method, outcome.status, outcome.result, outcome.reason))
                count, note_duration = found or self._attempt(method, outcome)
                self._last = outcome, method, count, note_duration
            count(1)
            note_duration(event.seconds)

    def _tell_in_flight(self) -> None:
        self._set_active_requests(float(len(self._in_flight)))

    def retry_started(self, event: RetryStarted) -> None:
        self.retries[event.reason].inc()
        self.backoff[event.source].inc(event.waited)

    def retry_suppressed(self, event: RetrySuppressed) -> None:
        self.retries_suppressed[event.reason].inc()

    def call_ended(self, event: CallEnded) -> None:
        success = event.result is Result.SUCCESS  # so that the usual case needs no look-up by enums, whose hash is slow
        count, note_duration = self._successes if success else self.calls[event.result, event.reason]
        count(1)
        note_duration(event.seconds)
        if event.attempts:
            self.note_call_attempts(len(event.attempts))
        if event.budget_remaining is not None and event.budget_remaining != self._budget:  # rare
            self._budget = event.budget_remaining
            self.budget_remaining.set(event.budget_remaining)

    def breaker_changed(self, event: BreakerChanged) -> None:
        self.breaker_transitions[event.state].inc()
        self._move(event.before, event.state)

    def breaker_followed(self, event: BreakerFollowed) -> None:
        self._move(event.before, event.state)  # the transition is counted only in the process that caused it

    def breaker_forgotten(self, event: BreakerForgotten) -> None:
        self._move(event.state, BreakerState.CLOSED)

    def _move(self, before: BreakerState, state: BreakerState) -> None:
        """Change the gauge of the states: one breaker has moved from `before` to `state`.

        The value of "closed" is 1 or 0, not the number of closed breakers, because sessions with their own policy have
        their own breakers.
        """
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
        resource = quota.resource if quota.resource in _RESOURCES else "other"
        labels = (event.upstream, self._known_partition(event.partition), resource)
        if quota.limit is not None:
            self._metrics.ratelimit_limit.labels(*labels).set(quota.limit)
        if quota.remaining is not None:
            self._metrics.ratelimit_remaining.labels(*labels).set(quota.remaining)
        if quota.reset is not None:
            self._metrics.ratelimit_reset.labels(*labels).set(time.time() + quota.reset)

    def _known_partition(self, partition: str) -> str:
        """Return the value of the label `partition`: the partition, or "other" after the first `_MOST_PARTITIONS`."""
        if len(self._partitions) < _MOST_PARTITIONS:
            self._partitions.add(partition)
        return partition if partition in self._partitions else "other"

    def _attempt(self, method: str, outcome: Outcome) -> tuple[Change, Change]:
        """Return the functions that change the counter and the duration of attempts with this method and outcome.

        The labels are limited to known methods and valid statuses.
        """
        status = outcome.status
        if method not in _METHODS:
            method = "_OTHER"  # OpenTelemetry's name for unknown methods
        if status is None or not 100 <= status < 600:
            status = None
        counter = self._metrics.attempts.labels(
            self._upstream, method, str(status or ""), outcome.reason.value if outcome.reason else ""
        )
        key = (method, status, outcome.result, outcome.reason)
        return self._by_attempt.setdefault(key, (compat.adder(counter), self._attempt_duration[outcome.result]))
