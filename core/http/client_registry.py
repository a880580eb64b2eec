"""The registry that the calls of one client use: the process's registry, or one derived from it for the client."""

from __future__ import annotations

import threading

from . import process
from .engine.upstream import Clock, Random
from .policy import Policy
from .registry import Registry


class ClientRegistry:
    """Finds the registry for each call, because a change of settings replaces the process's registry. Thread-safe."""

    def __init__(self, policy: Policy | None, clock: Clock | None, random: Random | None) -> None:
        self._policy = policy
        self._clock = clock
        self._random = random
        self._derived: tuple[Registry, Registry] | None = None
        """The process's registry and the registry derived from it."""
        self._lock = threading.RLock()

    def find(self) -> Registry:
        """Return the process's current registry, or a registry derived from it with the client's policy and clock."""
        current = process.current()
        if self._policy is None and self._clock is None and self._random is None:
            return current
        with self._lock:
            last = derived = self._derived
            if derived is None or derived[0] is not current:
                derived = self._derived = (current, current.derive(self._policy, self._clock, self._random))
        if last is not None and last is not derived:
            last[1].forget()
        return derived[1]

    def forget(self) -> None:
        """Discard the state of the derived registry, if there is one."""
        with self._lock:
            derived, self._derived = self._derived, None
        if derived is not None:
            derived[1].forget()
