"""The Prometheus observer: counts events. docs/metrics.md describes each metric."""

from __future__ import annotations

import threading
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
    """Counts events. One for each registry of metrics: the names are taken after that."""

    kinds: frozenset[type]
    """The events in which there is anything to count."""

    def __init__(self, registry: CollectorRegistry | None, timeouts: Iterable[float]) -> None:
        """Make the metrics; `timeouts` (seconds) become edges of the duration buckets.

        :param registry: None: `register` comes later.
        """
        self.families = MetricFamilies(timeouts)
        self._lock = threading.RLock()
        self._children: dict[str, UpstreamSeries] = {}
        self._inherited = False
        """The gauges tell of the process that this one was forked from."""
        self._counting = threading.local()
        fork.renew_in_children(self)
        if registry is not None:
            self.register(registry)

    def __call__(self, event: Event) -> None:
        """Count `event`; of some there is nothing to count."""
        how = _HOW.get(type(event))
        if how is None:
            return
        here = self._counting.__dict__
        if here.get("busy"):
            here.setdefault("later", []).append(event)
            return
        here["busy"] = True
        try:
            if self._inherited:
                self.renew()
            how(self._children.get(event.upstream) or self._prepare(event.upstream), event)
        finally:
            here["busy"] = False
        while here.get("later"):
            self(here["later"].pop(0))

    def register(self, registry: CollectorRegistry) -> None:
        """Let `registry` collect the metrics."""
        with self._busy() as others:
            if not others:
                self.families.register(registry)

    def prepare(self, upstream: str) -> None:
        """Create every series of `upstream` at zero: `increase()` does not see the first count of a late one."""
        with self._busy() as others:
            if not others:
                self._prepare(upstream)

    def limit(self, limits: Mapping[str, int | None]) -> None:
        """Tell how many attempts of each upstream may be in flight; of those that are left out, any number."""
        with self._busy() as others:
            if not others:
                for upstream in limits:
                    self._prepare(upstream)
                for upstream, children in tuple(self._children.items()):
                    children.limit(limits.get(upstream))

    @contextmanager
    def _busy(self) -> Iterator[bool]:
        """Note that this thread is at it; True: it was already.

        A signal handler or a finalizer makes a call in the middle of this, and prometheus_client's locks cannot be
        entered again. What it leaves undone is what it interrupts; and its events are counted later.
        """
        here = self._counting.__dict__
        if here.get("busy"):
            yield True
            return
        here["busy"] = True
        try:
            yield False
        finally:
            here["busy"] = False

    def _prepare(self, upstream: str) -> UpstreamSeries:
        with self._lock:
            children = self._children.get(upstream)
            if children is None:
                children = self._children[upstream] = UpstreamSeries(self.families, upstream)
        return children

    def after_fork(self) -> None:
        self._lock = threading.RLock()
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
    """Set the gauges in a process that was forked off, before it counts anything else: that makes them 0."""
    for observer in _made:
        observer.renew()


def prometheus_observer(timeouts: frozenset[float]) -> PrometheusObserver:
    """Return the process's observer. `timeouts` shape the buckets on the first call: metrics cannot change."""
    if not _made:
        _made.append(PrometheusObserver(None, timeouts))
    _made[0].register(REGISTRY)
    return _made[0]
