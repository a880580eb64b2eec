"""Breaker and gate state exchanged between processes, as arithmetic: each has a clock of its own, none sleeps."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from core.http import CircuitBreaker, CircuitOpen, Policy, RateLimited, registry
from core.http.engine.call import Call
from core.http.engine.mergeable_state import BreakerSnapshot, GateSnapshot
from core.http.engine.steps import Send, Wait
from core.http.engine.upstream import Upstream
from core.http.events import Audience, BreakerChanged, BreakerFollowed, BreakerState, Event, Target
from core.http.observers.logs import log_event
from core.http.observers.prometheus import PrometheusObserver
from core.http.origin import Origin
from core.http.outcome import Outcome, Reason, failed
from core.http.process import ProcessRegistry
from core.http.registry import Config, Registry
from core.http.shared.background_sync import INTERVAL, StateSharing
from core.http.shared.records import Record, key_of, read
from core.http.shared.upstream_diagnostics_recorder import DiagnosticsRecorder
from core.http.testing import FakeClock, OutboundHTTP
from core.http.upstream_id import UpstreamId
from tests.core.http.engine.outage import answer
from tests.core.http.engine.world import BUSY, GET, OK
from tests.core.http.test_fork import run

FRAGILE = Policy(circuit_breaker=CircuitBreaker(failures_in_a_row=2), retries=0)
ORIGIN = Origin("https", "example.org", 443)
HOUR = 3600.0
MOMENTS = st.integers(0, 5).map(float)
BREAKERS = st.builds(BreakerSnapshot, MOMENTS, MOMENTS, MOMENTS)
GATES = st.builds(GateSnapshot, MOMENTS, MOMENTS, MOMENTS, st.sampled_from(["", "is busy", "limits us"]))
SNAPSHOTS = st.sampled_from([BREAKERS, GATES]).flatmap(lambda each: st.tuples(each, each, each))


class FakeCache:
    """A dictionary, and what was asked of it; it can fail."""

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
        """Start one. `uptime`: what its monotonic clock shows; `wrong_by`: how far its wall clock is ahead."""
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

    def exchange(self) -> None:
        """Do what its thread does within half a second."""
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


@pytest.fixture
def fleet() -> Fleet:
    return Fleet()


# Merging


@given(SNAPSHOTS)
def test_merging_needs_no_order(snapshots: tuple[Any, Any, Any]) -> None:
    """Who merges with whom, in which order and how often, comes to the same."""
    one, other, third = snapshots
    assert one.merge(other) == other.merge(one)
    assert one.merge(other).merge(third) == one.merge(other.merge(third))
    assert one.merge(one) == one
    assert one.merge(other).merge(other) == one.merge(other)
    assert one.merge(type(one)()) == one


def test_the_later_change_wins_and_then_the_longer_time() -> None:
    """A breaker that closed later is closed; of two gates closed since the same moment the longer time counts."""
    assert BreakerSnapshot(5.0, 5.0, 20.0).merge(BreakerSnapshot(6.0, 6.0, 6.0)) == BreakerSnapshot(6.0, 6.0, 6.0)
    assert GateSnapshot(0.0, 30.0, 90.0).merge(GateSnapshot(0.0, 60.0, 60.0)) == GateSnapshot(0.0, 60.0, 90.0)


def test_probes_that_failed_at_once_keep_the_breaker_open_for_one_pause() -> None:
    """Of two probes that two processes date alike, the later one says since when: the pause grows by doubling only."""
    one, other = BreakerSnapshot(5.0, 5.0, 35.0), BreakerSnapshot(5.0, 8.0, 38.0)
    assert one.merge(other) == other.merge(one) == other


def test_the_reason_is_that_of_the_longer_time() -> None:
    """Of two gates closed for different reasons; and of a later reopening nothing of before is left."""
    short, long = GateSnapshot(0.0, 30.0, 90.0, "is busy"), GateSnapshot(0.0, 60.0, 60.0, "limits us")
    assert short.merge(long) == long.merge(short) == GateSnapshot(0.0, 60.0, 90.0, "limits us")
    assert long.merge(GateSnapshot(1.0, 1.0, 1.0)) == GateSnapshot(1.0, 1.0, 1.0)


@given(
    st.none()
    | st.text()
    | st.lists(st.floats() | st.integers() | st.none() | st.text(), max_size=8)
    | st.tuples(*[st.floats()] * 6)
    | st.tuples(*[st.floats()] * 6, st.text())
    | st.dictionaries(st.text(), st.floats())
)
def test_whatever_the_cache_holds_can_be_read(value: object) -> None:
    """What others wrote there is finite numbers of a believable time, or nothing."""
    record = read(value, 1_700_000_000.0)
    assert all(math.isfinite(moment) for moment in (*record.breaker, *record.gate[:3]))
    assert record.gate.why.isprintable()
    assert max(record.breaker.changed, record.gate.reopened) <= 1_700_000_000 + HOUR


def test_what_makes_no_sense_is_nothing() -> None:
    """Too few numbers, too many, no numbers, or a change that is to come in two hours."""
    good = (5.0, 5.0, 20.0, 0.0, 0.0, 0.0)
    assert read(good, 10.0) == read(list(good), 10.0) == Record(BreakerSnapshot(5.0, 5.0, 20.0))
    for bad in (None, "x" * 6, good[:5], (*good, 1.0), (True, *good[1:]), (math.nan, *good[1:]), (2 * HOUR, *good[1:])):
        assert read(bad, 10.0) == Record()
    assert read((5.0, 5.0, 1e300, 0.0, 0.0, 0.0), 10.0) == Record()  # of which no key could be made
    assert read((*good, "is busy"), 10.0).gate.why == "is busy"
    for why in ("\x1b[2J", "a\nb", "x" * 201, None, 5):
        assert read((*good, why), 10.0) == Record()


def test_keys_suit_every_cache() -> None:
    """Names stand as they are, origins of any length are hashed; neither holds what a cache refuses."""
    assert key_of("pypi") == "core.http:1:pypi"
    keys = {key_of("other", f"{scheme}://{host}") for scheme in ("http", "https") for host in ("a" * 500, "[::1]:80")}
    assert len(keys) == 4
    assert all(len(key) < 60 and key.isascii() and " " not in key for key in keys)


# Breakers


def test_one_that_another_found_down_is_left_alone(fleet: Fleet) -> None:
    """What one process found by two failures, the other knows without a single one, until the same moment."""
    first, second = fleet.process(1000), fleet.process(77)
    first.find_it_down()
    fleet.wall.advance(5)
    second.exchange()
    assert second.state is BreakerState.OPEN
    assert second.retry_in == pytest.approx(10)
    with pytest.raises(CircuitOpen):
        Call(second.upstream, GET).begin()


def test_taking_over_is_told_as_what_it_is(fleet: Fleet) -> None:
    """Opening is a change in one process and followed in the others: it is counted once, and each knows its state."""
    first, second = fleet.process(), fleet.process()
    first.find_it_down()
    for _ in range(3):
        second.exchange()
        first.exchange()
    assert [event.state for event in first.events if isinstance(event, BreakerChanged)] == [BreakerState.OPEN]
    assert first.followed == []
    assert second.followed == [(BreakerState.CLOSED, BreakerState.OPEN)]
    assert [event for event in second.events if isinstance(event, BreakerChanged)] == []


def test_following_is_logged_and_counted_as_a_state(caplog: pytest.LogCaptureFixture) -> None:
    """INFO, not WARNING; the gauge of states moves, the counter of transitions does not."""
    caplog.set_level(logging.INFO, "core.http")
    collected = CollectorRegistry()
    audience = Audience((log_event, PrometheusObserver(collected, ())))
    audience.tell(BreakerFollowed("pypi", "", BreakerState.CLOSED, BreakerState.OPEN, 12.4))
    audience.tell(BreakerFollowed("other", "a.test", BreakerState.OPEN, BreakerState.CLOSED, 0.0))
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("INFO", "Breaker of upstream pypi opens because it opened in another process: nothing is sent for 12 s"),
        (
            "INFO",
            (
                "Breaker of upstream other (a.test) closes because it closed in another process: "
                "the upstream answers again"
            ),
        ),
    ]
    labels = {"upstream": "pypi", "state": "open"}
    assert collected.get_sample_value("outbound_http_breaker_state", labels) == 1
    assert collected.get_sample_value("outbound_http_breaker_transitions_total", labels) == 0


def test_opening_wakes_who_waits_in_the_other_process(fleet: Fleet) -> None:
    """A call in backoff there ends at once, as it does in the process that found it."""
    first, second = fleet.process(), fleet.process()
    woken = threading.Event()
    first.find_it_down()
    with second.upstream.waking(woken.set):
        second.exchange()
    assert woken.is_set()


def test_closing_is_taken_over(fleet: Fleet) -> None:
    """The answer to one process's probe lets all send again, with a clean slate."""
    first, second, third = fleet.process(), fleet.process(), fleet.process()
    first.find_it_down()
    second.exchange()
    fleet.wall.advance(15)
    probe = second.probe()
    assert probe is not None
    probe.end(OK)
    for process in (second, first, third):
        process.exchange()
    assert [process.state for process in (first, second, third)] == [BreakerState.CLOSED] * 3
    assert first.followed == [(BreakerState.OPEN, BreakerState.CLOSED)]
    assert third.followed == []
    first.attempt()
    assert first.state is BreakerState.CLOSED


