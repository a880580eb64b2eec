"""Which upstream a URL belongs to, for the process.

`current()` is looked up when a call is sent, never kept: so sessions made at import time follow settings that
change later, under tests above all.
"""

from __future__ import annotations

import random as random_module
import threading
import time as time_module
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import islice
from types import MappingProxyType
from typing import NamedTuple
from urllib.parse import SplitResult, urlsplit

import idna

from core.http import fork
from core.http.engine import OTHER, Clock, Random, Upstream
from core.http.events import Event, Observer, emit
from core.http.exchange import Cache
from core.http.logs import log_event
from core.http.metrics import prometheus_observer
from core.http.newsroom import Newsroom
from core.http.policy import Policy
from core.http.shared import Shared

MOST_OTHER_HOSTS = 1024
"""Hosts without a name of which state is kept; the least recently used go first."""
_MOST_SHARED = 50
"""Of these, hosts of which the state is shared with other processes: each costs a look into the cache."""
DEFAULT_PORTS = MappingProxyType({"http": 80, "https": 443})


class Origin(NamedTuple):
    scheme: str
    host: str
    port: int

    @property
    def netloc(self) -> str:
        """The host, and the port where it is not the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == DEFAULT_PORTS.get(self.scheme) else f"{host}:{self.port}"

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.netloc}"


def origin_of(url: str) -> Origin:
    """Read scheme, host and port of a URL. Raises `ValueError` where it has no host or no sensible port."""
    parts = urlsplit(url)
    return _origin(parts.scheme, parts.netloc)


@lru_cache(MOST_OTHER_HOSTS)
def _origin(scheme: str, netloc: str) -> Origin:
    parts = SplitResult(scheme.lower(), netloc, "", "", "")
    if not parts.hostname:
        raise ValueError("the URL names no host")
    port = DEFAULT_PORTS.get(parts.scheme, 0) if parts.port is None else parts.port
    return Origin(parts.scheme, canonical_host(parts.hostname), port)


def canonical_host(host: str) -> str:
    """Lower-case, in ASCII, without the root dot. Raises `ValueError` for what cannot be a host name."""
    host = host.lower().rstrip(".")
    if not host:
        raise ValueError("the root is no host")
    return host if host.isascii() else idna.encode(host, uts46=True).decode("ascii")


@dataclass(frozen=True)
class Config:
    """What the process was told of its upstreams. `hosts` maps "host" or "host:port" to a name in `upstreams`."""

    default: Policy = field(default_factory=Policy)
    upstreams: Mapping[str, Policy] = field(default_factory=dict)
    hosts: Mapping[str, str] = field(default_factory=dict)
    user_agent: str | None = None
    shared_cache: Cache | None = None
    """Where processes tell each other which upstreams are down; None: each finds out for itself."""

    def name_of(self, origin: Origin) -> str:
        with_port = f"{origin.host}:{origin.port}"
        return self.hosts.get(with_port) or self.hosts.get(origin.host) or OTHER


@dataclass(frozen=True, slots=True)
class Time:
    """What time it is, how to let it pass, and chance."""

    clock: Clock = time_module.monotonic
    wait: Callable[[float], object] = time_module.sleep
    random: Random = random_module.random


class Registry:
    """The upstreams of a process, or of one session with a policy or a time of its own."""

    def __init__(
        self,
        config: Config | None = None,
        *,
        policy: Policy | None = None,
        time: Time | None = None,
        observers: tuple[Observer, ...] | None = None,
    ) -> None:
        """Make a registry.

        :param policy: for every upstream, whatever the configuration says; its names still hold.
        :param time: default: the process's, see `use`.
        :param observers: default: logging, Prometheus and the news.
        """
        self.config = config or Config()
        self.time = time or _process.time
        self.news = Newsroom()
        self.observers = (*_default_observers(self.config), self.news.observe) if observers is None else observers
        self._shared: Shared | None = None
        if self.config.shared_cache is not None and self.time.clock is time_module.monotonic:  # no fake time is shared
            self._shared = Shared(self.config.shared_cache, self._to_share, self.news)
            self.observers = (*self.observers, self._shared.observe)
        self._policy = policy
        self._upstreams: OrderedDict[str | Origin, Upstream] = OrderedDict()
        self._lock = threading.Lock()
        fork.renew_in_children(self)

    def upstream(self, origin: Origin, *, named: bool = True) -> Upstream:
        """Look up the upstream that `origin` belongs to; it is made on first use.

        `named`: it may be one that the configuration names. Not for URLs of users: what those bring about there
        would be held against everybody's calls.
        """
        name = self.config.name_of(origin) if named else OTHER
        key = origin if name == OTHER else name
        with self._lock:
            upstream = self._upstreams.get(key)
            if upstream is None:
                upstream = self._upstreams[key] = self._make(name)
                self._forget_surplus()
            elif name == OTHER:
                self._upstreams.move_to_end(key)
        if self._shared is not None:
            self._shared.attend()
        return upstream

    def known(self) -> dict[tuple[str, str], Upstream]:
        """Return the upstreams that were used, or are shared, by name and, where they have none, origin."""
        with self._lock:
            upstreams = list(self._upstreams.items())
        return {(upstream.name, key.url if isinstance(key, Origin) else ""): upstream for key, upstream in upstreams}

    def derive(self, policy: Policy | None, clock: Clock | None, random: Random | None) -> Registry:
        """Make a registry with state, and maybe policy and time, of its own; names and observers stay these."""
        time = replace(self.time, clock=clock or self.time.clock, random=random or self.time.random)
        config = replace(self.config, shared_cache=None)
        return Registry(config, policy=policy, time=time, observers=(self.emit,))

    @contextmanager
    def observed_by(self, observer: Observer) -> Iterator[None]:
        """Hand every event to `observer` as well, for a while."""
        with self._lock:
            self.observers = (*self.observers, observer)
        try:
            yield
        finally:
            with self._lock:
                self.observers = tuple(other for other in self.observers if other is not observer)

    def emit(self, event: Event) -> None:
        emit(event, self.observers)

    def forget(self) -> None:
        """Give up what is known of every upstream, and share nothing any more."""
        if self._shared is not None:
            self._shared.stop()
        with self._lock:
            upstreams = list(self._upstreams.values())
            self._upstreams.clear()
        for upstream in upstreams:
            upstream.forget()

    def after_fork(self) -> None:
        self._lock = threading.Lock()
        self._upstreams.clear()

    def _make(self, name: str) -> Upstream:
        policy = self._policy or self.config.upstreams.get(name, self.config.default)
        elect = self._shared.elect if self._shared is not None else None
        return Upstream(name, policy, clock=self.time.clock, random=self.time.random, observe=self.emit, elect=elect)

    def _to_share(self) -> list[tuple[Upstream, str]]:
        """List the upstreams whose state is shared; those with names before they are used, to learn of them early."""
        with self._lock:
            if self._shared is None or self._shared.stopped:  # since the list was asked for
                return []
            for name in self.config.upstreams:
                if name not in self._upstreams:
                    self._upstreams[name] = self._make(name)
            named = [(self._upstreams[name], "") for name in self.config.upstreams]
            origins = (key for key in reversed(self._upstreams) if isinstance(key, Origin))
            recent = [(self._upstreams[key], key.url) for key in islice(origins, _MOST_SHARED)]
        return named + recent

    def _forget_surplus(self) -> None:
        while len(self._upstreams) > MOST_OTHER_HOSTS + len(self.config.upstreams):
            oldest = next(key for key in self._upstreams if isinstance(key, Origin))
            self._upstreams.pop(oldest).forget()


def _default_observers(config: Config) -> tuple[Observer, ...]:
    policies = (config.default, *config.upstreams.values())
    timeouts = {timeout for p in policies for timeout in (p.attempt_timeout, p.total_timeout)}
    metrics = prometheus_observer(frozenset(timeouts))
    metrics.prepare(OTHER)  # each of its hosts has a limit of its own, so there is none for all of them
    metrics.limit({name: policy.max_concurrency for name, policy in config.upstreams.items()})
    return (log_event, metrics)


class _Process:
    """What there is one of in a process."""

    def __init__(self) -> None:
        self.time = Time()
        self.make: Callable[[], Registry] = Registry
        self.registry: Registry | None = None
        self.lock = threading.Lock()
        fork.renew_in_children(self)

    def after_fork(self) -> None:
        self.lock = threading.Lock()


_process = _Process()


def current() -> Registry:
    """Return the registry of this process; made on first use. Raises what the maker given to `use` raises."""
    registry = _process.registry
    if registry is None:
        with _process.lock:
            registry = _process.registry = _process.registry or _process.make()
    return registry


def use(make: Callable[[], Registry] | None = None, *, time: Time | None = None) -> None:
    """Begin afresh when the next call is sent: with a registry from `make`, on `time`; what is left out stays."""
    with _process.lock:
        _process.make = make or _process.make
        _process.time = time or _process.time
        last, _process.registry = _process.registry, None
    if last is not None:
        last.forget()
