"""Pauses of sources: those of core.http, those that answers ask for, and those at the end of a quota."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.http import process
from core.http.engine.attempt_health import Health
from core.http.engine.upstream import Upstream
from core.http.events import BreakerState, Event, QuotaSeen
from core.http.origin import origin_of
from core.http.outcome import Quota
from core.http.testing import OutboundHTTP
from package.jobs.pauses import RESERVE, Pauses, is_suspect, was_asked
from package.sources.api_server import Server
from package.sources.fetch_results import FetchOutcome, FetchResult
from package.sources.fields import Reading
from package.sources.package_parts import NOWHERE, TOKEN, Part
from tests.package.conftest import stub

PYPI = stub("", Reading(), source="pypi", api="https://pypi.test")
GITHUB = stub("repo", Reading(), source="github", api="https://api.github.test")
WITH_TOKEN = replace(GITHUB, server=Server("GitHub", GITHUB.server.api, token="t"))
MINE = stub("", Reading(), source="one", api="https://git.one.test")
USERS = replace(MINE, untrusted=True)
LEFT_ALONE, FAILED = FetchOutcome.LEFT_ALONE, FetchOutcome.FAILED

pytestmark = pytest.mark.usefixtures("outbound_http")


def upstream(part: Part) -> Upstream:
    origin = origin_of(part.server.api)
    return process.current().upstream(origin, untrusted=part.untrusted, partition=part.partition)


def open_breaker(part: Part) -> None:
    breaker = upstream(part).breaker
    assert breaker is not None
    now = process.current().runtime.clock()
    while breaker.state is BreakerState.CLOSED:
        permit = breaker.acquire(now, 10)
        assert permit is not None
        breaker.record(permit, Health.FAILURE, now)


def close_gate(part: Part, seconds: float = 70, why: str = "") -> None:
    upstream(part).gate.close(process.current().runtime.clock(), seconds, why=why)


def seen(
    remaining: int | None,
    limit: int | None = 100,
    reset: float | None = 60.0,
    name: str = "github",
    partition: str = "",
) -> Event:
    return QuotaSeen(name, Quota(limit, remaining, reset, "core"), partition)


def refused(reason: str, seconds: float | None = None, outcome: FetchOutcome = LEFT_ALONE) -> FetchResult:
    retry_at = None if seconds is None else datetime.now(UTC) + timedelta(seconds=seconds)
    return FetchResult("stub", outcome, error="The stub says no", reason=reason, retry_at=retry_at)


def until(pauses: Pauses, part: Part) -> float:
    """Return until when `part` is paused; 0 if it is not."""
    pause = pauses.of(part)
    return 0.0 if pause is None else pause.until


# Pauses that core.http knows


def test_who_is_well_is_not_left_alone() -> None:
    """Without any event, no source is paused."""
    assert [Pauses().of(part) for part in (PYPI, GITHUB, WITH_TOKEN, MINE, USERS)] == [None] * 5


def test_an_upstream_that_is_down_is_left_alone(outbound_http: OutboundHTTP) -> None:
    """An upstream is paused while its breaker is open; the pause says which, why, and until when."""
    outbound_http.clock.advance(100)
    open_breaker(PYPI)
    pause = Pauses().of(PYPI)
    assert pause is not None
    assert pause.until == 115
    assert pause.why == f"The stub is down; nothing is sent before {pause.retry_at:%H:%M:%S} UTC"
    assert timedelta(seconds=14) < pause.retry_at - datetime.now(UTC) <= timedelta(seconds=15)
    outbound_http.clock.advance(15)
    assert Pauses().of(PYPI) is None


@pytest.mark.parametrize(("why", "text"), [("", "limits our rate"), ("refuses our token", "refuses our token")])
def test_an_upstream_that_asked_for_it_is_left_alone(why: str, text: str) -> None:
    """An upstream that asks for a pause gets it, with the reason of its answer."""
    close_gate(WITH_TOKEN, 70, why)
    pause = Pauses().of(WITH_TOKEN)
    assert pause is not None
    assert pause.until == 70
    assert pause.why == f"GitHub {text}; nothing is sent before {pause.retry_at:%H:%M:%S} UTC"


def test_a_pause_of_core_http_is_queried_each_time(outbound_http: OutboundHTTP) -> None:
    """When a visitor's call or another process opens the gate, the pause of the job ends too."""
    pauses = Pauses()
    close_gate(PYPI, 7200)
    outbound_http.clock.advance(3600)
    assert until(pauses, PYPI) == 0, "one may go and see"
    upstream(PYPI).gate.closed_for(3600, upstream)
    assert until(pauses, PYPI) == 3601, "it is on its way"
    upstream(PYPI).gate.answered(3600)
    assert until(pauses, PYPI) == 0


