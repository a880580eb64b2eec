"""Finds the upstream of a URL."""

from __future__ import annotations

import random as random_module
import threading
import time as time_module
from collections import OrderedDict
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

from . import fork
from .engine.upstream import Clock, Elect, Random, Upstream
from .events import OTHER, Audience, Event, Observer
from .origin import Origin
from .policy import Policy
from .upstream_id import UpstreamId

MOST_OTHER_HOSTS = 1024
"""Maximum number of hosts outside `Config.hosts` whose state is kept. The least recently used host is dropped first.
Hosts in URLs that users submit have a separate limit of the same size."""


@dataclass(frozen=True)
class Config:
    """The configured upstreams. `hosts` maps "host" or "host:port" to a name in `upstreams`."""

    default: Policy = field(default_factory=Policy)
    upstreams: Mapping[str, Policy] = field(default_factory=dict)
    hosts: Mapping[str, str] = field(default_factory=dict)
    user_agent: str | None = None
    shared_cache: Any = None
    """A `shared.cache.Cache` in which processes share the state of breakers and gates. None: they share nothing."""

    def name_of(self, origin: Origin) -> str:
        """Return the name of the upstream that `origin` belongs to."""
        with_port = f"{origin.host}:{origin.port}"
        return self.hosts.get(with_port) or self.hosts.get(origin.host) or OTHER


@dataclass(frozen=True, slots=True)
class Runtime:
    """The clock, the wait function and the source of random numbers."""

    clock: Clock = time_module.monotonic
    wait: Callable[[float], object] = time_module.sleep
    random: Random = random_module.random

    @property
    def is_real(self) -> bool:
        """False if the clock was replaced, for example by a test."""
        return self.clock is time_module.monotonic


class Registry:
    """The upstreams of a process, or of one session that has its own policy or clock."""

    _elect: Elect | None = None
    """Set if the state of the registry is shared: see `engine.upstream.Elect`."""

    def __init__(
        self,
        config: Config | None = None,
        *,
        policy: Policy | None = None,
        runtime: Runtime | None = None,
        observers: tuple[Observer, ...] = (),
    ) -> None:
        """Create a registry.

        :param policy: replaces the configured policy of every upstream. The upstreams keep their names.
        """
        self.config = config or Config()
        self.runtime = runtime or Runtime()
        self._audience = Audience(observers)
        self._policy = policy
        self._configured: dict[str, Upstream] = {}
        self._others: OrderedDict[Origin, Upstream] = OrderedDict()
        self._untrusted: OrderedDict[Origin, Upstream] = OrderedDict()
        """Hosts of URLs that users submit. This table is separate, so that such URLs cannot evict the other hosts or
        open their breakers."""
        self._lock = threading.RLock()
        fork.renew_in_children(self)

    def upstream(self, origin: Origin, *, untrusted: bool = False, partition: str = "") -> Upstream:
        """Return the upstream that `origin` belongs to, and create it on first use.

        :param untrusted: whether a user submitted the URL. Such a URL never belongs to a configured upstream, because
            its failures would affect the other calls of that upstream.
        :param partition: name of the credential whose quota is used: see `engine.upstream.Upstream.part`.
        """
        name = OTHER if untrusted else self.config.name_of(origin)
        with self._lock:
            upstream = self._other(origin, untrusted=untrusted) if name == OTHER else self._named(name)
        return upstream.part(partition) if partition else upstream

    def known(self) -> dict[UpstreamId, Upstream]:
        """Return the upstreams in use, and their partitions."""
        with self._lock:
            wholes = self._all()
        return _with_parts(wholes)

    def configured_and_recent(self, hosts: int) -> dict[UpstreamId, Upstream]:
        """Return all configured upstreams and the most recently used other hosts, with their partitions.

        :param hosts: maximum number of other hosts. In addition, up to `hosts` hosts of URLs that users submit are
            returned.
        """
        with self._lock:
            for name in self.config.upstreams:
                self._named(name)
            wholes = self._all(hosts)
        return _with_parts(wholes)

    def derive(self, policy: Policy | None, clock: Clock | None, random: Random | None) -> Registry:
        """Return a registry with separate state, the same names of upstreams and the same observers.

        :param policy: replaces the configured policy of every upstream; None: the configured policies apply.
        :param clock: None: the clock of this registry.
        :param random: None: the source of random numbers of this registry.
        """
        runtime = replace(self.runtime, clock=clock or self.runtime.clock, random=random or self.runtime.random)
        config = replace(self.config, shared_cache=None)
        return Registry(config, policy=policy, runtime=runtime, observers=(self.emit,))

    def emit(self, event: Event) -> None:
        """Pass `event` to all observers of its class."""
        self._audience.tell(event)

    def forget(self) -> None:
        """Discard the state of every upstream."""
        with self._lock:
            upstreams = self._all().values()
            self._clear()
        for upstream in upstreams:
            upstream.forget()

    def after_fork(self) -> None:
        self._lock = threading.RLock()
        self._clear()

    def _clear(self) -> None:
        self._configured.clear()
        self._others.clear()
        self._untrusted.clear()

    def _all(self, hosts: int | None = None) -> dict[UpstreamId, Upstream]:
        """Return the upstreams without their partitions.

        :param hosts: maximum number of other hosts from each table, the most recently used ones; None: all.
        """
        found = {UpstreamId(name): upstream for name, upstream in self._configured.items()}
        for table, untrusted in ((self._others, False), (self._untrusted, True)):
            # A copy, because a signal handler's call may add an upstream and drop the oldest.
            for origin, upstream in islice(reversed(tuple(table.items())), hosts):
                found[UpstreamId(OTHER, origin.url, untrusted)] = upstream
        return found

    def _named(self, name: str) -> Upstream:
        upstream = self._configured.get(name)
        if upstream is None:
            upstream = self._configured.setdefault(name, self._make(name))
        return upstream

    def _other(self, origin: Origin, *, untrusted: bool) -> Upstream:
        table = self._untrusted if untrusted else self._others
        upstream = table.get(origin)
        if upstream is None:
            upstream = table.setdefault(origin, self._make(OTHER))
            if len(table) > MOST_OTHER_HOSTS:
                table.popitem(last=False)[1].forget()
        else:
            with suppress(KeyError):  # a signal handler or a finalizer may have called `forget` since the line above
                table.move_to_end(origin)
        return upstream

    def _make(self, name: str) -> Upstream:
        policy = self._policy or self.config.upstreams.get(name, self.config.default)
        runtime = self.runtime
        return Upstream(name, policy, clock=runtime.clock, random=runtime.random, observe=self.emit, elect=self._elect)


def _with_parts(wholes: Mapping[UpstreamId, Upstream]) -> dict[UpstreamId, Upstream]:
    found = {}
    for key, whole in wholes.items():
        found[key] = whole
        found |= {key._replace(partition=name): part for name, part in tuple(whole.parts.items())}
    return found