def test_a_failed_probe_keeps_all_away_for_twice_as_long(fleet: Fleet) -> None:
    """Who waited for the probe of another doubles with it, and the next probe after that, whoever sends it."""
    first, second = fleet.process(), fleet.process()
    first.find_it_down()
    second.exchange()
    for sender, other, seconds in ((second, first, 30), (first, second, 60)):
        fleet.wall.advance(max(first.retry_in, second.retry_in))
        probe = sender.probe()
        assert probe is not None
        probe.end(BUSY)
        sender.exchange()
        other.exchange()
        assert sender.retry_in == pytest.approx(seconds)
        assert other.retry_in == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("answers", "state"), [((OK, BUSY), BreakerState.OPEN), ((BUSY, OK), BreakerState.CLOSED)], ids=["fails", "answers"]
)
@pytest.mark.parametrize("first_told", ["quick", "slow"])
def test_of_two_probes_the_later_answer_holds_for_all(
    fleet: Fleet, answers: tuple[Outcome, Outcome], state: BreakerState, first_told: str
) -> None:
    """However long a probe took and whoever tells first: what was found last counts, not what was begun last."""
    slow, quick = fleet.process(), fleet.process()
    slow.find_it_down()
    quick.exchange()
    fleet.wall.advance(15)
    slow_probe = slow.probe()
    assert slow_probe is not None
    fleet.wall.advance(1)
    quick.shared._busy_since = quick.clock() - 0.11  # the cache is silent there, so it sends a probe of its own
    quick_probe, step = quick.begin()
    assert isinstance(step, Send)
    for probe, answered in zip((quick_probe, slow_probe), answers, strict=True):
        probe.end(answered)
        fleet.wall.advance(1)
    for process in [quick, slow, quick] if first_told == "quick" else [slow, quick, slow]:
        process.exchange()
    assert (slow.state, quick.state) == (state, state)


def test_late_answers_do_not_count_after_taking_over(fleet: Fleet) -> None:
    """What was sent before another process found it down neither closes nor opens anything."""
    first, second = fleet.process(), fleet.process()
    late, _ = second.begin()
    first.find_it_down()
    second.exchange()
    late.end(OK)
    assert second.state is BreakerState.OPEN


