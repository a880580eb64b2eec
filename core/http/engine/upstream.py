"""One server as this process knows it: what all calls to it share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

from ..events import BreakerForgotten, BreakerState, Observer
from ..policy import Policy
from .admission_rule import Refused
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

MOST_PARTS = 256
"""Parts of an upstream that are kept."""


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
        whole: Upstream | None = None,
        partition: str = "",
    ) -> None:
        """Make one.

        :param elect: default: this process decides alone.
        :param whole: the upstream of which this is a part: see `part`.
        :param partition: the name of the part.
        """
        self.name = name
        self.policy = policy
        self.clock = clock
        self.random = random
        self.observe = observe
        self.elect = elect
        self.partition = partition
        self.parts: dict[str, Upstream] = {}
        self.whole = whole or self
        self.budget = Budget(policy.retry_budget) if policy.retry_budget else None
        self.gate = Gate()
        if whole is None:
            self.breaker = Breaker(policy.circuit_breaker) if policy.circuit_breaker else None
            self.limits = limits_of(policy)
            self.waiters: set[Callable[[], object]] = set()
        else:
            self.breaker, self.limits, self.waiters = whole.breaker, whole.limits, whole.waiters

    def part(self, partition: str) -> Upstream:
        """Return the part for one of several quotas, say that of a credential.

        Its gate and its retry budget are its own; the breaker, the slots and the pace are the upstream's. At most
        `MOST_PARTS` are kept, the oldest goes first.
        """
        part = self.parts.get(partition)
        if part is None:
            part = Upstream(
                self.name,
                self.policy,
                clock=self.clock,
                random=self.random,
                observe=self.observe,
                elect=self.elect,
                whole=self,
                partition=partition,
            )
            part = self.parts.setdefault(partition, part)
            if len(self.parts) > MOST_PARTS:
                self.parts.pop(next(iter(self.parts)), None)
        return part

    @property
    def _own_breaker(self) -> Breaker | None:
        """None for a part, of which only the gate is told to other processes, and elected for."""
        return self.breaker if self.whole is self else None

    @contextmanager
    def waking(self, wake: Callable[[], object]) -> Iterator[None]:
        """While this lasts, call `wake` when waiting has become pointless: the breaker has opened."""
        self.waiters.add(wake)
        breaker = self.breaker
        if breaker is not None and breaker.is_open(self.clock()):  # since the caller decided to wait
            wake()
        try:
            yield
        finally:
            self.waiters.discard(wake)

    @property
    def snapshots(self) -> tuple[BreakerSnapshot, GateSnapshot]:
        """What other processes should know of its breaker and of its gate."""
        breaker = self._own_breaker
        return BreakerSnapshot() if breaker is None else breaker.snapshot, self.gate.snapshot

    def probe_due(self, now: float) -> bool:
        """Say whether the next attempt would be a probe, the only one let through."""
        if self.gate.is_closed(now):
            return False
        breaker = self._own_breaker
        return self.gate.probe_due(now) or (breaker is not None and breaker.probe_due(now))

    def is_probing(self, now: float) -> bool:
        """Say whether a probe of this process is on its way."""
        breaker = self._own_breaker
        return self.gate.is_probing(now) or (breaker is not None and breaker.is_probing(now))

    def is_down(self, now: float) -> bool:
        """Say whether its breaker is not closed, or it has asked for a pause that is not over."""
        breaker, gate = self.snapshots
        return breaker.is_open or now < gate.asked_until

    def refusal(self, now: float) -> Refused | None:
        """Return why a call that cannot wait would send nothing now; None: it may be sent.

        For jobs with many calls, which do something else meanwhile. It takes nothing, no probe either, and holds for
        this moment: the call itself may still be refused, say where another process sends the probe.
        """
        gate = self.gate.refusal(now) if self.policy.rate_limit_gate else None
        breaker = self.breaker.refusal(now) if self.breaker is not None else None
        return max(filter(None, (gate, breaker)), key=lambda refused: refused.retry_in, default=None)

    def is_suspect(self, now: float) -> bool:
        """Say whether it has failed since it last answered, and its breaker is still closed: see `Breaker`."""
        return self.breaker is not None and self.breaker.is_suspect(now)

    def forget(self) -> None:
        """Give up what is known of it. Calls in hand go on, and report nothing of its breaker any more."""
        breaker, self.breaker = self.breaker, None
        if breaker is not None:
            breaker.is_retired = True
            for part in self.parts.values():
                part.breaker = None
            if breaker.state is not BreakerState.CLOSED:
                self.observe(BreakerForgotten(self.name, breaker.state))

    def wake(self) -> None:
        """Wake every call that waits."""
        for wake in tuple(self.waiters):
            wake()
