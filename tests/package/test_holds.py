"""What is heard of upstreams: who is to be left alone, until when, and why."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.http import process, registry
from core.http.events import BreakerChanged, BreakerState, Event, GateClosed, QuotaSeen, Target
from core.http.outcome import Quota
from core.http.testing import FakeClock, OutboundHTTP
from package.holds import RESERVE, SILENT_IN_A_ROW, Hold, Holds
from package.results import FetchOutcome, FetchResult

TARGET = Target("GET", "https", "git.example.org", "/")
TIMEOUT = FetchResult("github", FetchOutcome.FAILED, reason="timeout", reached=False, again=True)
ANSWER = FetchResult("github", FetchOutcome.UPDATED)
ALONE = FetchResult("github", FetchOutcome.LEFT_ALONE)


def opened(upstream: str = "github", seconds: float = 15.0, state: BreakerState = BreakerState.OPEN) -> BreakerChanged:
    return BreakerChanged(upstream, TARGET, BreakerState.CLOSED, state, seconds)


def seen(remaining: int | None, limit: int | None = 100, reset: float | None = 60.0, upstream: str = "github") -> Event:
    return QuotaSeen(upstream, Quota(limit, remaining, reset, "core"))


def heard(*events: Event) -> list[Hold]:
    holds = Holds()
    for event in events:
        holds.observe(event)
    return list(holds.heard())


def judged(*passes: list[FetchResult]) -> list[float]:
    """Return for how long the source was to be left alone, each time; it is left alone for so long."""
    clock, holds, came = FakeClock(), Holds(), []
    real = process.current().runtime
    process.use(runtime=registry.Runtime(clock, clock.wait))
    try:
        for results in passes:
            holds.judge("github", results)
            for hold in holds.heard():
                came.append(hold.until - clock.now)
                clock.advance(hold.until - clock.now)
    finally:
        process.use(runtime=real)
    return came


def test_nothing_is_heard_of_those_who_are_well() -> None:
    """A breaker that closes, or lets one through to see, keeps nobody."""
    assert heard(opened(state=BreakerState.CLOSED), opened(state=BreakerState.HALF_OPEN)) == []


def test_an_upstream_that_is_down_is_left_alone(outbound_http: OutboundHTTP) -> None:
    """For as long as its breaker is open, and it is said why."""
    outbound_http.clock.advance(100)
    [hold] = heard(opened())
    assert (hold.key, hold.until) == ("github", 115)
    assert hold.why.startswith("github is down; nothing is sent before ")
    assert hold.why.endswith(" UTC")


def test_an_upstream_that_limits_our_rate_is_left_alone() -> None:
    """For as long as it asked for."""
    [hold] = heard(GateClosed("pypi", TARGET, 70))
    assert (hold.key, hold.until) == ("pypi", 70)
    assert "pypi limits our rate" in hold.why


@pytest.mark.parametrize("event", [opened("other"), GateClosed("other", TARGET, 15)], ids=["down", "limits"])
def test_of_those_without_a_name_one_is_not_all(event: Event) -> None:
    """They are told apart by their hosts."""
    [hold] = heard(event)
    assert hold.key == "git.example.org"
    assert hold.why.startswith("git.example.org ")


def test_everything_is_heard_once() -> None:
    """In the order in which it happened."""
    holds = Holds()
    holds.observe(opened("a"))
    holds.observe(opened("b"))
    assert [hold.key for hold in holds.heard()] == ["a", "b"]
    assert list(holds.heard()) == []


@given(remaining=st.integers(0, 5000), limit=st.integers(1, 5000))
def test_a_tenth_of_a_quota_is_for_others(remaining: int, limit: int) -> None:
    """From there on the upstream is left alone, until the quota is full again."""
    assert bool(heard(seen(remaining, limit))) is (remaining <= RESERVE * limit)


@pytest.mark.parametrize(
    "event",
    [seen(None), seen(0, None), seen(0, 0), seen(0, reset=None), seen(0, reset=0), seen(0, upstream="other")],
    ids=["none left?", "no limit", "limit 0", "no reset", "reset 0", "nobody's"],
)
def test_a_quota_that_makes_no_sense_keeps_nobody(event: Event) -> None:
    """Nor does one of a server that nobody named: it may be another one's."""
    assert heard(event) == []


def test_a_source_that_does_not_answer_is_left_alone_from_the_third_time_on() -> None:
    """For longer and longer, up to five minutes."""
    assert SILENT_IN_A_ROW == 3
    assert judged(*[[TIMEOUT]] * 9) == [15, 30, 60, 120, 240, 300, 300]


def test_what_fails_at_the_same_time_counts_once(outbound_http: OutboundHTTP) -> None:
    """Sixteen threads that meet the same outage do not make it last for five minutes."""
    holds = Holds()
    for _ in range(16):
        holds.judge("github", [TIMEOUT])
    assert [hold.until for hold in holds.heard()] == [15]


@given(st.lists(st.lists(st.sampled_from([TIMEOUT, ANSWER, ALONE]), max_size=3), max_size=30))
def test_only_what_nobody_answers_in_a_row_counts(passes: list[list[FetchResult]]) -> None:
    """One answer is enough to begin anew; what was not asked says nothing."""
    asked = [[each for each in results if each is not ALONE] for results in passes]
    silent = longest = 0
    for results in filter(None, asked):
        silent = silent + 1 if all(each is TIMEOUT for each in results) else 0
        longest += silent >= 3
    assert len(judged(*passes)) == longest


def test_sources_are_judged_each_on_its_own() -> None:
    """Three that do not answer once each are three hiccups."""
    holds = Holds()
    for key in "abc":
        holds.judge(key, [TIMEOUT])
    assert list(holds.heard()) == []