def test_what_was_found_here_meanwhile_is_not_overwritten(fleet: Fleet) -> None:
    """Between asking the cache and taking over, a call may have found something: that is the later change."""
    process = fleet.process()
    assert process.upstream.breaker is not None
    seen = process.upstream.breaker.snapshot
    process.attempt()
    process.attempt()
    assert process.upstream.breaker.adopt(seen, BreakerSnapshot(1.0, 1.0, 1.0)) is None
    assert process.state is BreakerState.OPEN
    gate = process.upstream.gate
    seen = gate.snapshot
    gate.close(process.clock(), 30)
    assert not gate.adopt(seen, GateSnapshot())
    assert gate.is_closed(process.clock())


@pytest.mark.parametrize("wrong_by", [-1800.0, -5.0, 5.0, 1800.0])
def test_clocks_that_are_wrong_do_not_undo_what_is_found(fleet: Fleet, wrong_by: float) -> None:
    """A change that is made in the knowledge of another comes after it, whatever the clocks say."""
    right, wrong = fleet.process(), fleet.process(wrong_by=wrong_by)
    right.find_it_down()
    wrong.exchange()
    fleet.wall.advance(max(wrong.retry_in, right.retry_in, 0))
    probe = wrong.probe()
    assert probe is not None
    probe.end(OK)
    wrong.exchange()
    right.exchange()
    wrong.exchange()
    assert (right.state, wrong.state) == (BreakerState.CLOSED, BreakerState.CLOSED)


@given(moments=st.tuples(*[st.floats(-1e12, 1e12) | st.floats(1_699_990_000, 1_700_090_000)] * 6))
def test_no_record_closes_for_longer_than_this_process_would(moments: tuple[float, ...]) -> None:
    """Open for five minutes at most, closed for an hour at most, and never in an impossible state."""
    fleet = Fleet()
    process = fleet.process()
    fleet.cache.values["core.http:1:example"] = moments
    process.exchange()
    assert process.state in {BreakerState.CLOSED, BreakerState.OPEN}
    assert process.retry_in <= 300
    assert process.upstream.gate.closed_for(process.clock(), fleet) <= HOUR + 1e-6


def test_a_breaker_that_is_off_stays_off(fleet: Fleet) -> None:
    """A process whose policy has no breaker leaves the record as it is, and sends on."""
    first, second = fleet.process(), fleet.process(policy=Policy(circuit_breaker=None, retries=0))
    first.find_it_down()
    before = dict(fleet.cache.values)
    second.exchange()
    second.attempt(OK)
    second.exchange()
    assert fleet.cache.values == before


# Gates


def test_one_that_limits_the_rate_of_another_is_left_alone(fleet: Fleet) -> None:
    """Retry-After, told to one process, holds for all, until the same moment."""
    first, second = fleet.process(1000), fleet.process(77)
    first.attempt(answer(429, Retry_After="300"))
    first.exchange()
    fleet.wall.advance(100)
    second.exchange()
    assert second.upstream.gate.closed_for(second.clock(), fleet) == pytest.approx(200)
    with pytest.raises(RateLimited):
        Call(second.upstream, GET).begin()


def test_the_reason_is_the_same_in_every_process(fleet: Fleet) -> None:
    """Another process says why nothing is sent in the same words; a reason of the usual kind is stored by none."""
    first, second = fleet.process(), fleet.process()
    first.attempt(replace(answer(429, Retry_After="300"), why="allows\x1b ten calls an hour" + "x" * 500))
    first.exchange()
    second.exchange()
    told = [gate.refused(1.0).why for gate in (first.upstream.gate, second.upstream.gate)]
    assert told == ["the upstream allows ten calls an hour" + "x" * (200 - len("allows ten calls an hour"))] * 2
    third = fleet.process()
    third.attempt(answer(429, Retry_After="600"))
    for process in (third, second):
        process.exchange()
    assert second.upstream.gate.refused(1.0).why == "the upstream asked for a pause"
    assert len(fleet.cache.values["core.http:1:example"]) == 6


@pytest.mark.parametrize("uptimes", [(1000.0, 1000.0), (1000.0, 77.0), (77.0, 1000.0)], ids=str)
def test_the_longer_time_at_the_gate_wins(fleet: Fleet, uptimes: tuple[float, float]) -> None:
    """Two processes that were told different times both keep to the longer one, whoever tells first."""
    first, second = (fleet.process(uptime) for uptime in uptimes)
    first.attempt(answer(429, Retry_After="300"))
    second.attempt(answer(429, Retry_After="30"))
    for process in (first, second, first):
        process.exchange()
    assert first.upstream.gate.closed_for(first.clock(), fleet) == pytest.approx(300)
    assert second.upstream.gate.closed_for(second.clock(), fleet) == pytest.approx(300)


def test_a_gate_that_a_probe_opened_is_open_for_all(fleet: Fleet) -> None:
    """After the hour one process asks again; its answer opens the gate of the others, and a later limit closes it."""
    first, second = fleet.process(), fleet.process()
    first.attempt(answer(429, Retry_After="86400"))
    for process in (first, second):
        process.exchange()
    fleet.wall.advance(HOUR)
    probe = second.probe()
    assert probe is not None
    probe.end(OK)
    second.exchange()
    first.exchange()
    assert [first.upstream.gate.closed_for(first.clock(), fleet) for _ in range(2)] == [0, 0]
    first.attempt(answer(429, Retry_After="60"))
    first.exchange()
    second.exchange()
    assert second.upstream.gate.closed_for(second.clock(), fleet) == pytest.approx(60)


def test_the_probe_at_the_gate_is_one_for_the_fleet(fleet: Fleet) -> None:
    """Where the hour is over, one process sends; a call of another waits for a second, or is told to come back then."""
    first, second = fleet.process(), fleet.process()
    first.attempt(answer(429, Retry_After="86400"))
    for process in (first, second):
        process.exchange()
    fleet.wall.advance(HOUR)
    assert first.probe() is not None
    call, step = second.begin()
    assert step == Wait(0.1)
    second.shared.step()
    assert call.begin() == Wait(1.0)


