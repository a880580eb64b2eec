"""The tools that other people test with see each attempt."""

from __future__ import annotations

import errno
import http.client as http_client
import socket
import ssl
from collections.abc import Callable, Iterator
from http import HTTPStatus
from pathlib import Path
from unittest import mock

import pook
import pytest
import requests
import requests_mock
import responses as responses_library
import urllib3
import vcr
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from core import http
from core.http import ResilientSession
from core.http.testing import FakeClock
from tests.core.http.conftest import Metrics

URL = "https://example.org/"
Get = Callable[[str], requests.Response]


@pytest.fixture(params=["http.get", "session"])
def get(request: pytest.FixtureRequest) -> Iterator[Get]:
    if request.param == "http.get":
        yield http.get
    else:
        with ResilientSession() as session:
            yield session.get


@pytest.fixture
def flaky(httpserver: HTTPServer) -> tuple[str, list[str]]:
    """Start a server that fails twice before it answers; the list has its answers so far."""
    said: list[str] = []

    def answer(request: Request) -> Response:
        said.append("busy" if len(said) < 2 else "fine")
        return Response(said[-1], HTTPStatus.SERVICE_UNAVAILABLE if said[-1] == "busy" else HTTPStatus.OK)

    httpserver.expect_request("/").respond_with_handler(answer)
    return httpserver.url_for("/"), said


def test_responses_sees_each_attempt(get: Get, clock: FakeClock) -> None:
    """`responses` answers every attempt from its registry, one after the other."""
    with responses_library.RequestsMock() as mocked:
        mocked.get(URL, status=503)
        mocked.get(URL, body=requests.ConnectionError())
        mocked.get(URL, body="fine")
        assert get(URL).text == "fine"
        assert len(mocked.calls) == 3
    assert clock.waits == [1, 2]


def test_responses_refuses_unregistered_urls(get: Get, clock: FakeClock) -> None:
    """Under `responses`, unregistered URLs raise ConnectionError, and nothing is sent to the network."""
    with responses_library.RequestsMock(), pytest.raises(requests.ConnectionError, match="Connection refused by Resp"):
        get(URL)


@responses_library.activate
def test_responses_works_as_a_decorator() -> None:
    """As a decorator too, and on sessions older than the test."""
    responses_library.get(URL, status=503)
    assert http.get(URL).status_code == 503
    assert len(responses_library.calls) == 4


def test_mock_patch_sees_each_attempt(get: Get, clock: FakeClock) -> None:
    """mock.patch on HTTPAdapter.send replaces each attempt."""
    answers = [requests.Response(), requests.Response()]
    for answer, status in zip(answers, (503, 200), strict=True):
        answer.status_code = status
        answer.raw = mock.Mock(stream=lambda *args, **kwargs: iter([b"body"]), headers={}, _original_response=None)
    with mock.patch("requests.adapters.HTTPAdapter.send", side_effect=answers) as send:
        response = get(URL)
    assert (response.status_code, response.content) == (200, b"body")
    assert send.call_count == 2
    assert clock.waits == [1]


def test_mock_patch_may_raise(get: Get) -> None:
    """A side_effect that raises is an attempt that failed."""
    with (
        mock.patch("requests.adapters.HTTPAdapter.send", side_effect=requests.ConnectTimeout) as send,
        pytest.raises(requests.ConnectTimeout),
    ):
        get(URL)
    assert send.call_count == 4


@pytest.mark.parametrize(
    ("error", "attempts"),
    [
        (ConnectionResetError("reset"), 4),
        (TimeoutError("late"), 4),
        (socket.gaierror(socket.EAI_AGAIN, "later"), 4),
        (socket.gaierror(socket.EAI_NONAME, "no such name"), 1),
        (OSError(errno.EHOSTUNREACH, "unreachable"), 4),
        (ssl.SSLEOFError("broken off"), 4),
        (http_client.RemoteDisconnected("closed"), 4),
        (urllib3.exceptions.ProtocolError("broken"), 4),
        (urllib3.exceptions.LocationParseError("nowhere"), 4),
    ],
    ids=lambda value: type(value).__name__,
)
def test_mocks_may_raise_errors_of_the_network(error: Exception, attempts: int, session: ResilientSession) -> None:
    """An OSError of a mock is retried, and raised as the error that requests makes of it."""
    with responses_library.RequestsMock() as mocked:
        mocked.get(URL, body=error)
        with pytest.raises(requests.ConnectionError) as raised:
            session.get(URL)
        assert len(mocked.calls) == attempts
    assert isinstance(raised.value, requests.exceptions.SSLError) is isinstance(error, ssl.SSLError)
    assert raised.value.__cause__ is error


@pytest.mark.parametrize(
    "error",
    [
        requests.exceptions.ProxyError("x"),
        requests.exceptions.InvalidURL("x"),
        AssertionError("x"),
        ValueError("x"),
        RuntimeError("x"),
        FileNotFoundError(errno.ENOENT, "x"),
        OSError("x"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_mocks_may_raise_anything_else(error: Exception, session: ResilientSession) -> None:
    """Errors of requests, and those that no network raises, leave a session as they are."""
    with responses_library.RequestsMock() as mocked:
        mocked.get(URL, body=error)
        with pytest.raises(type(error)) as raised:
            session.get(URL)
    assert raised.value is error


def test_httpserver_sees_each_attempt(get: Get, flaky: tuple[str, list[str]]) -> None:
    """pytest-httpserver is asked as often as the policy says."""
    url, said = flaky
    assert get(url).text == "fine"
    assert said == ["busy", "busy", "fine"]


def test_vcr_records_and_replays_each_attempt(
    get: Get, flaky: tuple[str, list[str]], tmp_path: Path, clock: FakeClock, metrics: Metrics
) -> None:
    """A cassette holds every attempt, and replays them without the server."""
    url, said = flaky
    recorder = vcr.VCR(cassette_library_dir=str(tmp_path))
    with recorder.use_cassette("flaky.yaml") as recorded:
        assert get(url).text == "fine"
        assert len(recorded) == 3
    assert said == ["busy", "busy", "fine"]
    with recorder.use_cassette("flaky.yaml", record_mode="none") as replayed:
        assert get(url).text == "fine"
        assert replayed.play_count == 3
        assert replayed.all_played
    assert said == ["busy", "busy", "fine"]
    assert clock.waits == [1, 2] * 2


def test_pook_sees_each_attempt(get: Get, clock: FakeClock) -> None:
    """Under pook every attempt is answered, and counted by its mock."""
    with pook.use():
        busy = pook.get(URL).times(2).reply(503).mock
        fine = pook.get(URL).reply(200).body("fine").mock
        assert get(URL).text == "fine"
        assert (busy.calls, fine.calls) == (2, 1)
    assert clock.waits == [1, 2]


def test_requests_mock_replaces_the_adapter(get: Get, clock: FakeClock, metrics: Metrics) -> None:
    """requests-mock swaps the adapter itself, so under it nothing of ours runs: no retry, no count."""
    with requests_mock.Mocker() as mocker:
        mocker.get(URL, [{"status_code": 503}, {"status_code": 200}])
        assert get(URL).status_code == 503
        assert mocker.call_count == 1
    assert clock.waits == []
    assert metrics("calls_total", upstream="other", outcome="failure", reason="http_5xx") == 0
