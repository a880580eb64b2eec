"""An upstream that is down or asks to be left alone: what calls to it come to, and what metrics and log tell."""

from __future__ import annotations

import http.client as http_client
import logging
import pickle
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any

import pytest
import requests
import responses as responses_library
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings
from prometheus_client import CollectorRegistry

from core import http
from core.http import (
    WEB_REQUEST,
    CircuitBreaker,
    CircuitOpen,
    DeadlineExceeded,
    Policy,
    RateLimited,
    ResilientSession,
    RetryBudget,
    process,
    registry,
)
from core.http.django import settings as outbound_settings
from core.http.django.checks import check_outbound_http
from core.http.engine import call as call_module
from core.http.engine.attempt_health import Health, health_of
from core.http.engine.call import Call
from core.http.engine.response_classification import answered
from core.http.engine.steps import Send, Stop, Wait
from core.http.engine.upstream import Upstream
from core.http.errors import BlockedAddress, ResponseTooLarge
from core.http.events import (
    AttemptStarted,
    BreakerChanged,
    BreakerState,
    CallEnded,
    GateClosed,
    GateWaited,
    Suppression,
    Target,
)
from core.http.observers.prometheus import PrometheusObserver
from core.http.outcome import Outcome, Reason, Rejection, Result, failed
from core.http.testing import FakeClock
from core.http.wire import requests_exceptions
from core.http.wire.error_outcomes import diagnose
from tests.core.http.conftest import Metrics
from tests.core.http.engine.test_call import BUSY, GET, GONE, OK, POST, UNSENT, World

URL = "https://example.org/"
NAMED = {"upstreams": {"example": {"hosts": ["example.org"]}}}
NOW = datetime(2025, 6, 1, tzinfo=UTC)
HOUR = 3600.0
FRAGILE = CircuitBreaker(failures_in_a_row=2)


class Today(datetime):
    """A calendar that stands still."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> Today:
        return cls.fromtimestamp(NOW.timestamp(), tz)


@pytest.fixture
def today(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let it be NOW, where the engine looks at the calendar."""
    monkeypatch.setattr(call_module, "datetime", Today)