# What is asked of the cache


def test_a_quiet_round_costs_one_look(fleet: Fleet) -> None:
    """Nothing is written where the cache knows all that this process does, in force or not."""
    first, second = fleet.process(), fleet.process()
    first.exchange()
    assert fleet.cache.asked == ["get"]
    assert fleet.cache.values == {}
    first.find_it_down()
    second.exchange()
    first.exchange()  # which sees that its news are there
    fleet.cache.asked.clear()
    for _ in range(5):
        first.exchange()
        second.exchange()
        fleet.wall.advance(INTERVAL)
    assert fleet.cache.asked == ["get"] * 10


def test_records_outlive_what_they_tell(fleet: Fleet) -> None:
    """A record stays until its breaker may send again and ten minutes more, a day at most."""
    process = fleet.process()
    process.find_it_down()
    assert fleet.cache.timeouts["core.http:1:example"] == 15 + 600
    process.upstream.gate.close(process.clock(), 1e9)
    process.exchange()
    assert fleet.cache.timeouts["core.http:1:example"] == 86_400 + 600


def test_a_wiped_cache_is_told_again_what_is_in_force(fleet: Fleet) -> None:
    """An open breaker is written again; one that closed long ago is not, or each process would do so for ever."""
    first, second = fleet.process(), fleet.process()
    first.find_it_down()
    fleet.cache.values.clear()
    first.exchange()
    second.exchange()
    assert second.state is BreakerState.OPEN
    fleet.wall.advance(15)
    probe = first.probe()
    assert probe is not None
    probe.end(OK)
    first.exchange()
    first.exchange()
    fleet.cache.values.clear()
    first.exchange()
    assert fleet.cache.values == {}


def test_news_that_could_not_be_told_are_told_later(fleet: Fleet) -> None:
    """A change that fell into an outage of the cache reaches the others after it, even if it is that all is well."""
    first, second = fleet.process(), fleet.process()
    first.find_it_down()
    second.exchange()
    fleet.cache.error = ConnectionError("down")
    fleet.wall.advance(15)
    first.exchange()
    first.attempt(OK)
    first.exchange()
    fleet.cache.error = None
    first.exchange()
    second.exchange()
    assert (first.state, second.state) == (BreakerState.CLOSED, BreakerState.CLOSED)


def test_a_failure_is_asked_about_at_once(fleet: Fleet) -> None:
    """A process that sees one failure learns at once what others found, and does not wait for its half second."""
    first, second = fleet.process(), fleet.process()
    second.exchange()
    first.find_it_down()
    fleet.wall.advance(0.1)
    second.shared.step()
    assert second.state is BreakerState.CLOSED
    second.attempt()
    second.shared.step()
    assert second.state is BreakerState.OPEN


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
        """Those that this process knows to be down, by number."""
        breakers = [upstream.breaker for upstream in self.upstreams.values()]
        return [number for number, breaker in enumerate(breakers) if breaker and breaker.state is BreakerState.OPEN]


def test_a_failure_asks_about_one_upstream(fleet: Fleet) -> None:
    """However many upstreams there are, a failure costs one look: at that of the upstream which failed."""
    several = Several(fleet)
    several.shared.step()
    several.others_find_all_down()
    fleet.cache.asked.clear()
    several.fail(1)
    several.shared.step()
    assert fleet.cache.asked == ["get"]
    assert several.down == [1]
    fleet.wall.advance(INTERVAL)
    several.shared.step()
    assert several.down == [0, 1, 2]


def test_failures_ask_twenty_times_a_second_at_most(fleet: Fleet) -> None:
    """Failures that come at once are asked about together; the round of all keeps its time."""
    several = Several(fleet)
    several.shared.step()
    fleet.cache.asked.clear()
    for number in (0, 1, 2):
        several.fail(number)
        several.shared.step()
    assert fleet.cache.asked == ["get"]
    assert several.shared._next == pytest.approx(fleet.wall.now - 1_700_000_000 + 1000.05)
    fleet.wall.advance(0.06)
    several.shared.step()
    several.shared.step()
    assert fleet.cache.asked == ["get"] * 3
    assert several.shared._next == pytest.approx(1000 + INTERVAL)


# One probe


def test_the_fleet_sends_one_probe(fleet: Fleet) -> None:
    """Of three processes whose breaker may let one through, the first that asks sends it; the others come back."""
    processes = [fleet.process() for _ in range(3)]
    processes[0].find_it_down()
    for process in processes:
        process.exchange()
    fleet.wall.advance(15)
    assert [process.probe() is not None for process in processes[1:] + processes[:1]] == [True, False, False]
    with pytest.raises(CircuitOpen):  # at once: who lost does not ask again within a second
        Call(processes[2].upstream, GET).begin()


def test_a_process_without_a_free_slot_does_not_ask(fleet: Fleet) -> None:
    """It could not send the probe, and would keep all others from it for as long as its calls wait."""
    busy, idle = (fleet.process(policy=replace(FRAGILE, max_concurrency=1)) for _ in range(2))
    streamed = Call(busy.upstream, GET)
    streamed.begin()
    place = streamed.keep_slot()
    streamed.end(OK)
    assert place is not None
    idle.find_it_down()
    busy.exchange()
    fleet.wall.advance(15)
    waiting, step = busy.begin()
    assert step == Wait(0.1)
    busy.shared.step()
    assert fleet.probes == []
    place.leave()
    assert waiting.begin() == Wait(0.1)
    assert idle.probe() is not None
    busy.shared.step()
    with pytest.raises(CircuitOpen):
        waiting.begin()


