"""ResilientSession follows redirects: their retries, their errors and their common deadline."""

from __future__ import annotations

import pytest
import requests
import responses as responses_library
from pytest_httpserver import HTTPServer

from core.http import DeadlineExceeded, Policy, ResilientAdapter, ResilientSession
from core.http.testing import FakeClock
from tests.core.http.conftest import Serve
from tests.core.http.misbehave import Reply, reply

URL = "https://example.org/"


def test_redirects_are_followed(httpserver: HTTPServer, session: ResilientSession) -> None:
    """Redirects are followed, recorded, and can be declined."""
    httpserver.expect_request("/old").respond_with_data("moved", 301, {"Location": "/new"})
    httpserver.expect_request("/new").respond_with_data("here")
    response = session.get(httpserver.url_for("/old"))
    assert (response.text, [hop.status_code for hop in response.history]) == ("here", [301])
    assert session.get(httpserver.url_for("/old"), allow_redirects=False).text == "moved"


def test_each_hop_is_retried(responses: responses_library.RequestsMock, session: ResilientSession) -> None:
    """A redirect target that fails once is asked again, without asking the first server again."""
    responses.get(f"{URL}old", status=302, headers={"Location": f"{URL}new"})
    responses.get(f"{URL}new", status=503)
    responses.get(f"{URL}new", status=200)
    assert session.get(f"{URL}old").status_code == 200
    assert [call.request.path_url for call in responses.calls] == ["/old", "/new", "/new"]


def test_too_many_redirects_end(httpserver: HTTPServer, session: ResilientSession) -> None:
    """A loop of redirects ends as it does in requests."""
    httpserver.expect_request("/loop").respond_with_data("", 302, {"Location": "/loop"})
    with pytest.raises(requests.TooManyRedirects):
        session.get(httpserver.url_for("/loop"))


@pytest.mark.parametrize(
    "redirect",
    [
        reply(302, b"not gzip", "Content-Encoding: gzip", "Location: /new"),
        reply(302, b"half", "Location: /new", length=9),
        reply(302, b"0" * 2_000, "Location: /new"),
    ],
    ids=["undecodable", "truncated", "too large"],
)
def test_a_broken_body_of_a_redirect_is_dropped(redirect: Reply, serve: Serve) -> None:
    """A broken body of a redirect is ignored."""
    server = serve(redirect, reply(200, b"here"))
    with ResilientSession(Policy(max_response_bytes=1_000)) as session:
        response = session.get(server.url)
    assert (response.content, response.history[0].content) == (b"here", b"")
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    "location", ["http://[bad/", "http://127.0.0.1:99999/", "http://127.0.0.1:x/", "http://", "http:///p", "\xff\xfe"]
)
def test_an_invalid_location_of_a_call_with_credentials(location: str, serve: Serve, session: ResilientSession) -> None:
    """An invalid Location raises a RequestException too when requests compares it with the origin of credentials."""
    server = serve(reply(302, b"", f"Location: {location}"), reply(404))
    try:
        session.get(server.url, auth=("user", "passw0rd"))
    except requests.RequestException:
        return
    assert len(server.requests) == 2, "a Location that makes sense as a path may be followed"


def test_hops_share_the_total_timeout(
    responses: responses_library.RequestsMock, session: ResilientSession, clock: FakeClock
) -> None:
    """All redirects of a call have 60 s together: a hop that begins too late is not sent."""

    def redirect(request: requests.PreparedRequest) -> tuple[int, dict[str, str], str]:
        clock.advance(35)
        return 302, {"Location": f"{request.url}x"}, ""

    responses.add_callback("GET", URL, redirect)
    responses.add_callback("GET", f"{URL}x", redirect)
    with pytest.raises(DeadlineExceeded, match="was not sent"):
        session.get(URL)
    assert clock.now == 70
    assert len(responses.calls) == 2


@pytest.mark.parametrize("first", ["https://example.org/", "https://other.test/"])
def test_hops_through_a_second_adapter_share_the_total_timeout(
    first: str, responses: responses_library.RequestsMock, session: ResilientSession, clock: FakeClock
) -> None:
    """Requests of a redirect through a second resilient adapter share the total timeout."""
    session.mount("https://other.test/", ResilientAdapter())

    def redirect(request: requests.PreparedRequest) -> tuple[int, dict[str, str], str]:
        clock.advance(35)
        there, back = "https://other.test/", "https://example.org/"
        return 302, {"Location": back if (request.url or "").startswith(there) else there}, ""

    responses.add_callback("GET", "https://example.org/", redirect)
    responses.add_callback("GET", "https://other.test/", redirect)
    with pytest.raises(DeadlineExceeded, match="was not sent"):
        session.get(first)
    assert len(responses.calls) == 2


def test_a_retry_of_a_later_hop_stays_within_the_total_timeout(
    responses: responses_library.RequestsMock, session: ResilientSession, clock: FakeClock
) -> None:
    """A Retry-After on the second hop counts from the beginning of the first."""

    def redirect(request: requests.PreparedRequest) -> tuple[int, dict[str, str], str]:
        clock.advance(40)
        return 302, {"Location": f"{URL}x"}, ""

    responses.add_callback("GET", URL, redirect)
    responses.get(f"{URL}x", status=429, headers={"Retry-After": "30"})
    assert session.get(URL).status_code == 429
    assert clock.waits == []


@pytest.mark.parametrize(
    "location",
    ["file:///etc/passwd", "javascript:alert(1)", "data:text/plain,hello", "mailto:user@b.example", "http://./", "//"],
)
def test_an_unsupported_redirect_is_a_request_exception(serve: Serve, session: ResilientSession, location: str) -> None:
    """A redirect to an invalid or unsupported URL raises a RequestException."""
    server = serve(*[reply(302, b"", f"Location: {location}")] * 35)
    with pytest.raises(requests.RequestException):
        session.get(server.url)
