"""One server as this process knows it: what all calls to it share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

from ..events import BreakerForgotten, BreakerState, Observer
from ..policy import Policy
from .circuit_breaker import Breaker
from .mergeable_state import BreakerSnapshot, GateSnapshot
from .rate_limit_gate import Gate
from .reservation import limits_of
from .retry_budget import Budget
from .steps import Wait

Clock: TypeAlias = Callable[[], float]
"""Seconds since some fixed moment, never going back: `time.monotonic`."""
Random: TypeAlias = Callable[[], float]
"""A random number in [0, 1): `random.random`."""
Elect: TypeAlias = Callable[["Upstream", float], bool | Wait]
"""Asks the other processes whether this one may send the probe that is due now. Blocks nowhere."""


class Upstream:
    """One server, or one group of servers that go down together. Safe for threads."""

    def __init__(
        self,
        name: str,
        policy: Policy,
        *,
        clock: Clock,
        random: Random,
        observe: Observer,
        elect: Elect | None = None,
    ) -> None:
        """Make one. `elect`: default: this process decides alone."""
        self.name = name
        self.policy = policy
        self.clock = clock
        self.random = random
        self.observe = observe
        self.elect = elect
        self.breaker = Breaker(policy.circuit_breaker) if policy.circuit_breaker else None
        self.budget = Budget(policy.retry_budget) if policy.retry_budget else None
        self.gate = Gate()
        self.limits = limits_of(policy)
        self._waiters: set[Callable[[], object]] = set()

    @contextmanager
    def waking(self, wake: Callable[[], object]) -> Iterator[None]:
        """While this lasts, call `wake` when waiting has become pointless: the breaker has opened."""
        self._waiters.add(wake)
        breaker = self.breaker
        if breaker is not None and breaker.is_open(self.clock()):  # since the caller decided to wait
            wake()
        try:
            yield
        finally:
            self._waiters.discard(wake)

    @property
    def snapshots(self) -> tuple[BreakerSnapshot, GateSnapshot]:
        """What other processes should know of its breaker and of its gate."""
        breaker = self.breaker
        return BreakerSnapshot() if breaker is None else breaker.snapshot, self.gate.snapshot

    def probe_due(self, now: float) -> bool:
        """Say whether the next attempt would be a probe, the only one let through."""
        if self.gate.is_closed(now):
            return False
        breaker = self.breaker
        return self.gate.probe_due(now) or (breaker is not None and breaker.probe_due(now))

    def is_probing(self, now: float) -> bool:
        """Say whether a probe of this process is on its way."""
        breaker = self.breaker
        return self.gate.is_probing(now) or (breaker is not None and breaker.is_probing(now))

    def forget(self) -> None:
        """Give up what is known of it. Calls in hand go on, and report nothing of its breaker any more."""
        breaker, self.breaker = self.breaker, None
        if breaker is not None:
            breaker.is_retired = True
            if breaker.state is not BreakerState.CLOSED:
                self.observe(BreakerForgotten(self.name, breaker.state))

    def wake(self) -> None:
        """Wake every call that waits."""
        for wake in tuple(self._waiters):
            wake()
