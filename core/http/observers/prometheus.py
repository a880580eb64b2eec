"""The Prometheus observer, which counts events. docs/metrics.md describes each metric."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from prometheus_client import REGISTRY, CollectorRegistry

from .. import fork
from ..events import (
    AttemptEnded,
    AttemptStarted,
    BreakerChanged,
    BreakerFollowed,
    BreakerForgotten,
    CallEnded,
    Event,
    FallbackServed,
    GateWaited,
    QuotaSeen,
    RetryStarted,
    RetrySuppressed,
)
from .metric_families import MetricFamilies
from .upstream_series import UpstreamSeries


class PrometheusObserver:
    """Counts events. A registry of metrics can have only one such observer, because names of metrics must be unique."""

    kinds: frozenset[type]
    """The classes of events that are counted."""

    def __init__(self, registry: CollectorRegistry | None, timeouts: Iterable[float]) -> None:
        """Create the metrics.

        :param registry: the registry for the metrics; None: the caller calls `register` later.
        :param timeouts: seconds that become upper bounds of duration buckets, in addition to the usual bounds.
        """
        self.families = MetricFamilies(timeouts)
        self._children: dict[str, UpstreamSeries] = {}
        self._lock = threading.RLock()
        """Held during each change of a metric, whose values have no locks of their own (see `compat`)."""
        self._is_changing = False
        """Whether a thread is in the middle of a change. If the lock can be acquired then, it is this thread."""
        self._later: deque[Event] = deque()
        self._inherited = False
        """Whether the gauges still have the values of the parent process."""
        fork.renew_in_children(self)
        if registry is not None:
            self.register(registry)

    def __call__(self, event: Event) -> None:
        """Count `event`. Events of classes that are not in `kinds` are ignored."""
        how = _HOW.get(type(event))
        if how is None:
            return
        with self._lock:
            if self._is_changing:
                self._later.append(event)
                return
            try:
                self._is_changing = True
                self._renew()
                how(self._children.get(event.upstream) or self._prepare(event.upstream), event)
            finally:
                self._is_changing = False
            while self._later:
                self(self._later.popleft())

    def register(self, registry: CollectorRegistry) -> None:
        """Register the metrics with `registry`."""
        with self._changing() as already:
            if not already:
                self.families.register(registry)

    def prepare(self, upstream: str) -> None:
        """Create all series of `upstream` at zero, because `increase()` ignores the first value of a new series."""
        with self._changing() as already:
            if not already:
                self._prepare(upstream)

    def limit(self, limits: Mapping[str, int | None]) -> None:
        """Set the concurrency limit of each upstream. Upstreams that `limits` omits, or maps to None, have no limit."""
        with self._changing() as already:
            if not already:
                for upstream in limits:
                    self._prepare(upstream)
                for upstream, children in tuple(self._children.items()):
                    children.limit(limits.get(upstream))

    @contextmanager
    def _changing(self) -> Iterator[bool]:
        """Hold the lock inside the block. Yields True if this thread is already in the middle of a change.

        A signal handler or a finalizer may make an HTTP call in the middle of a change, and prometheus_client's locks
        are not reentrant. So in that call, the step is skipped, because the interrupted code performs it, and events
        are counted later.
        """
        with self._lock:
            if self._is_changing:
                yield True
                return
            try:
                self._is_changing = True
                yield False
            finally:
                self._is_changing = False

    def _prepare(self, upstream: str) -> UpstreamSeries:
        children = self._children.get(upstream)
        if children is None:
            children = self._children[upstream] = UpstreamSeries(self.families, upstream)
        return children

    def after_fork(self) -> None:
        self._lock = threading.RLock()
        self._is_changing = False
        self._later.clear()
        self._inherited = True  # `renew` runs later, because locks of prometheus_client may be held during the fork

    def renew(self) -> None:
        """Reset the gauges if they still have the values of the parent process."""
        with self._changing() as already:
            if not already:
                self._renew()

    def _renew(self) -> None:
        if self._inherited:
            for children in self._children.values():
                children.begin()
            self._inherited = False


_HOW: dict[type, Callable[[UpstreamSeries, Any], None]] = {
    AttemptStarted: UpstreamSeries.attempt_started,
    AttemptEnded: UpstreamSeries.attempt_ended,
    RetryStarted: UpstreamSeries.retry_started,
    RetrySuppressed: UpstreamSeries.retry_suppressed,
    CallEnded: UpstreamSeries.call_ended,
    BreakerChanged: UpstreamSeries.breaker_changed,
    BreakerFollowed: UpstreamSeries.breaker_followed,
    BreakerForgotten: UpstreamSeries.breaker_forgotten,
    FallbackServed: UpstreamSeries.fallback_served,
    GateWaited: UpstreamSeries.gate_waited,
    QuotaSeen: UpstreamSeries.quota_seen,
}
PrometheusObserver.kinds = frozenset(_HOW)
_made: list[PrometheusObserver] = []


def renew() -> None:
    """Reset the gauges in a forked process before it counts anything, so that they have the right initial values."""
    for observer in _made:
        observer.renew()


def prometheus_observer(timeouts: frozenset[float]) -> PrometheusObserver:
    """Return the observer of the process. The first call creates it.

    :param timeouts: see `PrometheusObserver`; used only by the first call, because metrics cannot change.
    """
    if not _made:
        _made.append(PrometheusObserver(None, timeouts))
    _made[0].register(REGISTRY)
    return _made[0]