def test_a_process_that_loses_again_and_again_probes_in_the_end(fleet: Fleet) -> None:
    """One that cannot reach the upstream, for want of a network, wins every election: the fourth probe is another's."""
    broken, sound = fleet.process(), fleet.process()
    broken.find_it_down()
    sound.exchange()
    sent = []
    for _ in range(4):
        fleet.wall.advance(max(broken.retry_in, sound.retry_in))
        probe = broken.probe()
        _, step = sound.begin() if len(sent) == 3 else (None, None)
        sent.append(isinstance(step, Send))
        if step is None:
            assert sound.probe() is None
            fleet.wall.advance(1.5)
            assert sound.probe() is None  # the same probe: not a further defeat
        assert probe is not None
        probe.end(BUSY)
        broken.exchange()
        sound.exchange()
    assert sent == [False, False, False, True]


def test_calls_of_one_process_ask_together(fleet: Fleet) -> None:
    """Many calls that come at once hold one election, and one of them is the probe."""
    process = fleet.process()
    process.find_it_down()
    fleet.wall.advance(15)
    calls = [process.begin()[0] for _ in range(5)]
    process.shared.step()
    assert isinstance(calls[2].begin(), Send)
    for call in calls[:2] + calls[3:]:
        with pytest.raises(CircuitOpen):
            call.begin()
    assert fleet.cache.asked.count("add") == 1


def test_an_election_wakes_who_waits_for_it(fleet: Fleet) -> None:
    """A call that waits for the decision goes on as soon as it is there."""
    process = fleet.process()
    process.find_it_down()
    fleet.wall.advance(15)
    woken = threading.Event()
    process.begin()
    with process.upstream.waking(woken.set):
        process.shared.step()
    assert woken.is_set()


def test_an_election_that_takes_too_long_is_none(fleet: Fleet) -> None:
    """After 100 ms without a decision each process sends its own probe, as it would without a cache."""
    process = fleet.process()
    process.find_it_down()
    fleet.wall.advance(15)
    call, step = process.begin()
    assert step == Wait(0.1)
    fleet.wall.advance(0.06)
    step = call.begin()  # type: ignore[assignment]
    assert isinstance(step, Wait)
    assert step.seconds == pytest.approx(0.04, abs=1e-3)
    fleet.wall.advance(0.05)
    assert isinstance(call.begin(), Send)


def test_waiting_for_an_election_does_not_outlast_the_call(fleet: Fleet) -> None:
    """A call of which 50 ms are left waits no longer than that."""
    process = fleet.process()
    process.find_it_down()
    fleet.wall.advance(15)
    step = Call(process.upstream, GET, deadline=process.clock() + 0.05).begin()
    assert isinstance(step, Wait)
    assert step.seconds == pytest.approx(0.05)


def test_no_election_is_held_while_the_cache_is_silent(fleet: Fleet) -> None:
    """While the thread has waited for the cache for 100 ms, or the cache has failed, probes go at once."""
    process = fleet.process()
    process.find_it_down()
    fleet.wall.advance(15)
    process.shared._busy_since = process.clock() - 0.11
    assert isinstance(process.begin()[1], Send)
    other = fleet.process()
    other.exchange()
    fleet.cache.error = OSError("down")
    other.exchange()
    assert isinstance(other.begin()[1], Send)


def test_an_election_that_the_cache_breaks_off_is_won_by_all(fleet: Fleet) -> None:
    """Where the cache fails while it is asked, the process sends its probe."""
    process = fleet.process()
    process.find_it_down()
    fleet.wall.advance(15)
    call, _ = process.begin()
    fleet.cache.error = OSError("down")
    process.shared.step()
    assert isinstance(call.begin(), Send)


def test_who_waits_for_an_election_is_woken_when_the_cache_fails(fleet: Fleet) -> None:
    """A call goes on as soon as it is known that no answer will come."""
    process = fleet.process()
    process.find_it_down()
    fleet.wall.advance(15)
    woken = threading.Event()
    call, _ = process.begin()
    fleet.cache.error = OSError("down")
    with process.upstream.waking(woken.set):
        process.shared.step()
    assert woken.is_set()
    assert isinstance(call.begin(), Send)


def test_one_that_is_not_shared_holds_no_election(fleet: Fleet) -> None:
    """Of a host beyond those that are shared nobody else would hear: its probe waits for no answer."""
    process = fleet.process()
    process.find_it_down()
    process.shared._upstreams = list
    process.exchange()
    fleet.wall.advance(15)
    assert isinstance(process.begin()[1], Send)


def test_news_decide_an_election(fleet: Fleet) -> None:
    """Where another process has sent the probe already, its outcome holds, and nobody votes."""
    first, second = fleet.process(), fleet.process()
    first.find_it_down()
    second.exchange()
    fleet.wall.advance(15)
    probe = first.probe()
    assert probe is not None
    probe.end(BUSY)
    first.exchange()
    call, step = second.begin()
    assert step == Wait(0.1)
    second.shared.step()
    with pytest.raises(CircuitOpen):
        call.begin()
    assert fleet.cache.asked.count("add") == 1
    assert second.retry_in == pytest.approx(30)


@pytest.mark.parametrize("outcome", [None, failed(Reason.BLOCKED, "no", transient=False)])
def test_a_probe_that_came_to_nothing_is_left_to_others(fleet: Fleet, outcome: Outcome | None) -> None:
    """One that was cancelled, or says nothing of the upstream, gives its turn back; another process sends the next."""
    first, second = fleet.process(), fleet.process()
    first.find_it_down()
    second.exchange()
    fleet.wall.advance(15)
    probe = first.probe()
    assert probe is not None
    fleet.wall.advance(5)
    first.exchange()
    assert second.probe() is None  # the first one's is still on its way
    if outcome is None:
        probe.cancel()
    else:
        probe.end(outcome)
    fleet.wall.advance(1.1)
    first.exchange()
    assert fleet.probes == []
    assert second.probe() is not None


