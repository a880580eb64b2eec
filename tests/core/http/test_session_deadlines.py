"""Several calls of a session with one deadline."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
import requests
import responses as responses_library
from requests.adapters import HTTPAdapter

from core.http import (
    DeadlineExceeded,
    NotSent,
    Policy,
    RateLimited,
    ResilientAdapter,
    ResilientSession,
)
from core.http.outcome import Reason
from core.http.testing import FakeClock

URL = "https://example.org/"


def taking(seconds: float, clock: FakeClock, status: int = 200) -> Callable[[Any], tuple[int, dict[str, str], str]]:
    """Answer after that many seconds of the fake clock."""

    def answer(_: requests.PreparedRequest) -> tuple[int, dict[str, str], str]:
        clock.advance(seconds)
        return status, {}, ""

    return answer


def test_calls_within_share_a_deadline(
    responses: responses_library.RequestsMock, session: ResilientSession, clock: FakeClock
) -> None:
    """Calls in the block share its deadline; the policy's total timeout does not extend it."""
    responses.add_callback("GET", URL, taking(25, clock))
    with session.within(60):
        for _ in range(3):
            assert session.get(URL).status_code == 200
        with pytest.raises(DeadlineExceeded):
            session.get(URL)
    assert len(responses.calls) == 3
    assert session.get(URL).status_code == 200


def test_retries_within_keep_the_deadline(
    responses: responses_library.RequestsMock, session: ResilientSession, clock: FakeClock
) -> None:
    """A retry that would come after the end of all of them is not waited for."""
    responses.get(URL, status=503)
    with session.within(4):
        assert session.get(URL).status_code == 503
    assert clock.waits == [1, 2]


def test_within_lengthens_nothing(
    responses: responses_library.RequestsMock, session: ResilientSession, clock: FakeClock
) -> None:
    """A call has no more time than its policy gives it."""
    responses.get(URL, status=503, headers={"Retry-After": "100"})
    with session.within(1000):
        assert session.get(URL).status_code == 503
    assert clock.waits == []


def test_within_is_for_its_session(
    responses: responses_library.RequestsMock, session: ResilientSession, clock: FakeClock
) -> None:
    """Another session that is used meanwhile has its own time."""
    responses.add_callback("GET", URL, taking(5, clock))
    with ResilientSession() as other, session.within(5):
        session.get(URL)
        assert other.get(URL).status_code == 200
        with pytest.raises(DeadlineExceeded):
            session.get(URL)


def test_within_goes_by_the_clock_of_the_session(responses: responses_library.RequestsMock, clock: FakeClock) -> None:
    """A session with a clock of its own measures by that."""
    own = FakeClock()
    responses.add_callback("GET", URL, taking(5, own))
    with ResilientSession(clock=own, wait=own.wait) as session, session.within(5):
        clock.advance(1000)
        assert session.get(URL).status_code == 200
        with pytest.raises(DeadlineExceeded):
            session.get(URL)


def test_within_ends_with_an_error_too(
    responses: responses_library.RequestsMock, session: ResilientSession, clock: FakeClock
) -> None:
    """After an error in the block, its deadline no longer applies."""
    responses.add_callback("GET", URL, taking(5, clock))
    with pytest.raises(ZeroDivisionError), session.within(1):
        raise ZeroDivisionError
    assert [session.get(URL).status_code for _ in range(2)] == [200, 200]


def test_the_shorter_of_two_deadlines_holds(
    responses: responses_library.RequestsMock, session: ResilientSession, clock: FakeClock
) -> None:
    """One deadline inside another can only shorten it, and ends with its block."""
    responses.add_callback("GET", URL, taking(5, clock))
    with session.within(20):
        with session.within(5):
            session.get(URL)
            with pytest.raises(DeadlineExceeded):
                session.get(URL)
        session.get(URL)
    assert len(responses.calls) == 2


def test_a_longer_deadline_inside_another_does_not_extend_it(
    responses: responses_library.RequestsMock, session: ResilientSession, clock: FakeClock
) -> None:
    """In a block of 20 s inside one of 5 s, calls have the rest of the 5 s."""
    responses.add_callback("GET", URL, taking(5, clock))
    with session.within(5), session.within(20):
        session.get(URL)
        with pytest.raises(DeadlineExceeded):
            session.get(URL)
    assert len(responses.calls) == 1


def test_the_deadline_of_another_session_in_between_hides_none(
    responses: responses_library.RequestsMock, session: ResilientSession, clock: FakeClock
) -> None:
    """A block of another session inside a session's own block leaves the calls of the first their deadline."""
    responses.add_callback("GET", URL, taking(5, clock))
    with ResilientSession() as other, session.within(5), other.within(50):
        session.get(URL)
        with pytest.raises(DeadlineExceeded):
            session.get(URL)
        assert other.get(URL).status_code == 200