def answer(status: int, policy: Policy | None = None, **headers: str) -> Outcome:
    """Return the outcome of an answer; of header names, _ stands for -."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return answered(status, named, retry_statuses=(policy or Policy()).retry_statuses, now=NOW)


def once(upstream: Upstream, outcome: Outcome, target: Target = POST) -> None:
    """Make a call of one attempt (a POST that was sent is not repeated)."""
    call = Call(upstream, target)
    assert isinstance(call.begin(), Send)
    assert not call.end(outcome)


def broken(world: World) -> Upstream:
    """Return an upstream of which the breaker has just opened."""
    upstream = world.upstream
    assert upstream.breaker is not None
    while upstream.breaker.state is not BreakerState.OPEN:
        once(upstream, BUSY)
    return upstream


def waiting(upstream: Upstream) -> Call:
    """Return a call that has failed once and waits in backoff."""
    call = Call(upstream, GET)
    call.begin()
    assert call.end(BUSY)
    assert isinstance(call.begin(), Wait)
    return call


def ended(world: World) -> CallEnded:
    event = world.seen(CallEnded)[-1]
    assert isinstance(event, CallEnded)
    return event


def retry_in(error: CircuitOpen | RateLimited) -> timedelta:
    assert error.retry_at.utcoffset() == timedelta(0)
    return error.retry_at - datetime.now(UTC)


# A call that sends nothing


def test_an_open_breaker_refuses_new_calls() -> None:
    """A new call ends with CircuitOpen before anything is sent, and says where to and why, without the path."""
    world = World()
    upstream = broken(world)
    world.events.clear()
    with pytest.raises(CircuitOpen, match=r"^GET to example.org was not sent: the upstream is down, its breaker is op"):
        Call(upstream, GET).begin()
    assert world.seen(AttemptStarted) == []
    assert (world.ended.result, world.ended.reason) == (Result.REJECTED, Rejection.BREAKER_OPEN)
    assert world.ended.attempts == ()


@pytest.mark.usefixtures("today")
def test_circuit_open_says_when_to_come_back() -> None:
    """retry_at is when the next probe may go, aware, in UTC."""
    world = World()
    upstream = broken(world)
    world.clock.advance(5)
    with pytest.raises(CircuitOpen) as caught:
        Call(upstream, GET).begin()
    assert caught.value.retry_at == NOW + timedelta(seconds=10)
    assert caught.value.retry_at.tzinfo is UTC


@pytest.mark.usefixtures("today")
def test_rate_limited_says_when_to_come_back() -> None:
    """A closed gate that outlasts the call ends it at once; retry_at is when it opens, aware, in UTC."""
    world = World()
    upstream = world.upstream
    once(upstream, answer(429, Retry_After="300"))
    world.events.clear()
    world.clock.advance(100)
    with pytest.raises(RateLimited, match=r"^GET to example.org was not sent: the upstream asked to be left") as caught:
        Call(upstream, GET).begin()
    assert caught.value.retry_at == NOW + timedelta(seconds=200)
    assert caught.value.retry_at.tzinfo is UTC
    assert world.seen(AttemptStarted) == []
    assert (world.ended.result, world.ended.reason) == (Result.REJECTED, Rejection.RATE_LIMITED)


@pytest.mark.parametrize("kind", [requests_exceptions.CircuitOpen, requests_exceptions.RateLimited])
def test_what_was_not_sent_is_a_connection_error_that_can_be_pickled(kind: type[CircuitOpen | RateLimited]) -> None:
    """Existing `except requests.ConnectionError` catches it; it crosses a process boundary with its time."""
    error = kind("not sent", NOW)
    assert isinstance(error, requests.ConnectionError)
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy), copy.retry_at) == (kind, "not sent", NOW)


def test_a_call_whose_time_is_over_is_not_a_matter_of_the_breaker() -> None:
    """A deadline that has passed is DeadlineExceeded, and takes no probe."""
    world = World()
    upstream = broken(world)
    world.clock.advance(15)
    with pytest.raises(DeadlineExceeded):
        Call(upstream, GET, deadline=15).begin()
    assert upstream.breaker is not None
    assert upstream.breaker.state is BreakerState.OPEN


# A call that was answered ends with that answer


def test_the_attempt_that_opens_the_breaker_is_the_calls_last() -> None:
    """The call ends with that outcome and says why it was not repeated."""
    world = World(Policy(circuit_breaker=FRAGILE))
    upstream = world.upstream
    assert world.play(Call(upstream, GET), BUSY, UNSENT) == 2
    assert (ended(world).result, ended(world).reason) == (Result.FAILURE, Reason.CONNECT)
    assert ended(world).suppressed is Suppression.BREAKER_OPEN


def test_a_late_failure_is_not_repeated_while_the_breaker_is_open() -> None:
    """A call that was under way when another opened the breaker ends with its own outcome, at once."""
    world = World(Policy(circuit_breaker=FRAGILE))
    upstream = world.upstream
    late = Call(upstream, GET)
    late.begin()
    broken_by = Call(upstream, POST), Call(upstream, POST)
    for call in broken_by:
        call.begin()
        call.end(BUSY)
    assert not late.end(UNSENT)
    assert (ended(world).reason, ended(world).suppressed) == (Reason.CONNECT, Suppression.BREAKER_OPEN)


def test_a_call_in_backoff_ends_when_the_breaker_opens() -> None:
    """Asked again, before its time, it stops with its last outcome instead of waiting on."""
    world = World(Policy(circuit_breaker=FRAGILE, backoff=30))
    upstream = world.upstream
    call = waiting(upstream)
    once(upstream, BUSY)
    assert call.begin() == Stop()
    assert world.clock.now == 0
    assert (ended(world).target, ended(world).result, ended(world).reason) == (GET, Result.FAILURE, Reason.HTTP_5XX)
    assert ended(world).suppressed is Suppression.BREAKER_OPEN


def test_a_call_whose_backoff_ends_while_the_breaker_is_open_stops() -> None:
    """The same, for a driver that nobody wakes: at the end of the delay nothing is sent, nothing new is raised."""
    world = World(Policy(circuit_breaker=FRAGILE))
    upstream = world.upstream
    call = waiting(upstream)
    once(upstream, BUSY)
    world.clock.advance(1)
    assert call.begin() == Stop()
    assert ended(world).suppressed is Suppression.BREAKER_OPEN


def test_a_used_up_budget_ends_calls_with_their_answer() -> None:
    """With no retries left, a call ends with its first answer, and the suppression is told."""
    world = World(Policy(retry_budget=RetryBudget(minimum=1, ratio=0), circuit_breaker=None))
    upstream = world.upstream
    assert world.play(Call(upstream, GET), BUSY, UNSENT) == 2
    assert ended(world).suppressed is Suppression.BUDGET_EXHAUSTED
    assert (ended(world).reason, ended(world).budget_remaining) == (Reason.CONNECT, 0)
    assert world.play(Call(upstream, GET), BUSY) == 1
    assert (ended(world).reason, ended(world).suppressed) == (Reason.HTTP_5XX, Suppression.BUDGET_EXHAUSTED)


def test_the_budget_counts_attempts() -> None:
    """1,000 failing calls make at most 200 retries and ten, however many each may make."""
    world = World(Policy(circuit_breaker=None, backoff=0))
    upstream = world.upstream
    made = sum(world.play(Call(upstream, GET), BUSY, BUSY, BUSY, BUSY) for _ in range(1000))
    assert made - 1000 <= 0.2 * made + 10
    assert made - 1000 > 0.19 * made


def test_a_gate_that_closes_meanwhile_ends_the_call_with_its_answer() -> None:
    """A call in backoff, when the gate closes for longer than it has, ends with its answer, not with RateLimited."""
    world = World()
    upstream = world.upstream
    call = waiting(upstream)
    once(upstream, answer(429, Retry_After="300"))
    world.clock.advance(1)
    assert call.begin() == Stop()
    assert (ended(world).reason, ended(world).suppressed) == (Reason.HTTP_5XX, Suppression.DEADLINE)


def test_through_requests_the_answer_stays_an_answer(
    responses: responses_library.RequestsMock, clock: FakeClock
) -> None:
    """The call that opens the breaker returns its 503; the next raises CircuitOpen, and nothing is sent."""
    responses.get(URL, status=503)
    with ResilientSession(Policy(circuit_breaker=FRAGILE)) as session:
        assert session.get(URL).status_code == 503
        assert (len(responses.calls), clock.waits) == (2, [1])
        with pytest.raises(CircuitOpen) as caught:
            session.get(URL)
        assert isinstance(caught.value, requests.ConnectionError)
        assert timedelta(seconds=10) < retry_in(caught.value) <= timedelta(seconds=15)
    assert len(responses.calls) == 2


def test_through_requests_the_last_error_stays_that_error(responses: responses_library.RequestsMock) -> None:
    """The call that opens the breaker raises what requests raised."""
    responses.get(URL, body=requests.ReadTimeout("slow"))
    with (
        ResilientSession(Policy(circuit_breaker=FRAGILE)) as session,
        pytest.raises(requests.ReadTimeout, match="slow"),
    ):
        session.get(URL)
    assert len(responses.calls) == 2


# Opening wakes who waits


def test_opening_wakes_everyone_who_waits() -> None:
    """Whoever waits on the upstream is called when its breaker opens, once, and not after having left."""
    world = World(Policy(circuit_breaker=FRAGILE))
    upstream = world.upstream
    woken: list[str] = []
    with upstream.waking(lambda: woken.append("left")):
        pass
    with upstream.waking(lambda: woken.append("a")), upstream.waking(lambda: woken.append("b")):
        once(upstream, BUSY)
        assert woken == []
        once(upstream, BUSY)
    assert sorted(woken) == ["a", "b"]


def test_closing_wakes_nobody() -> None:
    """A breaker that closes gives no reason to stop waiting."""
    world = World(Policy(circuit_breaker=FRAGILE))
    upstream = broken(world)
    world.clock.advance(15)
    woken: list[None] = []
    with upstream.waking(lambda: woken.append(None)):
        once(upstream, OK)
    assert woken == []


def test_whoever_comes_to_wait_when_it_is_open_already_is_woken_at_once() -> None:
    """Between the decision to wait and the waiting, another thread may open the breaker: no wake-up is lost."""
    world = World(Policy(circuit_breaker=FRAGILE))
    upstream = broken(world)
    woken: list[None] = []
    with upstream.waking(lambda: woken.append(None)):
        assert woken == [None]


@pytest.mark.parametrize("waiters", [1, 4])
def test_threads_in_backoff_return_at_once(
    waiters: int, responses: responses_library.RequestsMock, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Threads that wait half a minute return their 503 when another thread's failure opens the breaker."""
    all_wait = threading.Semaphore(0)
    waking = Upstream.waking
    upstreams: set[Upstream] = set()

    @contextmanager
    def observed(upstream: Upstream, wake: Callable[[], object]) -> Iterator[None]:
        with waking(upstream, wake):
            upstreams.add(upstream)
            all_wait.release()
            yield

    monkeypatch.setattr(Upstream, "waking", observed)
    process.use(runtime=registry.Runtime(clock=clock))  # the clock stands still; waiting is that of the process, woken
    responses.get(URL, status=503)
    policy = Policy(backoff=30, total_timeout=600, circuit_breaker=CircuitBreaker(failures_in_a_row=waiters + 1))
    statuses: list[int] = []
    with ResilientSession(policy) as session:
        threads = [
            threading.Thread(target=lambda: statuses.append(session.get(URL).status_code), daemon=True)
            for _ in range(waiters)
        ]
        for thread in threads:
            thread.start()
        try:
            for _ in threads:
                assert all_wait.acquire(timeout=10)
            assert statuses == []
            assert session.get(URL).status_code == 503
            for thread in threads:
                thread.join(timeout=2)
            assert statuses == [503] * waiters
        finally:
            clock.advance(1000)
            for upstream in upstreams:
                upstream.wake()
            for thread in threads:
                thread.join(timeout=5)
    assert len(responses.calls) == waiters + 1


