"""The state of the upstreams for operators."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from core.http import CircuitBreaker, Policy
from core.http.engine.call import Call
from core.http.engine.steps import Send
from core.http.events import BreakerState, Target
from core.http.origin import Origin
from core.http.outcome import Outcome
from core.http.process import ProcessRegistry
from core.http.registry import MOST_OTHER_HOSTS, Config, Runtime
from core.http.shared.background_sync import StateSharing
from core.http.shared.records import key_of
from core.http.shared.upstream_diagnostics import MOST_HOSTS, Allowance
from core.http.shared.upstream_diagnostics import key_of as news_of
from core.http.status import StatusReport, UpstreamStatus, status_report
from core.http.testing import FakeClock
from tests.core.http.engine.outage import answer
from tests.core.http.engine.world import BUSY, GET, OK
from tests.core.http.shared.fleet import FakeCache

FRAGILE = Policy(circuit_breaker=CircuitBreaker(failures_in_a_row=2), retries=0)
CONFIG = Config(
    default=FRAGILE,
    upstreams={"pypi": FRAGILE, "github": FRAGILE, "plain": Policy(circuit_breaker=None)},
    hosts={"pypi.test": "pypi", "api.github.test": "github"},
)
PYPI = Origin("https", "pypi.test", 443)
GITHUB = Origin("https", "api.github.test", 443)
NOW = 1_700_000_000.0
UPTIME = 1000.0


class Process:
    """A process of a site on a fake clock; `exchange` does the work of its thread."""

    def __init__(self, cache: FakeCache | None, wall: FakeClock, uptime: float = UPTIME) -> None:
        booted = wall.now - uptime
        self.wall = wall
        config = replace(CONFIG, shared_cache=cache)
        self.registry = ProcessRegistry(config, runtime=Runtime(clock=lambda: wall.now - booted, random=lambda: 0.0))
        self.registry.diagnostics._wall = wall
        self.cache = cache
        self.shared: StateSharing | None = None

    def exchange(self) -> None:
        if self.shared is None:
            assert self.cache is not None
            upstreams, news = self.registry._to_share, self.registry.diagnostics
            self.shared = StateSharing(self.cache, upstreams, news, clock=self.registry.runtime.clock, wall=self.wall)
            self.registry._sharing = self.shared  # as the registry does itself on a real clock
            self.shared.attend = lambda: None  # type: ignore[method-assign]  # no thread
        self.shared._due = 0.0
        self.shared.step()

    def call(self, origin: Origin, outcome: Outcome = BUSY, path: str = "/x", *, untrusted: bool = False) -> None:
        call = self.begin(origin, path, untrusted=untrusted)
        call.end(outcome)

    def begin(self, origin: Origin, path: str = "/x", *, untrusted: bool = False) -> Call:
        upstream = self.registry.upstream(origin, untrusted=untrusted)
        call = Call(upstream, Target("GET", origin.scheme, origin.netloc, path, untrusted))
        assert isinstance(call.begin(), Send)
        return call

    def find_down(self, origin: Origin) -> None:
        self.call(origin)
        self.call(origin)

    def look(self) -> StatusReport:
        return status_report(self.registry, self.wall.now)

    def standing(self, name: str) -> UpstreamStatus:
        return next(standing for standing in self.look().upstreams if name in {standing.name, standing.origin})


@pytest.fixture
def wall() -> FakeClock:
    return FakeClock(NOW)


@pytest.fixture
def cache() -> FakeCache:
    return FakeCache()


@pytest.fixture
def process(cache: FakeCache, wall: FakeClock) -> Process:
    return Process(cache, wall)


@pytest.fixture
def fresh(cache: FakeCache, wall: FakeClock) -> Process:
    """Make one that has made no call, on a machine that runs for another time."""
    return Process(cache, wall, uptime=77)


def test_a_fresh_process_sees_what_the_others_share(process: Process, fresh: Process, wall: FakeClock) -> None:
    """A new process sees an open breaker with its times and its error, and the quota of another upstream."""
    process.find_down(PYPI)
    limits: dict[str, Any] = {"X_RateLimit_Limit": "5000", "X_RateLimit_Remaining": "12", "X_RateLimit_Reset": "90"}
    process.call(GITHUB, answer(200, **limits, X_RateLimit_Resource="core"))
    process.exchange()
    wall.advance(5)
    found = fresh.look()
    assert (found.at, found.is_shared, found.problem) == (NOW + 5, True, None)
    assert [standing.name for standing in found.upstreams] == ["pypi", "github", "plain"]
    pypi, github, plain = found.upstreams
    assert (pypi.breaker, pypi.since, pypi.next_probe) == (BreakerState.OPEN, NOW, NOW + 15)
    assert pypi.in_trouble
    assert pypi.last_error is not None
    assert pypi.last_error[:3] == (NOW, "http_5xx", 503)
    assert pypi.last_error[3:] == ("GET", "https", "pypi.test", "/x")
    assert (github.breaker, github.since, github.gate_closed) == (BreakerState.CLOSED, None, False)
    assert github.quotas == {"core": Allowance(NOW, 5000, 12, NOW + 90)}
    assert not github.in_trouble
    assert (plain.has_breaker, plain.breaker) == (False, None)


def test_looking_changes_nothing(process: Process, fresh: Process, cache: FakeCache) -> None:
    """Reading the state writes nothing, creates no upstream, and reads each record once."""
    process.find_down(PYPI)
    process.exchange()
    before = dict(cache.values)
    cache.asked.clear()
    fresh.look()
    assert cache.asked == ["get"] * (3 + 2 + 3)  # news of three names, of others and of users' hosts, and three records
    assert cache.values == before
    assert fresh.registry.known() == {}


def test_since_when_it_is_down_outlasts_failed_probes(process: Process, fresh: Process, wall: FakeClock) -> None:
    """While its time is up it is half-open; a probe that fails lets the outage go on, one that is answered ends it."""
    process.find_down(PYPI)
    wall.advance(15)
    for each in (process, fresh):
        process.exchange()
        assert (each.standing("pypi").breaker, each.standing("pypi").since) == (BreakerState.HALF_OPEN, NOW)
        assert each.standing("pypi").next_probe is None
    process.registry.upstream(PYPI).elect = None
    process.call(PYPI)
    process.exchange()
    assert fresh.standing("pypi").since == process.standing("pypi").since == NOW
    assert fresh.standing("pypi").next_probe == NOW + 15 + 30
    wall.advance(30)
    process.call(PYPI, OK)
    process.exchange()
    for each in (process, fresh):
        assert (each.standing("pypi").breaker, each.standing("pypi").since) == (BreakerState.CLOSED, NOW + 45)


def test_a_gate(process: Process, fresh: Process, wall: FakeClock) -> None:
    """Until when it is closed, and until when the upstream asked for it: after an hour one call at a time goes."""
    process.call(PYPI, answer(429, Retry_After="60"))
    process.call(GITHUB, answer(429, Retry_After="7200"))
    process.exchange()
    for each in (process, fresh):
        pypi, github = each.standing("pypi"), each.standing("github")
        assert (pypi.gate_closed, pypi.closed_until, pypi.asked_until) == (True, NOW + 60, NOW + 60)
        assert (github.gate_closed, github.closed_until, github.asked_until) == (True, NOW + 3600, NOW + 7200)
        assert pypi.in_trouble
    wall.advance(3600)
    for each in (process, fresh):
        pypi, github = each.standing("pypi"), each.standing("github")
        assert (pypi.gate_closed, pypi.closed_until, pypi.asked_until) == (False, None, None)
        assert (github.gate_closed, github.closed_until, github.asked_until) == (False, None, NOW + 7200)


def test_without_a_cache_a_process_shows_its_own_state(wall: FakeClock) -> None:
    """Without a cache, a process shows the upstreams that it used; the others are unknown."""
    process = Process(None, wall)
    process.find_down(PYPI)
    wall.advance(1)
    found = process.look()
    assert (found.is_shared, found.problem) == (False, None)
    pypi, github, _ = found.upstreams
    assert (pypi.breaker, pypi.since, pypi.next_probe) == (BreakerState.OPEN, NOW, NOW + 15)
    assert pypi.last_error is not None
    assert (github.breaker, github.gate_closed, github.last_error) == (None, None, None)


def test_a_failing_cache_is_reported_and_read_once(process: Process, cache: FakeCache) -> None:
    """The error of the cache is shown without its password, with the process's own state, after one read."""
    process.find_down(PYPI)
    cache.error = ConnectionError("redis://user:s3cret@host is down")
    cache.asked.clear()
    found = process.look()
    assert (found.is_shared, found.problem) == (False, "ConnectionError: redis:***host is down")
    assert cache.asked == ["get"]
    assert found.upstreams[0].breaker is BreakerState.OPEN


