"""Policy.classify: answers whose meaning differs from that of their status."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import requests
import responses as responses_library
from django.test import override_settings

from core import http
from core.http import Policy, RateLimited, ResilientSession, Verdict, process
from core.http.outcome import Reason, Result
from core.http.testing import FakeClock
from tests.core.http.conftest import Serve
from tests.core.http.misbehave import reply

URL = "https://example.org/"
Given = Mapping[str, str]


def always(verdict: Verdict | None) -> Callable[..., Verdict | None]:
    return lambda status, headers, body: verdict


def get(clock: FakeClock, verdict: Verdict | None, **options: Any) -> requests.Response:
    policy = Policy(classify=always(verdict), retries=2, **options)
    return ResilientSession(policy, clock=clock, wait=clock.wait).get(URL)


@pytest.mark.parametrize("status", [200, 403, 429, 503])
@pytest.mark.parametrize(
    ("verdict", "result", "reason", "attempts"),
    [
        (Verdict.success(), Result.SUCCESS, None, 1),
        (Verdict.permanent(), Result.CLIENT_ERROR, None, 1),
        (Verdict.transient(), Result.FAILURE, ..., 3),
        (Verdict.rate_limited(), Result.FAILURE, Reason.HTTP_429, 3),
    ],
)
def test_it_goes_before_the_status(
    status: int,
    verdict: Verdict,
    result: Result,
    reason: Any,
    attempts: int,
    responses: responses_library.RequestsMock,
    clock: FakeClock,
) -> None:
    """The same verdict means the same under every status, the retry statuses included."""
    responses.get(URL, status=status)
    response = get(clock, verdict)
    outcomes = [attempt.outcome for attempt in response.attempts]  # type: ignore[attr-defined]
    assert (response.status_code, len(outcomes), outcomes[0].result) == (status, attempts, result)
    assert reason in (outcomes[0].reason, ...)


@pytest.mark.parametrize(
    ("verdict", "headers", "waits"),
    [
        (Verdict.transient(20), {}, [20, 20]),
        (Verdict.transient(20), {"Retry-After": "7"}, [20, 20]),
        (Verdict.transient(), {"Retry-After": "7"}, [7, 7]),
        (Verdict.rate_limited(20), {}, [20, 20]),
        (Verdict.rate_limited(), {"Retry-After": "7"}, [7, 7]),
    ],
)
def test_its_seconds_go_before_the_headers(
    verdict: Verdict,
    headers: Given,
    waits: list[float],
    responses: responses_library.RequestsMock,
    clock: FakeClock,
) -> None:
    """With seconds it says when to ask again, without them the headers do."""
    responses.get(URL, status=403, headers=dict(headers))
    get(clock, verdict)
    assert clock.waits == waits


def test_a_rate_limit_closes_the_gate_and_says_why(responses: responses_library.RequestsMock, clock: FakeClock) -> None:
    """While the limit lasts, no call is sent, and each refusal has the reason of the verdict."""
    responses.get(URL, status=403)
    verdict = Verdict.rate_limited(600, why="refuses the token: renew it")
    session = ResilientSession(Policy(classify=always(verdict)), clock=clock, wait=clock.wait)
    assert session.get(URL).status_code == 403
    with pytest.raises(RateLimited, match="the upstream refuses the token: renew it"):
        session.get(URL)
    assert len(responses.calls) == 1


def test_a_limit_without_a_time_waits_longer_on_repeats(
    responses: responses_library.RequestsMock, clock: FakeClock
) -> None:
    """Repeated limits without a time double the pause, from one minute, until an answer; concurrent ones count once."""
    verdicts: list[Verdict | None] = [Verdict.rate_limited(60, doubled=True)]
    policy = Policy(classify=lambda *_: verdicts[0], retries=0, total_timeout=10)
    session = ResilientSession(policy, clock=clock, wait=clock.wait)
    responses.get(URL, status=403)
    lasted = []
    for _ in range(3):
        session.get(URL)
        with pytest.raises(RateLimited) as refused:
            session.get(URL)
        response = refused.value.response
        assert response is not None
        lasted.append(int(response.headers["Retry-After"]))
        clock.advance(lasted[-1])
    verdicts[0] = None
    session.get(URL)
    verdicts[0] = Verdict.rate_limited(60, doubled=True)
    session.get(URL)
    with pytest.raises(RateLimited) as refused:
        session.get(URL)
    assert refused.value.response is not None
    assert [*lasted, int(refused.value.response.headers["Retry-After"])] == [60, 120, 240, 60]


def test_it_gets_the_beginning_of_the_body(serve: Serve) -> None:
    """The function gets the beginning of the decoded body, but nothing of a stream, which the caller reads."""
    got: list[bytes | None] = []

    def classify(status: int, headers: Mapping[str, str], body: bytes | None) -> None:
        assert (status, headers["content-length"]) == (200, "100000")
        got.append(body)

    server = serve(reply(200, b"x" * 100_000), reply(200, b"x" * 100_000))
    with ResilientSession(Policy(classify=classify)) as session:
        session.get(server.url)
        session.get(server.url, stream=True).close()
    assert got == [b"x" * 65_536, None]


@pytest.mark.parametrize("wrong", [lambda *_: 1 / 0, lambda *_: "rate limited", lambda: None])
def test_one_that_fails_fails_no_call(
    wrong: Any, responses: responses_library.RequestsMock, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    """The status decides then, and the log names the function; not the body, which its error may quote."""
    responses.get(URL, status=404)
    with caplog.at_level(logging.ERROR, "core.http"):
        assert ResilientSession(Policy(classify=wrong), clock=clock).get(URL).status_code == 404
    (record,) = caplog.records
    assert "classify tests.core.http.test_verdict.<lambda>" in record.getMessage()


def loud(status: int, headers: Mapping[str, str], body: bytes | None) -> Verdict | None:
    """Take every 418 for a reason to come back."""
    return Verdict.transient() if status == 418 else None


@pytest.mark.usefixtures("clock")
def test_settings_name_it_by_its_path(responses: responses_library.RequestsMock) -> None:
    """In settings it is a dotted path, for one upstream or for all."""
    responses.get(URL, status=418)
    path = f"{__name__}.loud"
    setting = {"upstreams": {"tea": {"hosts": ["example.org"], "classify": path, "retries": 1}}}
    with override_settings(OUTBOUND_HTTP=setting):
        assert process.current().config.upstreams["tea"].classify is loud
        http.get(URL)
    assert len(responses.calls) == 2


def test_an_invalid_delay_is_refused() -> None:
    """A negative or infinite delay in a verdict raises an error."""
    for seconds in (-1.0, float("inf"), float("nan")):
        with pytest.raises(ValueError, match=f"seconds={seconds!r}"):
            Verdict.rate_limited(seconds)