# What an attempt is to the breaker


GITHUB_EXHAUSTED = {"X_RateLimit_Limit": "60", "X_RateLimit_Remaining": "0", "X_RateLimit_Reset": "120"}
CERTIFICATE = requests.exceptions.SSLError(ssl.SSLCertVerificationError(1, "certificate verify failed"))
NO_SUCH_NAME = requests.ConnectionError(socket.gaierror(socket.EAI_NONAME, "no such name"))
NAMES_FAIL = requests.ConnectionError(socket.gaierror(socket.EAI_AGAIN, "try again"))


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [
        *((answer(status), Health.SUCCESS) for status in (200, 204, 301, 304, 400, 401, 403, 404, 405, 410, 422, 451)),
        *((answer(status), Health.FAILURE) for status in (408, 500, 501, 502, 503, 504, 599)),
        *((answer(status), Health.NEITHER) for status in (425, 429)),
        (answer(999), Health.SUCCESS),  # some servers' own; an answer, and no 5xx
        (answer(429, Retry_After="5"), Health.NEITHER),
        (answer(403, Retry_After="5"), Health.NEITHER),
        (answer(403, **GITHUB_EXHAUSTED), Health.NEITHER),
        (answer(403, X_RateLimit_Limit="60", X_RateLimit_Remaining="5"), Health.SUCCESS),
        (answer(503, Retry_After="5"), Health.FAILURE),
        (diagnose(requests.ConnectionError()), Health.FAILURE),
        (diagnose(requests.ConnectionError(http_client.BadStatusLine("SSH-2.0"))), Health.FAILURE),
        (diagnose(requests.ConnectTimeout()), Health.FAILURE),
        (diagnose(requests.ReadTimeout()), Health.FAILURE),
        (diagnose(requests.exceptions.ChunkedEncodingError()), Health.FAILURE),
        (diagnose(requests.exceptions.ProxyError()), Health.FAILURE),
        (diagnose(CERTIFICATE), Health.FAILURE),
        (diagnose(NAMES_FAIL), Health.FAILURE),
        (diagnose(NO_SUCH_NAME), Health.FAILURE),
        (diagnose(BlockedAddress()), Health.NEITHER),
        (diagnose(ResponseTooLarge()), Health.NEITHER),
        (diagnose(requests.exceptions.InvalidURL()), Health.NEITHER),
    ],
    ids=lambda value: f"{value.status or value.detail}-{value.reason}" if isinstance(value, Outcome) else None,
)
def test_what_an_attempt_is_to_the_breaker(outcome: Outcome, expected: Health) -> None:
    """Answers are successes, 408, 5xx and transport errors failures; being refused says nothing of its health."""
    assert health_of(outcome, any_host=False) is expected


def test_a_name_that_does_not_exist_is_nobodys_outage() -> None:
    """For hosts that nobody configured it says nothing: a slip in a URL; a resolver that fails does."""
    assert health_of(diagnose(NO_SUCH_NAME), any_host=True) is Health.NEITHER
    assert health_of(diagnose(NAMES_FAIL), any_host=True) is Health.FAILURE
    assert health_of(answer(503), any_host=True) is Health.FAILURE
    assert health_of(answer(404), any_host=True) is Health.SUCCESS


@pytest.mark.parametrize("outcome", [OK, GONE, answer(429), answer(425), diagnose(BlockedAddress())])
def test_what_is_no_failure_never_opens_the_breaker(outcome: Outcome) -> None:
    """100 of the same, and the breaker is closed."""
    world = World()
    upstream = world.upstream
    for _ in range(100):
        once(upstream, outcome)
    assert world.seen(BreakerChanged) == []


# Probes


def test_after_15_seconds_one_call_is_the_probe() -> None:
    """One call may send; the others are refused until it has been answered."""
    world = World()
    upstream = broken(world)
    world.clock.advance(15)
    probe = Call(upstream, GET)
    assert isinstance(probe.begin(), Send)
    with pytest.raises(CircuitOpen):
        Call(upstream, GET).begin()
    assert not probe.end(OK)
    assert isinstance(Call(upstream, GET).begin(), Send)


def test_every_change_of_state_is_an_event() -> None:
    """Open, half-open, open for longer, half-open, closed: each is told, with what was before."""
    world = World(Policy(circuit_breaker=FRAGILE, retries=0))
    upstream = broken(world)
    world.clock.advance(15)
    once(upstream, BUSY)
    world.clock.advance(30)
    once(upstream, OK)
    changes = [event for event in world.events if isinstance(event, BreakerChanged)]
    assert [(event.before, event.state) for event in changes] == [
        (BreakerState.CLOSED, BreakerState.OPEN),
        (BreakerState.OPEN, BreakerState.HALF_OPEN),
        (BreakerState.HALF_OPEN, BreakerState.OPEN),
        (BreakerState.OPEN, BreakerState.HALF_OPEN),
        (BreakerState.HALF_OPEN, BreakerState.CLOSED),
    ]
    assert [event.seconds for event in changes] == [15, 0, 30, 0, 0]


def test_a_cancelled_probe_is_free_at_once() -> None:
    """An interrupt during the probe lets the next call be the probe."""
    world = World()
    upstream = broken(world)
    world.clock.advance(15)
    probe = Call(upstream, GET)
    probe.begin()
    probe.cancel()
    assert isinstance(Call(upstream, GET).begin(), Send)