def test_later_changes_of_this_process_count(process: Process, fresh: Process, wall: FakeClock) -> None:
    """Of the shared state and that of this process, the later one is shown, even before the next exchange."""
    process.find_down(PYPI)
    process.exchange()
    wall.advance(1)
    fresh.find_down(GITHUB)
    assert [fresh.standing(name).breaker for name in ("pypi", "github")] == [BreakerState.OPEN] * 2
    assert process.standing("github").breaker is BreakerState.CLOSED


def test_other_hosts_with_an_outage_or_an_error_are_shown(process: Process, fresh: Process) -> None:
    """At most twenty other hosts are shown: first those with an open breaker, then the latest errors, without paths."""
    for number in range(40):
        process.call(Origin("https", f"fine{number}.test", 443), OK)
        process.call(Origin("https", f"odd{number}.test", 443))
        process.wall.advance(0.001)
    process.find_down(Origin("http", "down.test", 8080))
    process.exchange()
    for each in (process, fresh):
        others = [standing for standing in each.look().upstreams if standing.name == "other"]
        assert len(others) == MOST_HOSTS
        assert [standing.origin for standing in others[:3]] == [
            "http://down.test:8080",
            "https://odd39.test",
            "https://odd38.test",
        ]
        assert others[0].breaker is BreakerState.OPEN
        assert {error.path for standing in others if (error := standing.last_error)} == {""}