def test_a_turn_that_another_process_has_by_now_stays_its_own(fleet: Fleet) -> None:
    """A process that sends nothing for so long that its turn has expired does not give away the turn of the next."""
    first, second, third = fleet.process(), fleet.process(), fleet.process()
    first.find_it_down()
    for process in (second, third):
        process.exchange()
    fleet.wall.advance(15)
    probe = first.probe()
    assert probe is not None
    probe.cancel()
    for key in fleet.probes:  # expired
        del fleet.cache.values[key]
    assert second.probe() is not None
    fleet.wall.advance(1.1)
    first.exchange()
    assert third.probe() is None


def test_a_winner_that_goes_on_calling_keeps_its_turn(fleet: Fleet) -> None:
    """The process of a probe that came to nothing may send the next one itself, without asking."""
    process, other = fleet.process(), fleet.process()
    process.find_it_down()
    other.exchange()
    fleet.wall.advance(15)
    probe = process.probe()
    assert probe is not None
    probe.cancel()
    assert isinstance(process.begin()[1], Send)
    fleet.wall.advance(6)
    assert other.probe() is None


def test_a_turn_that_is_long_ago_is_asked_for_again(fleet: Fleet) -> None:
    """A winner renews its key before another probe, so that nobody takes it meanwhile; its own key does not stop it."""
    process = fleet.process()
    process.find_it_down()
    fleet.wall.advance(15)
    probe = process.probe()
    assert probe is not None
    fleet.wall.advance(9)
    probe.cancel()
    fleet.cache.asked.clear()
    assert process.probe() is not None
    assert fleet.cache.asked.count("set") == 1


def test_a_killed_winner_blocks_nobody_for_long(fleet: Fleet) -> None:
    """Its key ends by itself, soon after its attempt would have."""
    first = fleet.process()
    first.find_it_down()
    fleet.wall.advance(15)
    assert first.probe() is not None
    (key,) = fleet.probes
    assert fleet.cache.timeouts[key] == 15


# A cache in trouble


def lines(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    return [(record.levelname, record.getMessage()) for record in caplog.records if "cache" in record.getMessage()]


def test_an_outage_of_the_cache_is_said_once(fleet: Fleet, caplog: pytest.LogCaptureFixture) -> None:
    """One WARNING when it begins, one INFO when it ends, and ever longer pauses between."""
    caplog.set_level(logging.INFO, "core.http")
    process = fleet.process()
    fleet.cache.error = ConnectionError("Error 111 connecting to 127.0.0.1:6379")
    pauses = []
    for _ in range(6):
        process.exchange()
        pauses.append(process.shared._due - process.clock())
    fleet.cache.error = None
    process.exchange()
    process.exchange()
    assert pauses == [1, 2, 4, 5, 5, 5]
    assert process.shared._due - process.clock() == INTERVAL
    why = "ConnectionError: Error 111 connecting to 127.0.0.1:6379"
    assert lines(caplog) == [
        ("WARNING", f"The shared cache failed ({why}): this process continues with its own state"),
        ("INFO", "The shared cache works again"),
    ]


def test_nothing_secret_is_said(fleet: Fleet, caplog: pytest.LogCaptureFixture) -> None:
    """A client that quotes its address in an error does not bring its password into the log."""
    fleet.cache.error = ValueError("cannot reach redis://user:pass/w@rd@host:1/0?password=s3cret")
    fleet.process().exchange()
    assert "pass/w" not in caplog.text
    assert "s3cret" not in caplog.text
    assert "redis:***host:1/0***" in caplog.text


def test_half_a_password_is_not_said_either(fleet: Fleet, caplog: pytest.LogCaptureFixture) -> None:
    """One with a slash in it, where what is before that passes for the port."""
    fleet.cache.error = ValueError("Port could not be cast to integer value as 's3cret'")
    fleet.process().exchange()
    assert "(ValueError: Port could not be cast to integer value as ***)" in caplog.text


def test_failures_do_not_hurry_a_cache_that_is_down(fleet: Fleet) -> None:
    """While it fails it is asked in ever longer pauses, however much goes wrong upstream."""
    process = fleet.process()
    fleet.cache.error = OSError("down")
    process.exchange()
    fleet.cache.asked.clear()
    process.attempt()
    process.shared.step()
    assert fleet.cache.asked == []


def test_a_slow_cache_is_said(fleet: Fleet, caplog: pytest.LogCaptureFixture) -> None:
    """One that answers so slowly that news are old is as good as none, and operators should know."""
    caplog.set_level(logging.INFO, "core.http")
    process = fleet.process()
    plain = fleet.cache.get
    fleet.cache.get = lambda key: (fleet.wall.advance(3), plain(key))[1]  # type: ignore[method-assign]
    process.exchange()
    assert [(level, "took 3.0 s" in text) for level, text in lines(caplog)] == [("WARNING", True)]


def test_a_record_that_cannot_be_read_stops_no_other(fleet: Fleet, caplog: pytest.LogCaptureFixture) -> None:
    """The upstreams after it are exchanged all the same; that it fails is said."""
    several = Several(fleet)
    several.others_find_all_down()
    fleet.cache.unreadable = several.keys[0]
    several.shared.step()
    assert several.down == [1, 2]
    assert [(level, "unsupported pickle protocol: 9" in text) for level, text in lines(caplog)] == [("WARNING", True)]


def test_a_record_that_makes_no_sense_is_ignored(fleet: Fleet, caplog: pytest.LogCaptureFixture) -> None:
    """The log says once under which key; the other upstreams are exchanged, and nothing counts as a failure."""
    several = Several(fleet)
    several.others_find_all_down()
    fleet.cache.values[several.keys[0]] = b"\x80\x05."
    for _ in range(3):
        several.shared._due = 0.0
        several.shared.step()
    assert several.down == [1, 2]
    text = f"The shared cache holds no valid state under {several.keys[0]}: its value is ignored"
    assert [line for line in lines(caplog) if "cache" in line[1]] == [("WARNING", text)]
    first = several.upstreams["https://0.test"]
    first.gate.close(first.clock(), 60.0)
    several.shared._due = 0.0
    several.shared.step()
    assert read(fleet.cache.values[several.keys[0]], fleet.wall.now).is_in_force(fleet.wall.now)


def test_a_cache_that_hangs_is_not_asked_for_each_upstream(fleet: Fleet) -> None:
    """Where an error takes long to come, the others wait for the next round."""
    several = Several(fleet)
    fleet.cache.error = TimeoutError("no answer")
    ask = fleet.cache._ask
    fleet.cache._ask = lambda what: (fleet.wall.advance(5), ask(what))[1]  # type: ignore[method-assign]
    several.shared.step()
    assert fleet.cache.asked == ["get"]


class Mute(Exception):  # noqa: N818 - it is not about what it says
    """An error that cannot be put into words."""

    def __str__(self) -> str:
        raise ValueError("no words")


def test_an_error_without_words_is_an_error(fleet: Fleet, caplog: pytest.LogCaptureFixture) -> None:
    """Where its text raises as well, its name is said."""
    fleet.cache.error = Mute()
    fleet.process().exchange()
    assert [(level, "(Mute)" in text) for level, text in lines(caplog)] == [("WARNING", True)]


def test_a_log_that_fails_stops_nothing(fleet: Fleet) -> None:
    """A logging filter that raises ends neither the thread nor a call."""

    def refuse(record: logging.LogRecord) -> bool:
        raise ValueError(record.levelname)

    process = fleet.process()
    logger = logging.getLogger("core.http")
    logger.addFilter(refuse)
    try:
        fleet.cache.error = OSError("down")
        process.exchange()
        assert process.shared._failing
        fleet.cache.error = None
        process.exchange()
        assert not process.shared._failing
    finally:
        logger.removeFilter(refuse)


# The thread


class Shy(FakeCache):
    """Says when it was asked first, and by whom; may keep its answer back."""

    def __init__(self) -> None:
        super().__init__()
        self.threads: set[str] = set()
        self.was_asked = threading.Event()
        self.may_answer = threading.Event()
        self.may_answer.set()

    def _ask(self, what: str) -> None:
        self.threads.add(threading.current_thread().name)
        self.was_asked.set()
        self.may_answer.wait(60)
        super()._ask(what)


THREAD = "core.http shared state"
CONFIG = Config(default=FRAGILE, upstreams={"pypi": FRAGILE, "forge": FRAGILE}, hosts={"pypi.test": "pypi"})


def sharing_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == THREAD]


