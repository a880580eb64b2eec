"""The deadlines of an attempt and of a call, on a clock of the test."""

from __future__ import annotations

import pytest
import requests
import responses as responses_library

from core.http import (
    DeadlineExceeded,
    Policy,
    ResilientSession,
)
from core.http.testing import FakeClock
from tests.core.http.conftest import Metrics, Serve
from tests.core.http.misbehave import HOLD, Then, reply

URL = "https://example.org/"


IMPATIENT = Policy(attempt_timeout=0.1)


def test_an_attempt_that_times_out_is_tried_again(serve: Serve) -> None:
    """A server that does not answer within attempt_timeout is asked again."""
    server = serve(HOLD, reply(200, b"fine"))
    clock = FakeClock()
    with ResilientSession(IMPATIENT, clock=clock, wait=clock.wait) as session:
        assert session.get(server.url).content == b"fine"
    assert clock.waits == [1]


def test_a_body_that_stalls_is_tried_again(serve: Serve) -> None:
    """The time limit holds in the body too."""
    server = serve(reply(200, b"begun", length=10, then=Then.HOLD), reply(200, b"fine"))
    clock = FakeClock()
    with ResilientSession(IMPATIENT, clock=clock, wait=clock.wait) as session:
        assert session.get(server.url).content == b"fine"


def test_an_attempt_that_times_out_is_a_read_timeout(serve: Serve) -> None:
    """The last attempt's timeout is requests' own error, not a DeadlineExceeded: there was time left."""
    server = serve(HOLD)
    with (
        ResilientSession(Policy(retries=0, attempt_timeout=0.1)) as session,
        pytest.raises(requests.ReadTimeout) as raised,
    ):
        session.get(server.url)
    assert not isinstance(raised.value, DeadlineExceeded | requests.ConnectionError)


def test_a_body_that_times_out_is_a_connection_error(serve: Serve) -> None:
    """The error for a body that stalls is a ConnectionError, as in requests."""
    server = serve(reply(200, b"begun", length=10, then=Then.HOLD))
    with (
        ResilientSession(Policy(retries=0, attempt_timeout=0.1)) as session,
        pytest.raises(requests.ConnectionError),
    ):
        session.get(server.url)


def test_a_timeout_does_not_end_another_stream(serve: Serve) -> None:
    """A caller that keeps the error of a timeout can continue to read a response that it streams."""
    server = serve(reply(200, bytes(10**6)), HOLD)
    with ResilientSession(Policy(retries=0)) as session:
        stream = session.get(server.url, stream=True)
        with pytest.raises(requests.ReadTimeout) as raised:
            session.get(server.url, timeout=0.1)
        assert len(stream.content) == 10**6
        del raised


def test_the_total_timeout_covers_attempts_and_delays(
    responses: responses_library.RequestsMock, clock: FakeClock
) -> None:
    """Attempts of 3 s and delays of 1, 2 … s fit into 10 s twice; the retry that would not fit is not made."""

    def slow(request: requests.PreparedRequest) -> tuple[int, dict[str, str], str]:
        clock.advance(3)
        return 503, {}, "busy"

    responses.add_callback("GET", URL, slow)
    with ResilientSession(Policy(attempt_timeout=5, total_timeout=9)) as session:
        assert session.get(URL).status_code == 503
    assert clock.waits == [1]
    assert clock.now == 7


def test_the_attempt_that_the_total_timeout_cuts_off_raises_deadline_exceeded(
    responses: responses_library.RequestsMock, clock: FakeClock
) -> None:
    """DeadlineExceeded is a ReadTimeout, has the attempt's error as its cause, and names no path or query."""

    def fail_slowly(request: requests.PreparedRequest) -> tuple[int, dict[str, str], str]:
        clock.advance(4)
        raise requests.ReadTimeout("too slow")

    responses.add_callback("GET", URL, fail_slowly)
    with (
        ResilientSession(Policy(attempt_timeout=6, total_timeout=9)) as session,
        pytest.raises(DeadlineExceeded, match=r"^GET to example.org was cut off: the total timeout expired$") as raised,
    ):
        session.get(f"{URL}?token=s3cret")
    assert isinstance(raised.value, requests.ReadTimeout)
    assert isinstance(raised.value.__cause__, requests.ReadTimeout)
    assert raised.value.request is not None
    assert (raised.value.reached, raised.value.received) == ("", 0)  # a mock has no stages


def test_a_shorter_connect_timeout_is_no_deadline(responses: responses_library.RequestsMock, clock: FakeClock) -> None:
    """If the caller's connect timeout ended the last attempt, the error is a connect timeout, not a deadline."""

    def give_up_connecting(request: requests.PreparedRequest) -> tuple[int, dict[str, str], str]:
        clock.advance(0.5)
        raise requests.ConnectTimeout("no connection in 0.5 s")

    responses.add_callback("GET", URL, give_up_connecting)
    with (
        ResilientSession(Policy(retries=1, attempt_timeout=10, total_timeout=10)) as session,
        pytest.raises(requests.ConnectTimeout),
    ):
        session.get(URL, timeout=(0.5, 10))
    assert clock.now == 2


def test_the_total_timeout_is_per_hop_on_a_foreign_session(
    responses: responses_library.RequestsMock, foreign: requests.Session, clock: FakeClock
) -> None:
    """On a plain session with the adapter, each request of a redirect has the total timeout, as documented."""
    follow_slow_redirects(responses, clock, seconds=45)
    assert foreign.get(f"{URL}0").status_code == 200
    assert clock.now == 90


def follow_slow_redirects(responses: responses_library.RequestsMock, clock: FakeClock, seconds: float) -> None:
    def redirect(request: requests.PreparedRequest) -> tuple[int, dict[str, str], str]:
        clock.advance(seconds)
        return (302, {"Location": f"{URL}1"}, "") if request.path_url == "/0" else (200, {}, "there")

    responses.add_callback("GET", f"{URL}0", redirect)
    responses.add_callback("GET", f"{URL}1", redirect)


def test_a_retry_after_is_waited_for(
    responses: responses_library.RequestsMock, session: ResilientSession, clock: FakeClock, metrics: Metrics
) -> None:
    """The server says when to come back, and that is when the call comes back."""
    responses.get(URL, status=429, headers={"Retry-After": "20"})
    responses.get(URL, status=200)
    assert session.get(URL).status_code == 200
    assert clock.waits == [20]
    assert metrics("backoff_seconds_total", upstream="other", source="retry_after") == 20


def test_a_retry_after_beyond_the_deadline_returns_the_response(
    responses: responses_library.RequestsMock, session: ResilientSession, clock: FakeClock, metrics: Metrics
) -> None:
    """A 429 that asks for an hour is the answer, at once, and counted as a retry that the deadline forbade."""
    responses.get(URL, status=429, headers={"Retry-After": "3600"})
    response = session.get(URL)
    assert (response.status_code, response.headers["Retry-After"]) == (429, "3600")
    assert clock.waits == []
    assert metrics("retries_suppressed_total", upstream="other", reason="deadline") == 1


def test_a_wait_that_takes_too_long_ends_with_the_last_answer(
    responses: responses_library.RequestsMock, clock: FakeClock
) -> None:
    """If the process was suspended during a wait, the call returns its last answer."""
    responses.get(URL, status=503)
    with ResilientSession(wait=lambda _: clock.advance(1000)) as session:
        assert session.get(URL).status_code == 503
    assert len(responses.calls) == 1