def test_quotas_are_separate_and_outages_are_common() -> None:
    """Limits are separate for calls with and without a token; outages are common."""
    close_gate(GITHUB)
    assert [until(Pauses(), part) for part in (GITHUB, WITH_TOKEN)] == [70, 0]
    open_breaker(WITH_TOKEN)
    assert [until(Pauses(), part) for part in (GITHUB, WITH_TOKEN)] == [70, 15]


def test_failures_of_users_servers_pause_no_other() -> None:
    """A failure with a user's URL does not pause a configured server."""
    open_breaker(USERS)
    assert [until(Pauses(), part) for part in (USERS, MINE)] == [15, 0]


def test_nowhere_is_never_left_alone() -> None:
    """Parts without a server are never paused."""
    nowhere = replace(GITHUB, source=NOWHERE)
    open_breaker(GITHUB)
    assert (Pauses().of(nowhere), is_suspect(nowhere)) == (None, False)
    assert not Pauses().heed(nowhere, refused("unauthorized", 3600))


def test_who_has_failed_is_suspect(outbound_http: OutboundHTTP) -> None:
    """A source that has failed is suspect while its breaker still counts that failure and is closed."""
    assert not is_suspect(PYPI)
    breaker = upstream(PYPI).breaker
    assert breaker is not None
    permit = breaker.acquire(0, 10)
    assert permit is not None
    breaker.record(permit, Health.FAILURE, 0)
    assert is_suspect(PYPI)
    assert not is_suspect(GITHUB)
    outbound_http.clock.advance(31)
    assert not is_suspect(PYPI)


# The end of a quota


@given(remaining=st.integers(0, 5000), limit=st.integers(1, 5000))
def test_a_tenth_of_a_quota_is_for_others(remaining: int, limit: int) -> None:
    """At a tenth of its quota, an upstream is paused until the quota is full again."""
    pauses = Pauses()
    pauses.observe(seen(remaining, limit))
    assert (pauses.of(GITHUB) is not None) is (remaining <= RESERVE * limit)


def test_of_the_end_of_a_quota_it_is_said_how_much_is_left(outbound_http: OutboundHTTP) -> None:
    """The reason names the calls that are left, for whom they are reserved, and until when."""
    pauses = Pauses()
    pauses.observe(seen(7))
    pause = pauses.of(GITHUB)
    assert pause is not None
    assert pause.why == f"github's last 7 of 100 calls are reserved for visitors until {pause.retry_at:%H:%M:%S} UTC"
    assert pause.until == 60
    outbound_http.clock.advance(60)
    assert pauses.of(GITHUB) is None


def test_each_token_has_a_quota_of_its_own() -> None:
    """A used-up quota of calls without a token does not pause calls with one."""
    pauses = Pauses()
    pauses.observe(seen(1))
    assert [until(pauses, part) for part in (GITHUB, WITH_TOKEN)] == [60, 0]
    pauses.observe(seen(1, partition=TOKEN, reset=90))
    assert [until(pauses, part) for part in (GITHUB, WITH_TOKEN)] == [60, 90]