def test_a_probe_that_is_rate_limited_is_free_at_once() -> None:
    """It says nothing of the upstream's health; the next call is the probe."""
    world = World()
    upstream = broken(world)
    world.clock.advance(15)
    once(upstream, answer(429))
    once(upstream, OK)
    assert upstream.breaker is not None
    assert upstream.breaker.state is BreakerState.CLOSED


def test_an_interrupted_probe_is_free_through_requests(
    responses: responses_library.RequestsMock, clock: FakeClock
) -> None:
    """Ctrl-C in the middle of a probe passes through, and costs nobody five minutes."""

    def interrupted(_: requests.PreparedRequest) -> tuple[int, dict[str, str], str]:
        raise KeyboardInterrupt

    responses.get(URL, status=503)
    responses.get(URL, status=503)
    responses.add_callback("GET", URL, interrupted)
    responses.get(URL, status=200)
    with ResilientSession(Policy(circuit_breaker=FRAGILE)) as session:
        session.get(URL)
        clock.advance(15)
        with pytest.raises(KeyboardInterrupt):
            session.get(URL)
        assert session.get(URL).status_code == 200


def test_late_answers_neither_open_nor_close() -> None:
    """Calls begun before an outage that end after it change nothing."""
    world = World()
    upstream = world.upstream
    late = [Call(upstream, POST) for _ in range(20)]
    for call in late:
        call.begin()
    while upstream.breaker is not None and upstream.breaker.state is BreakerState.CLOSED:
        once(upstream, BUSY)
    for call in late[:10]:
        call.end(OK)
    with pytest.raises(CircuitOpen):
        Call(upstream, GET).begin()
    world.clock.advance(15)
    once(upstream, OK)
    for call in late[10:]:
        call.end(BUSY)
    assert isinstance(Call(upstream, GET).begin(), Send)


# The gate


def test_calls_that_can_wait_at_the_gate_do_and_others_do_not() -> None:
    """After a Retry-After of 30 s: who has 60 s waits and is sent; who has 20 s is refused at once."""
    world = World()
    upstream = world.upstream
    once(upstream, answer(429, Retry_After="30"))
    patient = Call(upstream, GET)
    assert patient.begin() == Wait(30)
    with pytest.raises(RateLimited):
        Call(upstream, GET, deadline=20).begin()
    world.clock.advance(30)
    assert isinstance(patient.begin(), Send)


@pytest.mark.parametrize("status", [429, 503, 403])
def test_retry_after_closes_the_gate(status: int) -> None:
    """Whatever transient answer it comes with; so does GitHub's secondary limit, a 403 with Retry-After."""
    world = World()
    upstream = world.upstream
    once(upstream, answer(status, Retry_After="30"))
    assert world.seen(GateClosed) == [GateClosed("example", POST, 30)]
    assert Call(upstream, GET).begin() == Wait(30)


def test_a_limit_closes_the_gate_though_the_policy_does_not_retry_it() -> None:
    """retry_statuses says what this call does; the server has asked to be left alone by all."""
    policy = Policy(retry_statuses=frozenset({503}))
    world = World(policy)
    upstream = world.upstream
    once(upstream, answer(429, policy, Retry_After="30"), GET)
    assert Call(upstream, GET).begin() == Wait(30)


@pytest.mark.parametrize(
    "value", ["0", "-5", "", "soon", "1e9", "nan", "Sat, 31 May 2025 00:00:00 GMT", "Mon, 99 Foo 2025", "\u0663"]
)
def test_a_retry_after_that_asks_for_nothing_closes_nothing(value: str) -> None:
    """Negative, past, empty and senseless values leave the gate open."""
    world = World()
    upstream = world.upstream
    once(upstream, answer(429, Retry_After=value))
    assert world.seen(GateClosed) == []
    assert isinstance(Call(upstream, GET).begin(), Send)


def test_the_last_half_second_of_a_pause_is_kept_too() -> None:
    """Nothing is sent before the time that the server has named."""
    world = World()
    upstream = world.upstream
    once(upstream, answer(429, Retry_After="30"))
    world.clock.advance(29.5)
    call = Call(upstream, GET)
    assert call.begin() == Wait(0.5)
    world.clock.advance(0.5)
    assert isinstance(call.begin(), Send)


@pytest.mark.parametrize("status", [301, 404, 413, 501])
def test_a_retry_after_of_an_answer_that_is_final_is_for_its_call_only(status: int) -> None:
    """A redirect or a refusal of one request may name a time; that is no reason to leave the server alone."""
    world = World()
    upstream = world.upstream
    once(upstream, answer(status, Retry_After="30"))
    assert world.seen(GateClosed) == []
    assert isinstance(Call(upstream, GET).begin(), Send)


@pytest.mark.parametrize("value", ["7200", "9" * 5000, "Fri, 31 Dec 9999 23:59:59 GMT", "86400.5"])
@pytest.mark.usefixtures("today")
def test_an_absurd_retry_after_is_an_hour_then_one_probe(value: str) -> None:
    """After an hour one call is sent; while it is on its way the others are refused; its answer lets all through."""
    world = World()
    upstream = world.upstream
    once(upstream, answer(429, Retry_After=value))
    with pytest.raises(RateLimited) as caught:
        Call(upstream, GET).begin()
    assert caught.value.retry_at == NOW + timedelta(hours=1)
    world.clock.advance(HOUR)
    probe = Call(upstream, GET)
    assert isinstance(probe.begin(), Send)
    with pytest.raises(RateLimited):
        Call(upstream, GET).begin()
    assert not probe.end(OK)
    assert [isinstance(Call(upstream, GET).begin(), Send) for _ in range(3)] == [True] * 3


def test_a_cancelled_probe_of_the_gate_is_free_at_once() -> None:
    """An interrupt during the probe lets the next call be the probe."""
    world = World()
    upstream = world.upstream
    once(upstream, answer(429, Retry_After="7200"))
    world.clock.advance(HOUR)
    probe = Call(upstream, GET)
    probe.begin()
    probe.cancel()
    second = Call(upstream, GET)
    assert isinstance(second.begin(), Send)
    with pytest.raises(RateLimited):
        Call(upstream, GET).begin()


def test_a_probe_of_the_gate_that_no_answer_came_to_is_free() -> None:
    """A transport error is no answer: it opens the gate for one more probe, not for all."""
    world = World()
    upstream = world.upstream
    once(upstream, answer(429, Retry_After="7200"))
    world.clock.advance(HOUR)
    once(upstream, failed(Reason.CONNECT, "reset", transient=True))
    second = Call(upstream, GET)
    assert isinstance(second.begin(), Send)
    with pytest.raises(RateLimited):
        Call(upstream, GET).begin()