def test_of_many_hosts_that_are_down_those_used_last_are_shown(process: Process) -> None:
    """Also if later errors of hosts that are not down have displaced their last errors."""
    for number in range(30):
        process.find_down(Origin("https", f"down{number}.test", 443))
    for number in range(MOST_HOSTS):
        process.call(Origin("https", f"odd{number}.test", 443))
    others = [standing.origin for standing in process.look().upstreams if standing.name == "other"]
    assert set(others) == {f"https://down{number}.test" for number in range(10, 30)}


def test_untrusted_hosts_displace_no_other(process: Process, fresh: Process) -> None:
    """Trusted hosts are shown however many untrusted ones fail, in other processes too."""
    ours = Origin("https", "ours.test", 443)
    process.call(ours)
    for number in range(2 * MOST_HOSTS):
        theirs = Origin("https", f"{number}.test", 443)
        process.call(theirs, untrusted=True)
        process.call(theirs, untrusted=True)
    process.exchange()
    for each in (process, fresh):
        others = [(standing.origin, standing.untrusted) for standing in each.look().upstreams if standing.origin]
        assert others[0] == (ours.url, False)
        assert [untrusted for _, untrusted in others[1:]] == [True] * MOST_HOSTS


def test_the_last_error_of_a_host_is_that_of_its_callers(process: Process) -> None:
    """One that users' URLs and our own code both lead to has two rows, each with its own error."""
    host = Origin("https", "both.test", 443)
    process.call(host, answer(503))
    process.call(host, answer(500), untrusted=True)
    rows = [standing for standing in process.look().upstreams if standing.origin == host.url]
    assert [(row.untrusted, row.last_error and row.last_error.status) for row in rows] == [(False, 503), (True, 500)]


@pytest.mark.parametrize("record", ["x", None, (1.0,) * 7, {"breaker": 1}])
def test_records_of_another_shape_are_nothing(fresh: Process, cache: FakeCache, record: object) -> None:
    """During a deployment an older or a newer release may have written them."""
    cache.values = {key_of("pypi"): record, news_of("pypi"): record, news_of("other"): record}
    pypi = fresh.standing("pypi")
    assert (pypi.breaker, pypi.since, pypi.last_error) == (BreakerState.CLOSED, None, None)


def test_times_of_wrong_clocks_are_limited(fresh: Process, cache: FakeCache) -> None:
    """Times in a record of a machine with a wrong clock are limited as they would be for a call."""
    cache.values = {key_of("pypi"): (NOW, NOW, NOW + 9000.0, 0.0, NOW + 9000.0, NOW + 9000.0)}
    pypi = fresh.standing("pypi")
    assert (pypi.next_probe, pypi.closed_until) == (NOW + 300, NOW + 3600)


def test_since_the_last_probe_where_nothing_better_is_known(fresh: Process, cache: FakeCache) -> None:
    """The news of its beginning are lost: then the record of the breaker says the least."""
    cache.values = {
        key_of("pypi"): (NOW - 5, NOW - 6, NOW + 9, 0.0, 0.0, 0.0),
        news_of("pypi"): ({}, {}, {"": (NOW - 500, False)}),
    }
    assert fresh.standing("pypi").since == NOW - 6


def test_thousands_of_hosts(process: Process) -> None:
    """A status_report looks at a bounded number of them, however many were called."""
    for number in range(2 * MOST_OTHER_HOSTS):
        call = Call(process.registry.upstream(Origin("https", f"{number}.test", 443)), GET)
        call.begin()
        call.end(BUSY)
    assert process.cache is not None
    process.cache.asked.clear()
    process.look()
    assert len(process.cache.asked) <= 8 + 2 * MOST_HOSTS