@pytest.mark.parametrize(
    "event",
    [seen(None), seen(0, None), seen(0, 0), seen(0, reset=None), seen(0, reset=0), seen(0, name="other")],
    ids=["none left?", "no limit", "limit 0", "no reset", "reset 0", "nobody's"],
)
def test_an_implausible_quota_pauses_nothing(event: Event) -> None:
    """An implausible quota, or one of an unnamed upstream, pauses nothing."""
    pauses = Pauses()
    pauses.observe(event)
    assert [until(pauses, part) for part in (GITHUB, MINE, USERS)] == [0, 0, 0]


def test_the_longer_of_two_reasons_counts() -> None:
    """Of two pauses, the longer one counts, in any order."""
    pauses = Pauses()
    pauses.observe(seen(1, reset=60))
    pauses.observe(seen(0, reset=50))
    assert until(pauses, GITHUB) == 60
    close_gate(GITHUB, 30)
    assert until(pauses, GITHUB) == 60
    close_gate(GITHUB, 90)
    assert until(pauses, GITHUB) == 90


# Pauses that answers ask for


def test_a_pause_of_an_answer_is_stored() -> None:
    """An answer that names a time pauses the source, and is reported as new once."""
    pauses = Pauses()
    assert pauses.heed(PYPI, refused("unauthorized", 3600))
    assert not pauses.heed(PYPI, refused("unauthorized", 3600))
    pause = pauses.of(PYPI)
    assert pause is not None
    assert (round(pause.until), pause.why) == (3600, "The stub says no")


@pytest.mark.parametrize("know", [open_breaker, close_gate])
def test_a_pause_of_core_http_is_not_stored(know: Callable[[Part], None], outbound_http: OutboundHTTP) -> None:
    """A pause that core.http knows of is not stored here, so that it ends with core.http's."""
    pauses = Pauses()
    know(PYPI)
    assert not pauses.heed(PYPI, refused("rate_limited", 3600))
    assert not pauses.heed(PYPI, refused("http_429"))
    outbound_http.clock.advance(71)
    assert pauses.of(PYPI) is None


@pytest.mark.parametrize("reason", ["breaker_open", "rate_limited"])
def test_who_was_refused_by_core_http_comes_back_soon(reason: str) -> None:
    """After a refusal by core.http that no longer holds, the source is tried again after a second."""
    pauses = Pauses()
    assert not pauses.heed(PYPI, refused(reason, 3600))
    assert until(pauses, PYPI) == 1


@pytest.mark.parametrize(
    "result",
    [
        refused("deadline_exceeded"),
        refused("unauthorized", -5),
        refused("http_5xx", outcome=FAILED),
        refused("http_429", outcome=FAILED),
        FetchResult("stub", FetchOutcome.UPDATED),
    ],
    ids=["no time", "over", "failed", "limited", "went well"],
)
def test_a_result_without_a_time_pauses_nothing(result: FetchResult) -> None:
    """A result without a time pauses nothing."""
    pauses = Pauses()
    for _ in range(50):
        assert not pauses.heed(PYPI, result)
    assert pauses.of(PYPI) is None


@pytest.mark.parametrize(
    ("result", "asked"),
    [
        (FetchResult("stub", FetchOutcome.UPDATED), True),
        (FetchResult("stub", FetchOutcome.NOT_FOUND, reason="gone"), True),
        (FetchResult("stub", FetchOutcome.NOT_READY, reason="not_ready"), True),
        (refused("timeout", outcome=FAILED), True),
        (refused("unauthorized", 3600), True),
        (refused("http_429", 60), True),
        (refused("breaker_open", 15), False),
        (refused("rate_limited", 60), False),
        (refused("deadline_exceeded"), False),
        (FetchResult("stub", FetchOutcome.SKIPPED, error="another run has it"), False),
        (FetchResult("stub", FetchOutcome.SKIPPED, reason="part"), True),
    ],
    ids=lambda value: f"{value.outcome} {value.reason}" if isinstance(value, FetchResult) else None,
)
def test_which_sources_were_asked(result: FetchResult, asked: bool) -> None:
    """Refusals by core.http and skipped parts do not count as asked; refusals by the server do."""
    assert was_asked(result) is asked