def test_a_call_repeats_its_probe_of_the_gate_that_no_answer_came_to() -> None:
    """The retry after a connection that broke is the next probe: it does not wait for its own first attempt."""
    world = World()
    upstream = world.upstream
    once(upstream, answer(429, Retry_After="7200"))
    world.clock.advance(HOUR)
    probe = Call(upstream, GET)
    assert isinstance(probe.begin(), Send)
    assert probe.end(failed(Reason.CONNECT, "reset", transient=True))
    world.clock.advance(1)
    assert isinstance(probe.begin(), Send)


def test_a_pause_that_grew_is_told_in_full() -> None:
    """What log and metrics say of a gate is for how long it is closed, not what the last answer asked for."""
    world = World()
    upstream = world.upstream
    limited = replace(answer(429), retry_after=60.0, doubled=True)
    for pause in (60, 120, 240):
        once(upstream, limited)
        assert world.seen(GateClosed)[-1] == GateClosed("example", POST, pause)
        world.clock.advance(pause)


def test_an_answer_from_before_does_not_shorten_the_next_pause() -> None:
    """A pause that grows goes on growing, though an answer to what was sent before it came in meanwhile."""
    world = World()
    upstream = world.upstream
    limited = replace(answer(429), retry_after=60.0, doubled=True)
    early = Call(upstream, GET)
    early.begin()
    once(upstream, limited)
    world.clock.advance(10)
    early.end(OK)
    world.clock.advance(50)
    once(upstream, limited)
    assert world.seen(GateClosed)[-1] == GateClosed("example", POST, 120)


def test_a_call_waits_without_a_breaker_too() -> None:
    """Where the policy has none, waiting is ended by nothing that was never opened."""
    woken: list[None] = []
    with World(Policy(circuit_breaker=None)).upstream.waking(lambda: woken.append(None)):
        pass
    assert woken == []


def test_a_probe_of_the_gate_that_is_still_limited_opens_it_for_nobody_else() -> None:
    """A 429 that names no time does not mean that all may come."""
    world = World()
    upstream = world.upstream
    once(upstream, answer(429, Retry_After="7200"))
    world.clock.advance(HOUR)
    once(upstream, answer(429))
    second = Call(upstream, GET)
    assert isinstance(second.begin(), Send)
    with pytest.raises(RateLimited):
        Call(upstream, GET).begin()


def test_an_answer_from_before_does_not_open_the_gate() -> None:
    """What was sent before the server asked to be left alone may be answered after."""
    world = World()
    upstream = world.upstream
    early = Call(upstream, GET)
    early.begin()
    once(upstream, answer(429, Retry_After="30"))
    world.clock.advance(10)
    early.end(OK)
    assert Call(upstream, GET).begin() == Wait(20)


def test_a_probe_of_the_gate_that_the_breaker_refuses_is_free() -> None:
    """Breaker open and gate closed: the call that the breaker turns away gives the gate's probe back."""
    world = World(Policy(circuit_breaker=CircuitBreaker(failures_in_a_row=1, open_for=7000, open_max=7000)))
    upstream = world.upstream
    once(upstream, answer(503, Retry_After="8000"))
    world.clock.advance(HOUR)
    with pytest.raises(CircuitOpen):
        Call(upstream, GET).begin()
    world.clock.advance(HOUR)
    assert isinstance(Call(upstream, GET).begin(), Send)


def test_a_new_call_does_not_wait_at_the_gate_of_a_server_that_is_down() -> None:
    """With the gate closed for 10 s and the breaker open for 15, waiting is in vain: CircuitOpen at once."""
    world = World(Policy(circuit_breaker=CircuitBreaker(failures_in_a_row=1)))
    upstream = world.upstream
    once(upstream, answer(503, Retry_After="10"))
    with pytest.raises(CircuitOpen):
        Call(upstream, GET).begin()


def test_github_403_with_an_exhausted_quota_closes_the_gate_until_its_reset() -> None:
    """X-RateLimit-Remaining: 0 with a reset in 120 s: a failure by rate limit, retried by nobody before."""
    world = World()
    upstream = world.upstream
    reset = str(int(NOW.timestamp()) + 120)
    limited = answer(403, X_RateLimit_Limit="60", X_RateLimit_Remaining="0", X_RateLimit_Reset=reset)
    assert world.play(Call(upstream, GET), limited) == 1
    assert (ended(world).result, ended(world).reason) == (Result.FAILURE, Reason.HTTP_429)
    assert ended(world).suppressed is Suppression.DEADLINE
    with pytest.raises(RateLimited):
        Call(upstream, GET).begin()
    world.clock.advance(100)
    assert Call(upstream, GET).begin() == Wait(20)


def test_ratelimit_headers_of_the_draft_close_the_gate_too() -> None:
    """RateLimit-Remaining: 0 with a 429 and a RateLimit-Reset in seconds."""
    world = World()
    upstream = world.upstream
    once(upstream, answer(429, RateLimit_Limit="10", RateLimit_Remaining="0", RateLimit_Reset="40"))
    assert Call(upstream, GET).begin() == Wait(40)


def test_through_requests_a_limited_call_returns_its_429_and_the_next_is_not_sent(
    responses: responses_library.RequestsMock, clock: FakeClock
) -> None:
    """`status_code == 429` goes on working; a call within the hour is RateLimited, one that may wait is sent."""
    responses.get(URL, status=429, headers={"Retry-After": "90"})
    assert http.get(URL).status_code == 429
    with pytest.raises(RateLimited) as caught:
        http.get(URL)
    assert timedelta(seconds=85) < retry_in(caught.value) <= timedelta(seconds=90)
    assert len(responses.calls) == 1
    clock.advance(50)
    responses.replace("GET", URL, status=200)
    assert http.get(URL).status_code == 200
    assert clock.waits == [40]


# Switched off, and kept apart


def test_without_a_breaker_nothing_is_refused() -> None:
    """circuit_breaker=None: 1,000 failures in a row, and the next call is sent."""
    world = World(Policy(circuit_breaker=None))
    upstream = world.upstream
    for _ in range(1000):
        once(upstream, BUSY)
    assert upstream.breaker is None
    assert isinstance(Call(upstream, GET).begin(), Send)
    assert world.seen(BreakerChanged) == []


def test_without_a_budget_every_call_has_all_its_retries() -> None:
    """retry_budget=None: 100 calls make 400 attempts, and no ratio is told."""
    world = World(Policy(retry_budget=None, circuit_breaker=None))
    upstream = world.upstream
    assert sum(world.play(Call(upstream, GET), BUSY, BUSY, BUSY, BUSY) for _ in range(100)) == 400
    assert ended(world).budget_remaining is None