def test_an_adapter_that_is_mounted_twice_is_closed_once(
    session: ResilientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """close() closes each adapter, and none of them twice."""
    closed: list[str] = []
    foreign = HTTPAdapter()
    session.mount("https://plain.test/", foreign)
    monkeypatch.setattr(session.get_adapter(URL), "close", lambda: closed.append("shared"))
    monkeypatch.setattr(foreign, "close", lambda: closed.append("foreign"))
    session.close()
    assert sorted(closed) == ["foreign", "shared"]


def test_a_response_has_its_attempts(session: ResilientSession, responses: responses_library.RequestsMock) -> None:
    """`attempts` has each attempt of the call, with those of its redirects."""
    responses.get(URL, status=503)
    responses.get(URL, status=302, headers={"Location": "/next"})
    responses.get(f"{URL}next", status=404)
    response = session.get(URL)
    assert [attempt.outcome.status for attempt in response.attempts] == [503, 302, 404]  # type: ignore[attr-defined]
    assert [attempt.waited for attempt in response.attempts] == [0, 1, 0]  # type: ignore[attr-defined]
    assert len(response.history[0].attempts) == 2  # type: ignore[attr-defined]
    with pytest.raises(requests.HTTPError) as caught:
        response.raise_for_status()
    assert caught.value.attempts == response.attempts  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("url", "outcomes"),
    [
        (URL, [Reason.CONNECT] * 4),
        ("https://example.org:port/", []),
        ("gopher://example.org/", []),
        ("https://circle.example/", [None] * 4),
    ],
)
def test_an_error_has_its_attempts(
    session: ResilientSession, responses: responses_library.RequestsMock, url: str, outcomes: list[Reason | None]
) -> None:
    """Each error of a session has `attempts`, even if nothing was sent."""
    responses.get(URL, body=requests.ConnectionError())
    responses.get("https://circle.example/", status=302, headers={"Location": "/"})
    session.max_redirects = 3
    with pytest.raises(requests.RequestException) as caught:
        session.get(url)
    assert [attempt.outcome.reason for attempt in caught.value.attempts] == outcomes  # type: ignore[attr-defined]


def test_a_refused_call_has_no_attempts(session: ResilientSession, responses: responses_library.RequestsMock) -> None:
    """A call that the breaker refuses has no attempts; the same except clause works with every driver."""
    responses.get(URL, body=requests.ConnectionError())
    for _ in range(3):
        with suppress(requests.ConnectionError):
            session.get(URL)
    with pytest.raises(NotSent) as caught:
        session.get(URL)
    assert caught.value.attempts == ()


LIMITED = {"Retry-After": "120"}


@pytest.mark.parametrize(("status", "headers"), [(429, LIMITED), (503, LIMITED), (503, {})])
def test_a_refusal_is_caught_like_the_answer(
    session: ResilientSession, responses: responses_library.RequestsMock, status: int, headers: dict[str, str]
) -> None:
    """Code that handles the HTTPError of a 429 or a 503 also handles the refusal of the next call."""
    responses.get(URL, status=status, headers=headers)
    caught: list[Any] = []
    for _ in range(12):
        try:
            session.get(URL).raise_for_status()
        except (requests.HTTPError, requests.Timeout) as exc:
            caught.append(exc)
    refusal = caught[-1]
    assert isinstance(refusal, NotSent)
    assert len(caught) == 12
    assert {exc.response.status_code for exc in caught} == {status, 429 if isinstance(refusal, RateLimited) else 503}
    assert int(refusal.response.headers["Retry-After"]) >= 1


def test_a_refusal_has_a_response_like_any_other(
    session: ResilientSession, responses: responses_library.RequestsMock
) -> None:
    """The response of a refusal has status, URL, request and an empty body, and can be closed."""
    responses.get(URL, status=429, headers=LIMITED)
    session.get(URL)
    with pytest.raises(requests.ConnectionError) as caught:
        session.get(URL, headers={"Authorization": "s3cret"})
    error = caught.value
    response = error.response
    assert response is not None
    assert error.request is response.request
    assert (response.status_code, response.reason, response.url) == (429, "Too Many Requests", URL)
    assert 119 <= int(response.headers["Retry-After"]) <= 120
    assert (response.content, response.text, response.ok, list(response.iter_content())) == (b"", "", False, [])
    assert (response.elapsed.total_seconds(), response.history, response.attempts) == (0, [], ())  # type: ignore[attr-defined]
    response.close()
    for copied in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert (type(copied), str(copied), copied.attempts) == (type(error), str(error), ())  # type: ignore[attr-defined]
        assert copied.retry_at == error.retry_at  # type: ignore[attr-defined]
        assert copied.response.headers == response.headers
        assert (copied.response.status_code, copied.response.url) == (429, URL)
        assert "s3cret" not in repr((vars(copied), vars(copied.request), vars(copied.response)))
    assert b"s3cret" not in pickle.dumps(error)


def test_an_adapter_on_another_session_answers_too(responses: responses_library.RequestsMock) -> None:
    """The refusal has its response whichever session the adapter is mounted on."""
    foreign = requests.Session()
    foreign.mount("https://", ResilientAdapter())
    responses.get(URL, status=429, headers=LIMITED)
    foreign.get(URL)
    with pytest.raises(requests.HTTPError) as caught:
        foreign.get(URL)
    assert caught.value.response.status_code == 429


def test_without_the_gate_every_call_is_sent(responses: responses_library.RequestsMock) -> None:
    """With `rate_limit_gate=False`, the Retry-After of one call does not delay others."""
    responses.get(URL, status=429, headers=LIMITED)
    with ResilientSession(Policy(rate_limit_gate=False)) as session:
        assert [session.get(URL).status_code for _ in range(4)] == [429] * 4
    assert len(responses.calls) == 4


def test_a_refused_redirect_names_the_hop(session: ResilientSession, responses: responses_library.RequestsMock) -> None:
    """The response made for a refusal has the URL that was not asked, not the one that led there."""
    responses.get("https://limited.example/", status=429, headers=LIMITED)
    responses.get(URL, status=302, headers={"Location": "https://limited.example/"})
    assert session.get("https://limited.example/").status_code == 429
    with pytest.raises(RateLimited) as caught:
        session.get(URL)
    assert caught.value.response.url == "https://limited.example/"  # type: ignore[attr-defined]
