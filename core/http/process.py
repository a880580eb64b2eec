"""What there is one of in a process: the registry, its runtime, and the observers.

`current()` is looked up when a call is sent, never kept: so sessions made at import time follow settings that change
later, under tests above all.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from . import fork, unread_settings
from .arguments import check_function
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
"""Hosts that no upstream names of which the state is shared with other processes: each costs a look into the cache."""


class ProcessRegistry(Registry):
    """The registry of the process: logged, counted, with a record of recent errors, and maybe shared."""

    def __init__(
        self,
        config: Config | None = None,
        *,
        policy: Policy | None = None,
        runtime: Runtime | None = None,
        observers: tuple[Observer, ...] | None = None,
    ) -> None:
        """Make it. `runtime`: default: the process's, see `use`; `observers`: default: logging and Prometheus."""
        runtime = runtime or _process.runtime
        super().__init__(config, policy=policy, runtime=runtime)
        self.diagnostics = DiagnosticsRecorder()
        """What was last seen of each upstream."""
        logging_and_metrics = _default_observers(self.config) if observers is None else observers
        all_observers = [*logging_and_metrics, self.diagnostics.observe]
        self._sharing: StateSharing | None = None
        if self.config.shared_cache is not None and runtime.is_real:  # a test's clock means nothing to other processes
            self._sharing = StateSharing(self.config.shared_cache, self._to_share, self.diagnostics)
            self._elect = self._sharing.elect
            all_observers.append(self._sharing.observe)
        self._audience = Audience(all_observers)

    def upstream(self, origin: Origin, *, untrusted: bool = False, partition: str = "") -> Upstream:
        """Look up the upstream that `origin` belongs to."""
        found = super().upstream(origin, untrusted=untrusted, partition=partition)
        if self._sharing is not None:
            self._sharing.attend()
        return found

    def emit(self, event: Event) -> None:
        """Hand `event` to all observers that ask for its kind, and to those of `observe`."""
        self._audience.tell(event)
        if _process.audience.observers:
            _process.audience.tell(event)

    def forget(self) -> None:
        """Give up what is known of every upstream, and share nothing any more."""
        if self._sharing is not None:
            self._sharing.stop()
        super().forget()

    def _to_share(self) -> dict[UpstreamId, Upstream]:
        if self._sharing is None or self._sharing.stopped:
            return {}
        return self.configured_and_recent(_MOST_SHARED)


class observe:  # noqa: N801 - used like a function
    """Add an observer of events (`core.http.events`) to the process.

    ``observe(observer)`` adds it for good, ``with observe(observer):`` until the end of the block. It gets every event
    of every session, whatever the settings become, or those of the classes in its attribute ``kinds``, if it has one (a
    set or a tuple). It runs in the thread of the call that the event belongs to, so it must be quick. What it raises is
    logged and never reaches the caller.

    :param observer: is called with each event; what it returns is ignored.
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
    metrics.prepare(OTHER)  # each of its hosts has a limit of its own, so there is none for all of them
    metrics.limit({name: policy.max_concurrency for name, policy in config.upstreams.items()})
    return (log_event, metrics)


def _default_registry() -> ProcessRegistry:
    unread_settings.warn()
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
    """Return the registry of this process; made on first use. Raises what the maker given to `use` raises."""
    registry = _process.registry
    if registry is None:
        with _process.lock:
            made = _process.registry or _process.make()
            # A signal handler may have made a call, and with it a registry, in the middle of that.
            registry = _process.registry = _process.registry or made
        if made is not registry:
            made.forget()
    return registry


@contextmanager
def on(runtime: Runtime) -> Iterator[None]:
    """Let the process run on `runtime` for a while, with fresh upstreams.

    Afterwards all is as before: what `use` set and the observers that were added meanwhile are gone.
    """
    make, before, audience = _process.make, _process.runtime, _process.audience
    use(runtime=runtime)
    try:
        yield
    finally:
        _process.audience = audience
        use(make, runtime=before)


def use(make: Callable[[], ProcessRegistry] | None = None, *, runtime: Runtime | None = None) -> None:
    """Begin afresh when the next call is sent: with a registry from `make`, on `runtime`; what is left out stays."""
    with _process.lock:
        _process.make = make or _process.make
        _process.runtime = runtime or _process.runtime
        last, _process.registry = _process.registry, None
    if last is not None:
        last.forget()