def test_hosts_without_a_name_have_a_state_of_their_own(
    responses: responses_library.RequestsMock,
) -> None:
    """One that is down does not keep calls from another; nor another port of the same host."""
    responses.get(URL, status=503)
    responses.get("https://example.net/", status=200)
    responses.get("https://example.org:8443/", status=200)
    for _ in range(3):
        http.get(URL)
    with pytest.raises(CircuitOpen):
        http.get(URL)
    assert http.get("https://example.net/").status_code == 200
    assert http.get("https://example.org:8443/").status_code == 200


@override_settings(OUTBOUND_HTTP={"upstreams": {"example": {"hosts": ["example.org", "example.net"]}}})
def test_hosts_of_one_name_share_their_state(responses: responses_library.RequestsMock) -> None:
    """They stand and fall together: what one host's failures opened is open for the other."""
    responses.get(URL, status=503)
    for _ in range(3):
        http.get(URL)
    with pytest.raises(CircuitOpen):
        http.get("https://example.net/")


def test_web_requests_have_a_state_of_their_own(responses: responses_library.RequestsMock) -> None:
    """A visitor's request is tried though a batch job's breaker is open, and the other way round."""
    responses.get(URL, status=503)
    with ResilientSession(WEB_REQUEST) as web, ResilientSession(WEB_REQUEST) as other_web:
        for _ in range(3):
            http.get(URL)
        with pytest.raises(CircuitOpen):
            http.get(URL)
        for _ in range(5):
            assert web.get(URL).status_code == 503
        with pytest.raises(CircuitOpen):
            web.get(URL)
        assert other_web.get(URL).status_code == 503


# Metrics


def growth() -> Metrics:
    """Begin to measure, with the series of the configured upstreams in place."""
    assert process.current()
    return Metrics()


SERIES = [
    ("calls_total", {"outcome": "rejected", "reason": "breaker_open"}),
    ("calls_total", {"outcome": "rejected", "reason": "rate_limited"}),
    *(
        ("retries_suppressed_total", {"reason": reason})
        for reason in ("breaker_open", "budget_exhausted", "deadline", "not_idempotent")
    ),
    *(("breaker_transitions_total", {"state": state}) for state in ("closed", "open", "half_open")),
    *(("breaker_state", {"state": state}) for state in ("open", "half_open")),
    ("ratelimit_wait_seconds_total", {}),
]


def fresh(upstream: str) -> tuple[PrometheusObserver, CollectorRegistry]:
    metrics = CollectorRegistry()
    observer = PrometheusObserver(metrics, [])
    observer.prepare(upstream)
    return observer, metrics


@pytest.mark.parametrize("upstream", ["example", "other"])
def test_every_series_is_there_from_the_start(upstream: str) -> None:
    """A series that appears with its first event hides that event: all are there, at zero, budgets full."""
    _, metrics = fresh(upstream)
    for name, labels in SERIES:
        assert metrics.get_sample_value(f"outbound_http_{name}", {"upstream": upstream, **labels}) == 0, (name, labels)
    closed = metrics.get_sample_value("outbound_http_breaker_state", {"upstream": upstream, "state": "closed"})
    assert closed == (1 if upstream == "example" else 0)
    assert metrics.get_sample_value("outbound_http_retry_budget_remaining_ratio", {"upstream": upstream}) == 1


def test_gauges_are_added_up_across_processes_as_they_should() -> None:
    """States are counted, the emptiest budget counts, and of quotas what was said last."""
    observer, _ = fresh("example")
    assert observer.families.breaker_state._multiprocess_mode == "livesum"
    assert observer.families.budget_remaining._multiprocess_mode == "livemin"
    families = observer.families
    for gauge in (families.ratelimit_limit, families.ratelimit_remaining, families.ratelimit_reset):
        assert gauge._multiprocess_mode == "mostrecent"


@override_settings(OUTBOUND_HTTP={"upstreams": {"numbers": {"hosts": ["example.org"]}}})
def test_an_outage_in_numbers(responses: responses_library.RequestsMock, clock: FakeClock) -> None:
    """The breaker's state and its transitions, from closed to open, half-open and closed again."""
    metrics = growth()

    def states() -> tuple[float, ...]:
        return tuple(metrics("breaker_state", upstream="numbers", state=s) for s in ("closed", "open", "half_open"))

    seen = []

    def probed(_: requests.PreparedRequest) -> tuple[int, dict[str, str], str]:
        seen.append(states())
        return 200, {}, ""

    responses.get(URL, status=503)
    for _ in range(3):
        http.get(URL)
    assert states() == (-1, 1, 0)
    with pytest.raises(CircuitOpen):
        http.get(URL)
    assert metrics("calls_total", upstream="numbers", outcome="rejected", reason="breaker_open") == 1
    assert metrics("retries_suppressed_total", upstream="numbers", reason="breaker_open") == 1
    clock.advance(15)
    responses.remove("GET", URL)
    responses.add_callback("GET", URL, probed)
    assert http.get(URL).status_code == 200
    assert seen == [(-1, 0, 1)]
    assert states() == (0, 0, 0)
    for state in ("closed", "open", "half_open"):
        assert metrics("breaker_transitions_total", upstream="numbers", state=state) == 1


def test_the_states_of_unnamed_hosts_are_counted_together(
    responses: responses_library.RequestsMock, clock: FakeClock
) -> None:
    """Of `other`, the open breakers count, one for each host; how many are closed, nobody knows."""
    metrics = growth()
    hosts = (URL, "https://example.net/")
    for url in hosts:
        responses.get(url, status=503)
        for _ in range(3):
            http.get(url)
    assert metrics("breaker_state", upstream="other", state="open") == 2
    clock.advance(15)
    for url in hosts:
        responses.replace("GET", url, status=200)
        http.get(url)
    for state in BreakerState:
        assert metrics("breaker_state", upstream="other", state=state.value) == 0


@override_settings(OUTBOUND_HTTP={"upstreams": {"several": {"hosts": ["example.org"]}}})
def test_no_state_is_negative_when_sessions_have_breakers_of_their_own(
    responses: responses_library.RequestsMock,
) -> None:
    """A session with a policy has a breaker of its own beside the process's: both may be open at once."""
    metrics = growth()
    responses.get(URL, status=503)
    with ResilientSession(Policy()) as session:
        for _ in range(3):
            http.get(URL)
            session.get(URL)
    assert metrics("breaker_state", upstream="several", state="open") >= 1
    assert metrics("breaker_state", upstream="several", state="closed") == -1  # from one to none


