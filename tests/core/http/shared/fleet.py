"""Several processes that share a cache, on one clock of the test."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from core.http import CircuitBreaker, CircuitOpen, Policy
from core.http.engine.call import Call
from core.http.engine.steps import Send, Wait
from core.http.engine.upstream import Upstream
from core.http.events import BreakerFollowed, BreakerState, Event, Target
from core.http.outcome import Outcome
from core.http.shared.background_sync import StateSharing
from core.http.shared.records import key_of
from core.http.shared.upstream_diagnostics_recorder import DiagnosticsRecorder
from core.http.testing import FakeClock
from core.http.upstream_id import UpstreamId
from tests.core.http.engine.world import BUSY, GET

FRAGILE = Policy(circuit_breaker=CircuitBreaker(failures_in_a_row=2), retries=0)
HOUR = 3600.0


class FakeCache:
    """A cache in a dictionary that records its requests and can be made to fail."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.timeouts: dict[str, int] = {}
        self.asked: list[str] = []
        self.error: BaseException | None = None
        self.unreadable = ""
        """A key whose value makes reading it fail."""

    def get(self, key: str) -> object:
        self._ask("get")
        if key == self.unreadable:
            raise ValueError("unsupported pickle protocol: 9")
        return self.values.get(key)

    def add(self, key: str, value: object, timeout: int) -> bool:
        self._ask("add")
        if key in self.values:
            return False
        self.values[key], self.timeouts[key] = value, timeout
        return True

    def set(self, key: str, value: object, timeout: int) -> None:
        self._ask("set")
        self.values[key], self.timeouts[key] = value, timeout

    def delete(self, key: str) -> None:
        self._ask("delete")
        self.values.pop(key, None)

    def _ask(self, what: str) -> None:
        self.asked.append(what)
        if self.error is not None:
            raise self.error


@dataclass
class Fleet:
    """Processes that share a cache."""

    cache: FakeCache = field(default_factory=FakeCache)
    wall: FakeClock = field(default_factory=lambda: FakeClock(1_700_000_000.0))

    def process(self, uptime: float = 1000.0, policy: Policy = FRAGILE, wrong_by: float = 0.0) -> Process:
        """Start a process with this monotonic clock, and a wall clock that is `wrong_by` seconds ahead."""
        return Process(self, policy, self.wall.now - uptime, wrong_by)

    @property
    def probes(self) -> list[str]:
        return [key for key in self.cache.values if ":probe:" in key]


class Process:
    def __init__(self, fleet: Fleet, policy: Policy, booted: float, wrong_by: float) -> None:
        self.events: list[Event] = []
        self.clock = lambda: fleet.wall.now - booted
        self.upstream = Upstream(
            "example", policy, clock=self.clock, random=lambda: 0.0, observe=self.observe, elect=self.elect
        )
        self.diagnostics = DiagnosticsRecorder(wall=lambda: fleet.wall.now + wrong_by)
        self.shared = StateSharing(
            fleet.cache,
            lambda: {UpstreamId("example"): self.upstream},
            self.diagnostics,
            clock=self.clock,
            wall=lambda: fleet.wall.now + wrong_by,
        )

    def observe(self, event: Event) -> None:
        self.events.append(event)
        self.diagnostics.observe(event)
        self.shared.observe(event)

    def elect(self, upstream: Upstream, now: float) -> bool | Wait:
        return self.shared.elect(upstream, now)

    def share_partition(self, name: str) -> None:
        """Share the state of this partition too."""
        upstreams = {
            UpstreamId("example"): self.upstream,
            UpstreamId("example", partition=name): self.upstream.part(name),
        }
        self.shared._upstreams = lambda: upstreams

    def exchange(self) -> None:
        """Run the exchange that its thread runs each half second."""
        self.shared._due = 0.0
        self.shared.step()

    def attempt(self, outcome: Outcome = BUSY) -> None:
        call = Call(self.upstream, GET)
        assert isinstance(call.begin(), Send)
        call.end(outcome)

    def find_it_down(self) -> None:
        self.attempt()
        self.attempt()
        assert self.state is BreakerState.OPEN
        self.exchange()

    def begin(self) -> tuple[Call, Send | Wait]:
        call = Call(self.upstream, GET)
        step = call.begin()
        assert isinstance(step, Send | Wait)
        return call, step

    def probe(self) -> Call | None:
        """Begin a call that would be the probe, with an election that is decided in time; None: another sends it."""
        call, step = self.begin()
        assert step == Wait(0.1)
        self.shared.step()
        try:
            step = call.begin()  # type: ignore[assignment]
        except CircuitOpen:
            return None
        assert isinstance(step, Send)
        return call

    @property
    def state(self) -> BreakerState:
        assert self.upstream.breaker is not None
        return self.upstream.breaker.state

    @property
    def retry_in(self) -> float:
        assert self.upstream.breaker is not None
        return self.upstream.breaker.probe_at - self.clock()

    @property
    def followed(self) -> list[tuple[BreakerState, BreakerState]]:
        return [(event.before, event.state) for event in self.events if isinstance(event, BreakerFollowed)]


class Several:
    """A process of several upstreams, hosts without a name, each of which another process found down."""

    def __init__(self, fleet: Fleet, count: int = 3) -> None:
        self.fleet = fleet
        process = fleet.process()  # its clock
        self.shared = process.shared
        self.upstreams = {
            f"https://{number}.test": Upstream(
                "other",
                FRAGILE,
                clock=process.clock,
                random=lambda: 0.0,
                observe=self.shared.observe,
                elect=self.shared.elect,
            )
            for number in range(count)
        }
        self.keys = [key_of("other", origin) for origin in self.upstreams]
        self.shared._upstreams = lambda: {
            UpstreamId("other", origin): upstream for origin, upstream in self.upstreams.items()
        }

    def others_find_all_down(self) -> None:
        now = self.fleet.wall.now
        self.fleet.cache.values.update(dict.fromkeys(self.keys, (now, now, now + 15, 0.0, 0.0, 0.0)))

    def fail(self, number: int) -> None:
        """Have an attempt fail at one of them."""
        origin = f"https://{number}.test"
        call = Call(self.upstreams[origin], Target("GET", "https", f"{number}.test", "/"))
        assert isinstance(call.begin(), Send)
        call.end(BUSY)

    @property
    def down(self) -> list[int]:
        """The numbers of the upstreams whose breakers are open in this process."""
        breakers = [upstream.breaker for upstream in self.upstreams.values()]
        return [number for number, breaker in enumerate(breakers) if breaker and breaker.state is BreakerState.OPEN]


def lines(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    return [(record.levelname, record.getMessage()) for record in caplog.records if "cache" in record.getMessage()]
