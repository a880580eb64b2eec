"""Which upstream a URL belongs to."""

from __future__ import annotations

import random as random_module
import threading
import time as time_module
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

from . import fork
from .engine.upstream import Clock, Elect, Random, Upstream
from .events import OTHER, Event, Observer, emit
from .origin import Origin
from .policy import Policy

MOST_OTHER_HOSTS = 1024
"""Hosts that no upstream names of which state is kept; the least recently used go first."""


@dataclass(frozen=True)
class Config:
    """What the process was told of its upstreams. `hosts` maps "host" or "host:port" to a name in `upstreams`."""

    default: Policy = field(default_factory=Policy)
    upstreams: Mapping[str, Policy] = field(default_factory=dict)
    hosts: Mapping[str, str] = field(default_factory=dict)
    user_agent: str | None = None
    shared_cache: Any = None
    """Where processes tell each other which upstreams are down: a `shared.cache.Cache`. None: they share nothing."""

    def name_of(self, origin: Origin) -> str:
        """Return the name of the upstream that `origin` belongs to."""
        with_port = f"{origin.host}:{origin.port}"
        return self.hosts.get(with_port) or self.hosts.get(origin.host) or OTHER


@dataclass(frozen=True, slots=True)
class Runtime:
    """The clock, how to wait, and chance."""

    clock: Clock = time_module.monotonic
    wait: Callable[[float], object] = time_module.sleep
    random: Random = random_module.random

    @property
    def is_real(self) -> bool:
        """Its clock is that of the machine."""
        return self.clock is time_module.monotonic


class Registry:
    """The upstreams of a process, or of one session with a policy or a clock of its own."""

    _elect: Elect | None = None
    """Of a registry whose state is shared: see `engine.upstream.Elect`."""

    def __init__(
        self,
        config: Config | None = None,
        *,
        policy: Policy | None = None,
        runtime: Runtime | None = None,
        observers: tuple[Observer, ...] = (),
    ) -> None:
        """Make a registry. `policy`: for every upstream, whatever the configuration says; its names still hold."""
        self.config = config or Config()
        self.runtime = runtime or Runtime()
        self.observers = observers
        self._policy = policy
        self._upstreams: OrderedDict[str | Origin, Upstream] = OrderedDict()
        self._lock = threading.Lock()
        fork.renew_in_children(self)

    def upstream(self, origin: Origin, *, untrusted: bool = False) -> Upstream:
        """Look up the upstream that `origin` belongs to; it is made on first use.

        `untrusted`: a user submitted the URL. It never belongs to an upstream that the configuration names, whose calls
        would suffer from what such URLs bring about.
        """
        name = OTHER if untrusted else self.config.name_of(origin)
        key = origin if name == OTHER else name
        with self._lock:
            upstream = self._upstreams.get(key)
            if upstream is None:
                upstream = self._upstreams[key] = self._make(name)
                self._forget_surplus()
            elif name == OTHER:
                self._upstreams.move_to_end(key)
        return upstream

    def known(self) -> dict[tuple[str, str], Upstream]:
        """Return the upstreams in use, by name and, for those that no name was given to, origin."""
        with self._lock:
            upstreams = list(self._upstreams.items())
        return {(upstream.name, key.url if isinstance(key, Origin) else ""): upstream for key, upstream in upstreams}

    def configured_and_recent(self, hosts: int) -> list[tuple[Upstream, str]]:
        """List all upstreams that the configuration names, and as many `hosts` that it does not, with their origins."""
        with self._lock:
            for name in self.config.upstreams:
                if name not in self._upstreams:
                    self._upstreams[name] = self._make(name)
            configured = [(self._upstreams[name], "") for name in self.config.upstreams]
            origins = (key for key in reversed(self._upstreams) if isinstance(key, Origin))
            return configured + [(self._upstreams[key], key.url) for key in islice(origins, hosts)]

    def derive(self, policy: Policy | None, clock: Clock | None, random: Random | None) -> Registry:
        """Make a registry with state, and maybe policy and clock, of its own; names and observers stay these."""
        runtime = replace(self.runtime, clock=clock or self.runtime.clock, random=random or self.runtime.random)
        config = replace(self.config, shared_cache=None)
        return Registry(config, policy=policy, runtime=runtime, observers=(self.emit,))

    def emit(self, event: Event) -> None:
        """Hand `event` to all observers."""
        emit(event, self.observers)

    def forget(self) -> None:
        """Give up what is known of every upstream."""
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
        runtime = self.runtime
        return Upstream(name, policy, clock=runtime.clock, random=runtime.random, observe=self.emit, elect=self._elect)

    def _forget_surplus(self) -> None:
        while len(self._upstreams) > MOST_OTHER_HOSTS + len(self.config.upstreams):
            oldest = next(key for key in self._upstreams if isinstance(key, Origin))
            self._upstreams.pop(oldest).forget()