@pytest.fixture
def shy() -> Iterator[Shy]:
    cache = Shy()
    yield cache
    cache.may_answer.set()
    for thread in sharing_threads():
        thread.join(60)
        assert not thread.is_alive()


def real(cache: FakeCache) -> Registry:
    """Make a registry that shares, on the real clock."""
    config = Config(CONFIG.default, CONFIG.upstreams, CONFIG.hosts, shared_cache=cache)
    return ProcessRegistry(config, runtime=registry.Runtime(), observers=())


def test_the_thread_begins_with_the_first_call(shy: Shy) -> None:
    """Making a registry starts nothing; looking an upstream up for a call does, once, and forgetting ends it."""
    upstreams = real(shy)
    assert sharing_threads() == []
    upstreams.upstream(ORIGIN)
    upstreams.upstream(ORIGIN)
    assert shy.was_asked.wait(60)
    (thread,) = sharing_threads()
    assert thread.daemon
    upstreams.forget()
    thread.join(60)
    assert not thread.is_alive()
    upstreams.upstream(ORIGIN)
    assert sharing_threads() == []
    assert shy.threads == {THREAD}


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_was_ended_is_replaced(shy: Shy, caplog: pytest.LogCaptureFixture) -> None:
    """What no thread survives is said, and the next call starts another, which keeps to the pause."""
    shy.error = SystemExit()
    upstreams = real(shy)
    upstreams.upstream(ORIGIN)
    assert upstreams._sharing is not None
    first = upstreams._sharing._thread
    assert first is not None
    first.join(60)
    assert not first.is_alive()
    assert [(level, "(SystemExit: )" in text) for level, text in lines(caplog)] == [("WARNING", True)]
    asked = len(shy.asked)
    upstreams.upstream(ORIGIN)
    (second,) = sharing_threads()
    assert second is upstreams._sharing._thread is not first
    assert upstreams._sharing._due > upstreams._sharing._clock()
    assert len(shy.asked) == asked
    upstreams.forget()


def test_a_thread_that_has_a_successor_ends(fleet: Fleet) -> None:
    """Exchanges are not for two threads: only the one that is known goes on."""
    shared = fleet.process().shared
    shared._thread = threading.Thread()
    shared._run()
    assert fleet.cache.asked == []