def test_a_host_that_is_forgotten_is_not_open_for_ever(
    responses: responses_library.RequestsMock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the least recently used host goes, so does its open breaker, and the alert on it."""
    metrics = growth()
    monkeypatch.setattr(registry, "MOST_OTHER_HOSTS", 1)
    responses.get(URL, status=503)
    responses.get("https://example.net/", status=200)
    for _ in range(3):
        http.get(URL)
    assert metrics("breaker_state", upstream="other", state="open") == 1
    http.get("https://example.net/")
    assert metrics("breaker_state", upstream="other", state="open") == 0


@override_settings(
    OUTBOUND_HTTP={
        "default": {"circuit_breaker": None, "retry_budget": {"minimum": 4, "ratio": 0}},
        **NAMED,
    }
)
def test_a_used_up_budget_in_numbers(responses: responses_library.RequestsMock) -> None:
    """The ratio falls to nothing, and each retry that was not made is counted."""
    metrics = growth()
    responses.get(URL, status=503)
    http.get(URL)
    assert value("retry_budget_remaining_ratio", upstream="example") == pytest.approx(0.25)
    http.get(URL)
    http.get(URL)
    assert value("retry_budget_remaining_ratio", upstream="example") == 0
    assert metrics("retries_suppressed_total", upstream="example", reason="budget_exhausted") == 2
    assert metrics("retries_total", upstream="example", reason="http_5xx") == 4


def value(name: str, **labels: str) -> float | None:
    from prometheus_client import REGISTRY  # noqa: PLC0415 - read once, here

    return REGISTRY.get_sample_value(f"outbound_http_{name}", labels)


@override_settings(OUTBOUND_HTTP={"upstreams": {"hub": {"hosts": ["example.org"]}}})
def test_quotas_are_exported(responses: responses_library.RequestsMock) -> None:
    """What the upstream last said of its quota; resources by the names that GitHub has, all others as `other`."""
    reset = int(datetime.now(UTC).timestamp()) + 90
    for resource, remaining in (("core", "57"), ("search", "9"), ("x" * 20, "3"), ("core", "56")):
        headers = {
            "X-RateLimit-Limit": "60",
            "X-RateLimit-Remaining": remaining,
            "X-RateLimit-Reset": str(reset),
            "X-RateLimit-Resource": resource,
        }
        responses.get(URL, headers=headers)
    for _ in range(4):
        http.get(URL)
    for resource, remaining in (("core", 56), ("search", 9), ("other", 3)):
        assert value("ratelimit_limit", upstream="hub", partition="", resource=resource) == 60
        assert value("ratelimit_remaining", upstream="hub", partition="", resource=resource) == remaining
        said = value("ratelimit_reset_timestamp_seconds", upstream="hub", partition="", resource=resource)
        assert said == pytest.approx(reset, abs=1)
    assert value("ratelimit_limit", upstream="hub", resource="x" * 20) is None


def test_quotas_of_unnamed_hosts_are_not(responses: responses_library.RequestsMock) -> None:
    """Of `other` there are many, and a gauge for all of them would tell of the last only."""
    responses.get(URL, headers={"X-RateLimit-Limit": "60", "X-RateLimit-Remaining": "5", "X-RateLimit-Reset": "10"})
    http.get(URL)
    for name in ("ratelimit_limit", "ratelimit_remaining", "ratelimit_reset_timestamp_seconds"):
        assert value(name, upstream="other", resource="other") is None


@override_settings(OUTBOUND_HTTP=NAMED)
def test_waiting_at_the_gate_in_numbers(responses: responses_library.RequestsMock, clock: FakeClock) -> None:
    """Seconds that a call waited at the gate, and the calls that were refused there."""
    metrics = growth()
    responses.get(URL, status=429, headers={"Retry-After": "90"})
    responses.get(URL, status=200)
    http.get(URL)
    with pytest.raises(RateLimited):
        http.get(URL)
    assert metrics("calls_total", upstream="example", outcome="rejected", reason="rate_limited") == 1
    assert metrics("retries_suppressed_total", upstream="example", reason="deadline") == 1
    assert metrics("ratelimit_wait_seconds_total", upstream="example") == 0
    clock.advance(60)
    http.get(URL)
    assert metrics("ratelimit_wait_seconds_total", upstream="example") == 30


def test_waiting_at_the_gate_in_pieces_is_counted_once() -> None:
    """A driver may ask again too early: what is told adds up to what was waited."""
    world = World()
    upstream = world.upstream
    once(upstream, answer(429, Retry_After="30"))
    call = Call(upstream, GET)
    for seconds in (10.0, 15.0, 5.0):
        assert isinstance(call.begin(), Wait)
        world.clock.advance(seconds)
    assert isinstance(call.begin(), Send)
    assert sum(event.seconds for event in world.events if isinstance(event, GateWaited)) == 30


# The log


def lines(caplog: pytest.LogCaptureFixture, level: int) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == level and record.name == "core.http"]


@override_settings(OUTBOUND_HTTP=NAMED)
def test_an_outage_in_the_log(
    responses: responses_library.RequestsMock, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    """It opens: WARNING. It closes: INFO. What was refused in between: DEBUG. Each once."""
    caplog.set_level(logging.DEBUG, "core.http")
    responses.get(URL, status=503)
    for _ in range(3):
        http.get(URL)
    warnings = lines(caplog, logging.WARNING)
    assert warnings[2] == "Breaker of upstream example (example.org) opens: nothing is sent for 15 s"
    assert warnings[3].endswith("not retried: breaker_open)")
    assert len(warnings) == 4
    caplog.clear()
    with pytest.raises(CircuitOpen):
        http.get(URL)
    assert lines(caplog, logging.DEBUG) == [
        "GET https://example.org/ rejected: breaker_open (upstream example, 0 attempts in 0.0 s: none)"
    ]
    assert (lines(caplog, logging.INFO), lines(caplog, logging.WARNING)) == ([], [])
    clock.advance(15)
    responses.replace("GET", URL, status=200)
    http.get(URL)
    assert lines(caplog, logging.INFO) == ["Breaker of upstream example (example.org) closes: it answers again"]
    assert lines(caplog, logging.WARNING) == []


@override_settings(OUTBOUND_HTTP={"default": {"retry_budget": {"minimum": 0, "ratio": 0}}, **NAMED})
def test_a_retry_that_the_budget_forbids_is_in_the_warning(
    responses: responses_library.RequestsMock, caplog: pytest.LogCaptureFixture
) -> None:
    """The one line about the failed call says that it was not retried, and why."""
    caplog.set_level(logging.DEBUG, "core.http")
    responses.get(URL, status=503)
    http.get(URL)
    (warning,) = lines(caplog, logging.WARNING)
    assert warning.endswith("1 attempt in 0.0 s: 503 in 0.0 s, not retried: budget_exhausted)")


@override_settings(OUTBOUND_HTTP=NAMED)
def test_a_call_refused_at_the_gate_is_a_debug_line(
    responses: responses_library.RequestsMock, caplog: pytest.LogCaptureFixture
) -> None:
    """What one WARNING said (the 429) is not said again for each call that it refuses."""
    responses.get(URL, status=429, headers={"Retry-After": "300"})
    http.get(URL)
    caplog.clear()
    caplog.set_level(logging.DEBUG, "core.http")
    with pytest.raises(RateLimited):
        http.get(URL)
    assert lines(caplog, logging.DEBUG) == [
        "GET https://example.org/ rejected: rate_limited (upstream example, 0 attempts in 0.0 s: none)"
    ]
    assert lines(caplog, logging.WARNING) == []


# The settings


@override_settings(
    OUTBOUND_HTTP={
        "default": {"circuit_breaker": {"failures_in_a_row": 3, "open_for": 2.5}, "retry_budget": None},
        "upstreams": {
            "example": {"hosts": ["example.org"], "circuit_breaker": None, "retry_budget": {"ratio": 0.5}},
            "same": {"hosts": ["example.net"]},
        },
    }
)
def test_breaker_and_budget_in_the_settings() -> None:
    """As dictionaries of their fields, or None; an upstream takes what it does not say from the default."""
    assert outbound_settings.problems() == []
    config = process.current().config
    assert config.default.circuit_breaker == CircuitBreaker(failures_in_a_row=3, open_for=2.5)
    assert config.default.retry_budget is None
    assert config.upstreams["example"].circuit_breaker is None
    assert config.upstreams["example"].retry_budget == RetryBudget(ratio=0.5)
    assert config.upstreams["same"] == config.default


@pytest.mark.parametrize(
    ("part", "given", "message"),
    [
        ("circuit_breaker", 5, "circuit_breaker=5: must be CircuitBreaker(…), or None to switch it off"),
        ("circuit_breaker", False, "circuit_breaker=False: must be CircuitBreaker(…), or None to switch it off"),
        ("circuit_breaker", {"open": 5}, "circuit_breaker has no field 'open'; did you mean 'open_max'?"),
        ("circuit_breaker", {5: 5}, "circuit_breaker has no field 5; known are"),
        ("circuit_breaker", {"failures_in_a_row": 0}, "failures_in_a_row=0: must be a whole number from 1 to 10000"),
        ("circuit_breaker", {"failures_in_a_row": 2.5}, "failures_in_a_row=2.5: must be a whole number"),
        ("circuit_breaker", {"failure_rate": 0}, "failure_rate=0: must be a number above 0, up to 1"),
        ("circuit_breaker", {"failure_rate": float("nan")}, "failure_rate=nan: must be a number"),
        ("circuit_breaker", {"failure_rate": "0.8"}, "failure_rate='0.8': must be a number"),
        ("circuit_breaker", {"minimum_attempts": 0}, "minimum_attempts=0: must be"),
        ("circuit_breaker", {"window": 0.5}, "window=0.5: must be a number of seconds from 1 to 3600"),
        ("circuit_breaker", {"open_for": 0}, "open_for=0: must be a number of seconds above 0"),
        ("circuit_breaker", {"open_max": float("inf")}, "open_max=inf: must be a number of seconds"),
        ("circuit_breaker", {"open_for": 301}, "open_for=301: must not be longer than open_max=300.0"),
        ("retry_budget", [], "retry_budget=[]: must be RetryBudget(…), or None to switch it off"),
        ("retry_budget", {"percent": 20}, "retry_budget has no field 'percent'; known are ratio, minimum, window"),
        ("retry_budget", {"ratio": 20}, "ratio=20: must be a number from 0 to 1"),
        ("retry_budget", {"minimum": -1}, "minimum=-1: must be a whole number from 0"),
        ("retry_budget", {"minimum": True}, "minimum=True: must be a whole number from 0"),
        ("retry_budget", {"window": 0}, "window=0: must be a number of seconds from 1 to 3600"),
    ],
)
@pytest.mark.parametrize("upstream", [False, True])
def test_mistakes_in_the_settings_are_reported(part: str, given: Any, message: str, upstream: bool) -> None:
    """`manage.py check` names the place, the field, the value and what is allowed; nothing is sent before."""
    entry: dict[str, Any] = {part: given}
    setting = {"upstreams": {"a": {"hosts": ["a.test"], **entry}}} if upstream else {"default": entry}
    where = "OUTBOUND_HTTP['upstreams']['a']: " if upstream else "OUTBOUND_HTTP['default']: "
    with override_settings(OUTBOUND_HTTP=setting):
        (problem,) = outbound_settings.problems()
        assert problem.id == "core.http.E002"
        assert problem.message.startswith(where + message)
        assert [error.id for error in check_outbound_http()] == ["core.http.E002"]
        with pytest.raises(ImproperlyConfigured):
            http.get(URL)


EXAMPLE = {"upstreams": {"example": {"hosts": ["example.org"], "retries": 0}}}


def opened(session: ResilientSession, responses: responses_library.RequestsMock) -> None:
    """Open the breaker of example.org, as this session knows it."""
    responses.get(URL, status=503)
    for _ in range(10):
        session.get(URL)


@override_settings(OUTBOUND_HTTP=EXAMPLE)
def test_a_closed_session_takes_its_breakers_out_of_the_metrics(responses: responses_library.RequestsMock) -> None:
    """What a session with a policy of its own knew is given up when it is closed."""
    before = value("breaker_state", upstream="example", state="open")
    session = ResilientSession(policy=Policy(retries=0))
    opened(session, responses)
    assert value("breaker_state", upstream="example", state="open") == (before or 0) + 1
    session.close()
    assert value("breaker_state", upstream="example", state="open") == (before or 0)
    assert session.get(URL).status_code == 503


@override_settings(OUTBOUND_HTTP=EXAMPLE)
def test_new_settings_take_old_breakers_out_of_the_metrics(responses: responses_library.RequestsMock) -> None:
    """Where the process starts afresh, the breakers of before are not counted any more."""
    before = value("breaker_state", upstream="example", state="open")
    opened(ResilientSession(), responses)
    with override_settings(OUTBOUND_HTTP={**EXAMPLE, "default": {"retries": 1}}):
        assert value("breaker_state", upstream="example", state="open") == (before or 0)
        assert value("breaker_state", upstream="example", state="closed") == 1
