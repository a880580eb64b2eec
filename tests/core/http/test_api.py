"""http.get and the other functions, and the exported names of the package."""

from __future__ import annotations

import pytest
import requests
import responses as responses_library
from django.test import override_settings
from pytest_httpserver import HTTPServer

from core import http
from core.http import api, process
from core.http.testing import FakeClock
from tests.core.http.conftest import Serve
from tests.core.http.misbehave import Then, reply

URL = "https://example.org/"


def test_the_public_names_are_exactly_these() -> None:
    """The exported names are exactly these, so that no name is added or removed by accident."""
    assert http.__all__ == [
        "WEB_REQUEST",
        "AttemptTimeout",
        "BlockedAddress",
        "CircuitBreaker",
        "CircuitOpen",
        "DeadlineExceeded",
        "NotSent",
        "Policy",
        "RateLimited",
        "ResilientAdapter",
        "ResilientSession",
        "ResponseTooLarge",
        "RetryBudget",
        "Verdict",
        "delete",
        "get",
        "head",
        "make_resilient",
        "observe",
        "options",
        "patch",
        "post",
        "put",
        "request",
    ]
    assert all(hasattr(http, name) for name in http.__all__)


@pytest.mark.parametrize("method", ["get", "options", "head", "post", "put", "patch", "delete"])
def test_every_function_sends_its_method(method: str, responses: responses_library.RequestsMock) -> None:
    """http.get is a GET, and so on, resilient each."""
    responses.add(method.upper(), URL, status=404)
    assert getattr(http, method)(URL).status_code == 404
    assert http.request(method, URL).status_code == 404
    assert [call.request.method for call in responses.calls] == [method.upper()] * 2


def test_arguments_are_requests_own(responses: responses_library.RequestsMock) -> None:
    """params, data, json and headers work as in requests."""
    for method in ("GET", "POST", "PUT", "PATCH"):
        responses.add(method, URL)
    http.get(URL, {"q": "1"}, headers={"X-Mine": "1"})
    http.post(URL, {"a": "1"})
    http.post(URL, json={"a": 1})
    http.put(URL, b"raw")
    http.patch(URL, b"raw")
    get, form, json, put, patch = (call.request for call in responses.calls)
    assert (get.url, get.headers["X-Mine"]) == (f"{URL}?q=1", "1")
    assert [form.body, json.body, put.body, patch.body] == ["a=1", b'{"a": 1}', b"raw", b"raw"]


def test_head_does_not_follow_redirects(responses: responses_library.RequestsMock) -> None:
    """As in requests, http.head returns the redirect, unless allow_redirects is set."""
    responses.head(URL, status=302, headers={"Location": f"{URL}x"})
    responses.head(f"{URL}x", status=200)
    assert http.head(URL).status_code == 302
    assert http.head(URL, allow_redirects=True).status_code == 200


def test_calls_are_retried(responses: responses_library.RequestsMock, clock: FakeClock) -> None:
    """http.get is as resilient as a session."""
    responses.get(URL, status=503)
    assert http.get(URL).status_code == 503
    assert clock.waits == [1, 2, 4]


def test_connections_are_shared_between_calls(serve: Serve) -> None:
    """Calls one after another use one connection."""
    server = serve(*[reply(200, then=Then.KEEP)] * 3)
    for _ in range(3):
        http.get(server.url)
    assert server.connections == 1


def test_cookies_are_not_shared_between_calls(httpserver: HTTPServer) -> None:
    """Each call has a cookie jar of its own: one user's session id never reaches another's request."""
    httpserver.expect_request("/").respond_with_data("", headers={"Set-Cookie": "id=7; Path=/"})
    assert http.get(httpserver.url_for("/")).cookies["id"] == "7"
    assert "Cookie" not in http.get(httpserver.url_for("/")).request.headers


def test_cookies_survive_a_redirect(httpserver: HTTPServer) -> None:
    """Within a call, a cookie that a redirect sets is sent to its target."""
    moved = {"Location": "/in", "Set-Cookie": "id=7; Path=/"}
    httpserver.expect_request("/").respond_with_data("", 302, moved)
    httpserver.expect_request("/in", headers={"Cookie": "id=7"}).respond_with_data("known")
    assert http.get(httpserver.url_for("/")).text == "known"


def test_a_streamed_body_can_be_read_after_the_call(serve: Serve) -> None:
    """http.get(stream=True) leaves the body to the caller."""
    server = serve(reply(200, b"streamed"))
    with http.get(server.url, stream=True) as response:
        assert b"".join(response.iter_content(3)) == b"streamed"


def test_sessions_made_at_import_time_follow_the_settings(
    responses: responses_library.RequestsMock, clock: FakeClock
) -> None:
    """The upstreams are looked up when a call is sent: a session may be older than the settings."""
    session = http.ResilientSession()
    responses.get(URL, status=503)
    with override_settings(OUTBOUND_HTTP={"default": {"retries": 1}, "user_agent": "changed"}):
        session.get(URL)
        http.get(URL)
        assert clock.waits == [1, 1]
        assert {call.request.headers["User-Agent"] for call in responses.calls} == {"changed"}
    clock.waits.clear()
    session.get(URL)
    assert clock.waits == [1, 2, 4]


def test_the_shared_adapter_belongs_to_all_calls(responses: responses_library.RequestsMock) -> None:
    """Responses name the adapter that sent them; it is one for all calls."""
    responses.get(URL)
    assert api._adapter.poolmanager.connection_pool_kw["maxsize"] >= 100
    assert isinstance(http.get(URL), requests.Response)


def test_a_changed_default_of_requests_is_obeyed(httpserver: HTTPServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A function that replaces requests' default headers after the import is used for every call."""
    process.use(lambda: process.ProcessRegistry(observers=()))
    monkeypatch.setattr(requests.utils, "default_user_agent", lambda: "mine/1.0")
    httpserver.expect_request("/", headers={"User-Agent": "mine/1.0"}).respond_with_data("fine")
    assert http.get(httpserver.url_for("/")).text == "fine"
