"""The state that exists once per process: the registry, its runtime, and the observers.

Sessions call `current()` for each call and do not keep the result, so a session that was created at import time follows
later changes of the settings, for example in tests.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from . import fork, missing_django_app
from .argument_checks import check_function
from .engine.upstream import Upstream
from .events import OTHER, Audience, Event, Observer
from .observers.logs import log_event
from .observers.prometheus import prometheus_observer
from .origin import Origin
from .policy import Policy
from .registry import Config, Registry, Runtime
from .shared.background_sync import StateSharing
from .shared.upstream_diagnostics_recorder import DiagnosticsRecorder
from .upstream_id import UpstreamId

if TYPE_CHECKING:
    from typing import Self

_MOST_SHARED = 50
"""Maximum number of hosts outside `Config.hosts` whose state is shared with other processes. Each is a cache read."""


class ProcessRegistry(Registry):
    """The registry of the process, with log lines, metrics, a record of recent errors and optionally a shared cache."""

    def __init__(
        self,
        config: Config | None = None,
        *,
        policy: Policy | None = None,
        runtime: Runtime | None = None,
        observers: tuple[Observer, ...] | None = None,
    ) -> None:
        """Create the registry.

        :param runtime: default: the runtime of the process, see `use`.
        :param observers: default: logging and Prometheus.
        """
        runtime = runtime or _process.runtime
        super().__init__(config, policy=policy, runtime=runtime)
        self.diagnostics = DiagnosticsRecorder()
        """Recent errors, quotas and breaker transitions of each upstream."""
        logging_and_metrics = _default_observers(self.config) if observers is None else observers
        all_observers = [*logging_and_metrics, self.diagnostics.observe]
        self._sharing: StateSharing | None = None
        if self.config.shared_cache is not None and runtime.is_real:  # other processes do not share a test's clock
            self._sharing = StateSharing(self.config.shared_cache, self._to_share, self.diagnostics)
            self._elect = self._sharing.elect
            all_observers.append(self._sharing.observe)
        self._audience = Audience(all_observers)

    def upstream(self, origin: Origin, *, untrusted: bool = False, partition: str = "") -> Upstream:
        """Return the upstream that `origin` belongs to; the first call starts the exchange with other processes."""
        found = super().upstream(origin, untrusted=untrusted, partition=partition)
        if self._sharing is not None:
            self._sharing.attend()
        return found

    def emit(self, event: Event) -> None:
        """Pass `event` to all observers of its kind, including the observers that `observe` added."""
        self._audience.tell(event)
        if _process.audience.observers:
            _process.audience.tell(event)

    def forget(self) -> None:
        """Discard the state of every upstream, and stop sharing state."""
        if self._sharing is not None:
            self._sharing.stop()
        super().forget()

    def _to_share(self) -> dict[UpstreamId, Upstream]:
        if self._sharing is None or self._sharing.stopped:
            return {}
        return self.configured_and_recent(_MOST_SHARED)


class observe:  # noqa: N801 - used like a function
    """Add an observer of events (`core.http.events`) to the process.

    ``observe(observer)`` adds the observer permanently, ``with observe(observer):`` until the end of the block. The
    observer receives the events of all sessions, also after a change of the settings. If the observer has an attribute
    ``kinds``, a set or tuple of event classes, it receives only events of those classes. It runs in the thread that
    emits the event, usually the thread of the call, so it must be fast. Its exceptions are logged and never reach the
    caller.

    :param observer: a callable that takes an event. Its return value is ignored.
    """

    def __init__(self, observer: Observer) -> None:
        check_function("observer", observer, "a function of one event")
        self._observer = observer
        with _process.lock:
            _process.audience = Audience((*_process.audience.observers, observer))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with _process.lock:
            left = list(_process.audience.observers)
            left.remove(self._observer)
            _process.audience = Audience(left)


def _default_observers(config: Config) -> tuple[Observer, ...]:
    policies = (config.default, *config.upstreams.values())
    timeouts = {timeout for p in policies for timeout in (p.attempt_timeout, p.total_timeout)}
    metrics = prometheus_observer(frozenset(timeouts))
    metrics.prepare(OTHER)  # without a limit: each host in this group has a concurrency limit of its own
    metrics.limit({name: policy.max_concurrency for name, policy in config.upstreams.items()})
    return (log_event, metrics)


def _default_registry() -> ProcessRegistry:
    missing_django_app.warn()
    return ProcessRegistry()


class _Process:
    def __init__(self) -> None:
        self.runtime = Runtime()
        self.make: Callable[[], ProcessRegistry] = _default_registry
        self.registry: ProcessRegistry | None = None
        self.audience = Audience(())
        self.lock = threading.RLock()
        fork.renew_in_children(self)

    def after_fork(self) -> None:
        self.lock = threading.RLock()


_process = _Process()


def current() -> ProcessRegistry:
    """Return the registry of this process; the first call creates it.

    Exceptions of the function `make`, which was passed to `use`, reach the caller.
    """
    registry = _process.registry
    if registry is None:
        with _process.lock:
            made = _process.registry or _process.make()
            # A signal handler that made an HTTP call may have created a registry since the previous line.
            registry = _process.registry = _process.registry or made
        if made is not registry:
            made.forget()
    return registry


@contextmanager
def on(runtime: Runtime) -> Iterator[None]:
    """Use `runtime` and new upstreams until the end of the block.

    Then the process uses the former `make`, runtime and observers again, with new upstreams: changes by `use` and
    observers that were added inside the block are undone.
    """
    make, before, audience = _process.make, _process.runtime, _process.audience
    use(runtime=runtime)
    try:
        yield
    finally:
        _process.audience = audience
        use(make, runtime=before)


def use(make: Callable[[], ProcessRegistry] | None = None, *, runtime: Runtime | None = None) -> None:
    """Discard the registry. The next call creates one with `make` and `runtime`; omitted arguments keep their value."""
    with _process.lock:
        _process.make = make or _process.make
        _process.runtime = runtime or _process.runtime
        last, _process.registry = _process.registry, None
    if last is not None:
        last.forget()
