"""The argument `timeout` of a call."""

from __future__ import annotations

import io
from typing import Any

import pytest
import requests
import responses as responses_library
from requests.adapters import HTTPAdapter
from urllib3.util import Timeout

from core.http import (
    DeadlineExceeded,
    ResilientSession,
)
from core.http.testing import FakeClock
from tests.core.http.conftest import Metrics, Serve

URL = "https://example.org/"


@pytest.fixture
def sends(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Answer each attempt at once, and note its arguments."""
    seen: list[dict[str, Any]] = []

    def send(self: HTTPAdapter, request: requests.PreparedRequest, stream: bool, *args: Any) -> requests.Response:
        seen.append(dict(zip(("timeout", "verify", "cert", "proxies"), args, strict=True)) | {"stream": stream})
        answer = requests.Response()
        answer.status_code, answer.request, answer.url = 200, request, request.url or ""
        answer.raw = io.BytesIO()
        return answer

    monkeypatch.setattr(HTTPAdapter, "send", send)
    return seen


@pytest.mark.parametrize(
    ("given", "used"),
    [
        (None, 10.0),
        (3, 3),
        (0.5, 0.5),
        (300, 10.0),
        (float("inf"), 10.0),
        ((3, 5), (3, 5)),
        ((3, None), (3, 10.0)),
        ((None, None), (10.0, 10.0)),
        ((300, 5), (10.0, 5)),
    ],
)
def test_timeout_only_shortens(given: Any, used: Any, sends: list[dict[str, Any]], session: ResilientSession) -> None:
    """timeout= is requests' own, within the policy's; None means the policy's."""
    session.get(URL, timeout=given)
    assert [attempt["timeout"] for attempt in sends] == [used]


def test_a_urllib3_timeout_is_bounded_in_all(sends: list[dict[str, Any]], session: ResilientSession) -> None:
    """A urllib3 Timeout keeps its parts, its total is the shorter of its own and the policy's."""
    mine = Timeout(connect=3, read=300)
    session.get(URL, timeout=mine)
    session.get(URL, timeout=Timeout(total=2))
    session.get(URL, timeout=Timeout(total=200))
    first, second, third = (attempt["timeout"] for attempt in sends)
    assert (first.total, first.connect_timeout) == (10, 3)
    first.start_connect()
    assert first.read_timeout <= 10
    assert (second.total, third.total) == (2, 10)
    assert mine.total is None  # the caller's object does not change


@pytest.mark.parametrize("timeout", [3, Timeout(total=3)])
def test_a_total_in_the_timeout_bounds_each_attempt(
    timeout: Any, responses: responses_library.RequestsMock, session: ResilientSession, clock: FakeClock
) -> None:
    """An attempt that its own timeout= ended is a ReadTimeout, even shortly before the deadline."""

    def slow(request: requests.PreparedRequest) -> tuple[int, dict[str, str], str]:
        clock.advance(3)
        raise requests.ReadTimeout

    responses.add_callback("GET", URL, slow)
    with pytest.raises(requests.ReadTimeout) as raised:
        session.get(URL, timeout=timeout)
    assert not isinstance(raised.value, DeadlineExceeded)
    assert len(responses.calls) == 4


@pytest.mark.parametrize(
    "timeout",
    [0, -1, 0.0, True, "soon", (0, 1), (1, -1), (1,), (1, 2, 3), [1, 2], pytest.param(object(), id="object")],
    ids=repr,
)
def test_a_bad_timeout_raises_what_requests_raises(
    timeout: Any, serve: Serve, session: ResilientSession, clock: FakeClock, metrics: Metrics
) -> None:
    """An invalid timeout raises the error of requests, before anything is sent."""
    server = serve()
    with requests.Session() as plain, pytest.raises((ValueError, TypeError)) as expected:
        plain.get(server.url, timeout=timeout)
    with pytest.raises(type(expected.value)) as raised:
        session.get(server.url, timeout=timeout)
    assert str(raised.value) == str(expected.value)
    assert (server.requests, clock.waits) == ([], [])
    assert metrics("active_requests", upstream="other") == 0
