"""The state that all calls of this process to one upstream share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

from ..events import BreakerForgotten, BreakerState, Observer
from ..policy import Policy
from .admission_rule import Refused
from .circuit_breaker import Breaker
from .concurrency_and_pacing import limits_of
from .mergeable_state import BreakerSnapshot, GateSnapshot
from .rate_limit_gate import Gate
from .retry_budget import Budget
from .steps import Wait

Clock: TypeAlias = Callable[[], float]
"""Returns seconds that never decrease, like `time.monotonic`."""
Random: TypeAlias = Callable[[], float]
"""Returns a random number in [0, 1), like `random.random`."""
Elect: TypeAlias = Callable[["Upstream", float], bool | Wait]
"""A function that returns whether this process, of all processes that share state, may send the probe that is due. It
returns a `Wait` while that is undecided, and must not block."""

MOST_PARTS = 256
"""Maximum number of partitions of an upstream."""


class Upstream:
    """The state of one server, or of one group of servers that fail together. Thread-safe."""

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
        """Create an upstream.

        :param elect: default: this process sends its probes without an election.
        :param whole: the upstream of which this one is a partition: see `part`; default: this is not a partition.
        :param partition: the name of the partition.
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
        """Return the partition of the upstream for one of several quotas, for example the quota of one credential.

        A partition has its own gate and retry budget, and shares the breaker, the slots and the pace of the upstream.
        At most `MOST_PARTS` partitions are kept; the oldest is dropped first.
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
        """The breaker; None for a partition, because it shares the breaker of the upstream."""
        return self.breaker if self.whole is self else None

    @contextmanager
    def waking(self, wake: Callable[[], object]) -> Iterator[None]:
        """Inside the block, call `wake` when the breaker opens or a probe election is decided."""
        self.waiters.add(wake)
        breaker = self.breaker
        if breaker is not None and breaker.is_open(self.clock()):  # it opened after the caller decided to wait
            wake()
        try:
            yield
        finally:
            self.waiters.discard(wake)

    @property
    def snapshots(self) -> tuple[BreakerSnapshot, GateSnapshot]:
        """The states of the breaker and the gate, which are shared with other processes."""
        breaker = self._own_breaker
        return BreakerSnapshot() if breaker is None else breaker.snapshot, self.gate.snapshot

    def with_probe_due(self, now: float) -> list[Upstream]:
        """Return the upstreams whose probe a call would send now: `whole` for the breaker, this one for the gate."""
        due = [self.whole] if self.breaker is not None and self.breaker.probe_due(now) else []
        return [*due, self] if self not in due and self.gate.probe_due(now) else due

    def probe_due(self, now: float) -> bool:
        """Return whether a probe of the breaker or the gate is due. The breaker of a partition belongs to `whole`."""
        breaker = self._own_breaker
        return self.gate.probe_due(now) or (breaker is not None and breaker.probe_due(now))

    def is_probing(self, now: float) -> bool:
        """Return whether a probe of this process is in flight."""
        breaker = self._own_breaker
        return self.gate.is_probing(now) or (breaker is not None and breaker.is_probing(now))

    def is_down(self, now: float) -> bool:
        """Return whether the breaker is not closed, or the upstream has asked for a pause that is not over."""
        breaker, gate = self.snapshots
        return breaker.is_open or now < gate.asked_until

    def refusal(self, now: float) -> Refused | None:
        """Return the refusal that a call without time to wait would get now; None: the call may be sent.

        Batch jobs use this to do other work until the upstream accepts calls. It takes neither a slot nor a probe. The
        call itself may still be refused, for example because another process sends the probe.
        """
        gate = self.gate.refusal(now) if self.policy.rate_limit_gate else None
        breaker = self.breaker.refusal(now) if self.breaker is not None else None
        return max(filter(None, (gate, breaker)), key=lambda refused: refused.retry_in, default=None)

    def is_suspect(self, now: float) -> bool:
        """Return whether the last attempt failed recently and the breaker is still closed: see `Breaker.is_suspect`."""
        return self.breaker is not None and self.breaker.is_suspect(now)

    def forget(self) -> None:
        """Discard the breaker. Calls in progress continue, but no longer report changes of the breaker."""
        breaker, self.breaker = self.breaker, None
        if breaker is not None:
            breaker.is_retired = True
            for part in tuple(self.parts.values()):  # a copy, because a call of a signal handler may add a partition
                part.breaker = None
            if breaker.state is not BreakerState.CLOSED:
                self.observe(BreakerForgotten(self.name, breaker.state))

    def wake(self) -> None:
        """Wake every call that waits for the upstream."""
        for wake in tuple(self.waiters):
            wake()