def test_an_interrupt_while_the_thread_starts_leaves_none_unknown(shy: Shy, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C right after it was started: the next call does not start a second one."""
    start = threading.Thread.start

    def interrupted(self: threading.Thread) -> None:
        start(self)
        raise KeyboardInterrupt

    upstreams = real(shy)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", interrupted)
        with pytest.raises(KeyboardInterrupt):
            upstreams.upstream(ORIGIN)
    upstreams.upstream(ORIGIN)
    assert len(sharing_threads()) == 1
    upstreams.forget()


def test_named_upstreams_are_exchanged_before_they_are_used() -> None:
    """A fresh process learns of all that the configuration names, and of the 50 other hosts that it used last."""
    cache = FakeCache()
    upstreams = real(cache)
    assert upstreams._sharing is not None
    upstreams._sharing.attend = lambda: None  # type: ignore[method-assign]
    for number in range(60):
        upstreams.upstream(Origin("https", f"{number}.test", 443))
    shared = upstreams._to_share()
    hosts = [UpstreamId("other", f"https://{number}.test") for number in range(59, 9, -1)]
    assert list(shared) == [UpstreamId("pypi"), UpstreamId("forge"), *hosts]
    assert shared[UpstreamId("pypi")] is upstreams.upstream(Origin("https", "pypi.test", 443))
    upstreams.forget()
    assert upstreams._to_share() == {}


def test_hosts_of_users_push_no_other_out_of_what_is_shared() -> None:
    """Users may name a thousand hosts a minute; those that code chose are exchanged all the same, and apart."""
    upstreams = real(FakeCache())
    assert upstreams._sharing is not None
    upstreams._sharing.attend = lambda: None  # type: ignore[method-assign]
    ours = Origin("https", "ours.test", 443)
    upstreams.upstream(ours)
    for number in range(60):
        upstreams.upstream(Origin("https", f"{number}.test", 443), untrusted=True)
    upstreams.upstream(ours, untrusted=True)
    shared = upstreams._to_share()
    assert UpstreamId("other", ours.url) in shared
    assert len({key_of(*about) for about in shared}) == len(shared) == 2 + 1 + 50


def test_what_is_heard_of_a_part_is_shared(fleet: Fleet) -> None:
    """A quota that one process has used up is used up for all, and the breaker stays the upstream's."""
    processes = [fleet.process() for _ in range(2)]
    for process in processes:
        both = {
            UpstreamId("example"): process.upstream,
            UpstreamId("example", partition="t"): process.upstream.part("t"),
        }
        process.shared._upstreams = lambda both=both: both  # type: ignore[misc]
    call = Call(processes[0].upstream.part("t"), GET)
    assert isinstance(call.begin(), Send)
    call.end(replace(BUSY, reason=Reason.HTTP_429, retry_after=100.0))
    for process in processes:
        process.exchange()
    with pytest.raises(RateLimited):
        Call(processes[1].upstream.part("t"), GET).begin()
    assert isinstance(Call(processes[1].upstream, GET).begin(), Send)
    processes[1].find_it_down()
    processes[0].exchange()
    with pytest.raises(CircuitOpen):
        Call(processes[0].upstream.part("u"), GET).begin()
    fleet.wall.advance(15)
    for _ in range(5):  # records of the same breaker would answer one another for ever
        for process in processes:
            process.exchange()
    asked = fleet.cache.asked.count("set")
    for process in processes:
        process.exchange()
    assert fleet.cache.asked.count("set") == asked


def test_a_cache_that_hangs_holds_no_call_up(shy: Shy, caplog: pytest.LogCaptureFixture) -> None:
    """Calls go on, probes too; when it has not answered for five seconds, that is said, once."""
    shy.may_answer.clear()
    upstreams = real(shy)
    upstream = upstreams.upstream(ORIGIN)
    assert shy.was_asked.wait(60)
    shared = upstreams._sharing
    assert shared is not None
    for _ in range(2):
        call = Call(upstream, GET)
        assert isinstance(call.begin(), Send)
        call.end(BUSY)
    assert upstream.breaker is not None
    upstream.breaker.probe_at = 0.0  # 15 s later
    shared._busy_since -= 1.0
    assert isinstance(Call(upstream, GET).begin(), Send)
    shared._busy_since -= 5.0
    upstreams.upstream(ORIGIN)
    upstreams.upstream(ORIGIN)
    assert [text for _, text in lines(caplog)] == [
        "The shared cache failed (no answer for 5 s): this process continues with its own state"
    ]
    upstreams.forget()


def test_a_process_that_can_start_no_thread_goes_on_alone(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """No call fails for want of a thread."""

    def start(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    upstreams = real(FakeCache())
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start)
        for _ in range(2):
            assert isinstance(Call(upstreams.upstream(ORIGIN), GET).begin(), Send)
    assert [level for level, _ in lines(caplog)] == ["WARNING"]
    upstreams.forget()


def test_sessions_with_a_policy_of_their_own_share_nothing() -> None:
    """What a derived registry finds is nobody else's."""
    upstreams = real(FakeCache())
    derived = upstreams.derive(Policy(), None, None)
    assert derived._elect is None
    assert derived.upstream(ORIGIN).elect is None


def test_nothing_is_shared_on_a_fake_clock(outbound_http: OutboundHTTP) -> None:
    """In the tests of adopters no thread starts and nothing is exchanged."""
    upstreams = ProcessRegistry(Config(shared_cache=FakeCache()), observers=())
    upstreams.upstream(ORIGIN)
    assert upstreams._sharing is None
    assert sharing_threads() == []


def test_without_a_cache_nothing_is_shared() -> None:
    """No thread, no election."""
    upstreams = ProcessRegistry(CONFIG, runtime=registry.Runtime(), observers=())
    assert upstreams.upstream(ORIGIN).elect is None
    assert sharing_threads() == []


def test_a_forked_child_starts_a_thread_of_its_own() -> None:
    """Parent and child both exchange; the child waits for no lock, and inherits no opinion of the cache."""
    printed = run(
        """
        from core.http.registry import Config

        class Cache:
            def __init__(self):
                self.asked = threading.Event()

            def get(self, key):
                self.asked.set()

        cache, origin = Cache(), Origin("https", "example.org", 443)
        process.use(lambda: ProcessRegistry(Config(shared_cache=cache)))
        process.current().upstream(origin)
        print(cache.asked.wait(60))
        shared = process.current()._sharing
        thread = shared._thread

        def use():
            cache.asked = threading.Event()
            print(shared._thread is None, shared._failing)
            process.current().upstream(origin)
            print(cache.asked.wait(4))

        shared._failing = True
        shared._lock.acquire()
        child(use)
        print(shared._thread is thread, thread.is_alive())
        """
    )
    assert printed == ["True", "True False", "True", "child 0", "True True"]
