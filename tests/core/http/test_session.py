"""ResilientSession is a drop-in for requests.Session."""

from __future__ import annotations

import copy
import pickle
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.request import ProxyHandler, build_opener

import pytest
import requests
import responses as responses_library
from pytest_httpserver import HTTPServer
from requests.adapters import HTTPAdapter
from requests.auth import HTTPBasicAuth, HTTPDigestAuth
from requests.utils import default_user_agent
from werkzeug import Request, Response

from core.http import (
    DeadlineExceeded,
    Policy,
    ResilientAdapter,
    ResilientSession,
    process,
)
from core.http.process import ProcessRegistry
from core.http.registry import Config
from core.http.testing import FakeClock
from tests.core.http.conftest import Metrics, Serve
from tests.core.http.misbehave import Reply, Then, reply

URL = "https://example.org/"


def use(config: Config) -> None:
    process.use(lambda: ProcessRegistry(config, observers=()))


def test_it_is_a_session() -> None:
    """Code that asks for a requests.Session is content."""
    assert isinstance(ResilientSession(), requests.Session)


def test_https_and_http_are_resilient() -> None:
    """Both schemes go through the adapter; other mounts remain possible."""
    session = ResilientSession()
    assert isinstance(session.get_adapter("http://a.test/"), ResilientAdapter)
    assert isinstance(session.get_adapter("https://a.test/"), ResilientAdapter)
    plain = HTTPAdapter()
    session.mount("https://plain.test/", plain)
    assert session.get_adapter("https://plain.test/x") is plain


@pytest.mark.parametrize("method", ["get", "options", "head", "post", "put", "patch", "delete"])
def test_every_method_works(method: str, httpserver: HTTPServer, session: ResilientSession) -> None:
    """Each method of a session sends that method."""
    httpserver.expect_request("/", method=method.upper()).respond_with_data("", headers={"X-Seen": method})
    assert getattr(session, method)(httpserver.url_for("/")).headers["X-Seen"] == method


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


@pytest.mark.parametrize("auth", [None, ("user", "passw0rd")], ids=["anonymous", "with credentials"])
@pytest.mark.parametrize(
    "location", ["http://[bad/", "http://127.0.0.1:99999/", "http://127.0.0.1:x/", "http://", "http:///p", "\xff\xfe"]
)
def test_an_invalid_location_is_a_request_exception(
    location: str, auth: tuple[str, str] | None, serve: Serve, session: ResilientSession
) -> None:
    """Any invalid Location raises a RequestException."""
    server = serve(reply(302, b"", f"Location: {location}"), reply(404))
    try:
        session.get(server.url, auth=auth)
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


def test_calls_one_after_another_have_their_own_time(
    responses: responses_library.RequestsMock, session: ResilientSession, clock: FakeClock
) -> None:
    """The deadline of a call ends with it; the next call of the session starts anew."""

    def slow(request: requests.PreparedRequest) -> tuple[int, dict[str, str], str]:
        clock.advance(50)
        return 200, {}, ""

    responses.add_callback("GET", URL, slow)
    assert [session.get(URL).status_code for _ in range(3)] == [200] * 3


def test_a_hook_that_calls_another_session_does_not_spend_its_time(
    responses: responses_library.RequestsMock, clock: FakeClock
) -> None:
    """A call made from within a hook, through a session of its own, has a deadline of its own."""

    def slow(request: requests.PreparedRequest) -> tuple[int, dict[str, str], str]:
        clock.advance(40)
        return 200, {}, ""

    responses.add_callback("GET", URL, slow)
    inner, statuses = ResilientSession(), []

    def call(response: requests.Response, **_: Any) -> None:
        statuses.append(inner.get(URL).status_code)

    with ResilientSession() as session:
        session.get(URL, hooks={"response": call})
    assert statuses == [200]


def test_a_hook_that_calls_a_foreign_session_goes_by_that_ones_clock(
    responses: responses_library.RequestsMock, clock: FakeClock
) -> None:
    """A deadline on one session's clock means nothing to an adapter that goes by another."""
    responses.get(URL)
    clock.advance(1_000)
    statuses = []
    with requests.Session() as foreign, ResilientSession(clock=FakeClock()) as session:
        foreign.mount("https://", ResilientAdapter())
        session.get(URL, hooks={"response": lambda *_, **__: statuses.append(foreign.get(URL).status_code)})
    assert statuses == [200]


DIGEST = 'Digest realm="r", nonce="n", qop="auth"'


def test_digest_authentication_works(httpserver: HTTPServer, session: ResilientSession) -> None:
    """The second, authenticated request of digest authentication is made, and retried, like any other."""
    answers = iter([Response(status=401, headers={"WWW-Authenticate": DIGEST}), Response(status=503), Response("in")])
    seen = []

    def answer(request: Request) -> Response:
        seen.append(request.headers.get("Authorization", "")[:6])
        return next(answers)

    httpserver.expect_request("/").respond_with_handler(answer)
    assert session.get(httpserver.url_for("/"), auth=HTTPDigestAuth("user", "passw0rd")).text == "in"
    assert seen == ["", "Digest", "Digest"]


def test_digest_authentication_shares_the_deadline(
    responses: responses_library.RequestsMock, session: ResilientSession, clock: FakeClock
) -> None:
    """The second request of digest authentication ends at the deadline of the call."""

    def challenge(request: requests.PreparedRequest) -> tuple[int, dict[str, str], str]:
        clock.advance(61)
        return 401, {"WWW-Authenticate": DIGEST}, ""

    responses.add_callback("GET", URL, challenge)
    with pytest.raises(DeadlineExceeded):
        session.get(URL, auth=HTTPDigestAuth("user", "passw0rd"))
    assert len(responses.calls) == 1


def test_basic_authentication_stays_with_its_host(
    responses: responses_library.RequestsMock, session: ResilientSession
) -> None:
    """Credentials are sent on every attempt, and not to the host that a redirect leads to."""
    responses.get(URL, status=503)
    responses.get(URL, status=302, headers={"Location": "https://elsewhere.test/"})
    responses.get("https://elsewhere.test/", status=200)
    session.get(URL, auth=HTTPBasicAuth("user", "passw0rd"))
    sent = [call.request.headers.get("Authorization") for call in responses.calls]
    assert sent[0] == sent[1]
    assert sent[0].startswith("Basic ")
    assert sent[2] is None


def test_cookies_are_kept(httpserver: HTTPServer, session: ResilientSession) -> None:
    """A session keeps the cookies of its answers and sends them back."""
    httpserver.expect_request("/in").respond_with_data("", headers={"Set-Cookie": "id=7; Path=/"})
    httpserver.expect_request("/", headers={"Cookie": "id=7"}).respond_with_data("known")
    session.get(httpserver.url_for("/in"))
    assert session.cookies["id"] == "7"
    assert session.get(httpserver.url_for("/")).text == "known"


def test_hooks_see_the_final_response(responses: responses_library.RequestsMock, session: ResilientSession) -> None:
    """A response hook runs once for a call, with the returned response; its errors are raised unchanged."""
    responses.get(URL, status=503)
    responses.get(URL, status=200)
    seen = []

    def hook(response: requests.Response, **_: Any) -> None:
        seen.append(response.status_code)
        raise LookupError("the hook's own")

    with pytest.raises(LookupError, match="the hook's own"):
        session.get(URL, hooks={"response": hook})
    assert seen == [200]


class Proxy(BaseHTTPRequestHandler):
    """Forwards GET requests, and notes them."""

    seen: list[tuple[str, str | None]]

    def do_GET(self) -> None:
        self.seen.append((self.path, self.headers.get("Proxy-Authorization")))
        with build_opener(ProxyHandler({})).open(self.path, timeout=5) as answer:
            body = answer.read()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_CONNECT(self) -> None:
        self.seen.append((self.path, self.headers.get("Proxy-Authorization")))
        self.send_error(503 if len(self.seen) == 1 else 403)

    def log_message(self, *args: Any) -> None:
        """Stay silent."""


@pytest.fixture
def proxy() -> Iterator[tuple[str, list[tuple[str, str | None]]]]:
    class Handler(Proxy):
        seen: list[tuple[str, str | None]] = []  # noqa: RUF012 - one for each test

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"127.0.0.1:{server.server_port}", Handler.seen
        server.shutdown()
        thread.join()


def test_a_proxy_is_used(
    proxy: tuple[str, list[tuple[str, str | None]]], serve: Serve, session: ResilientSession
) -> None:
    """proxies= sends plain HTTP through the proxy, with the proxy's credentials."""
    address, seen = proxy
    server = serve(reply(200, b"through"))
    response = session.get(f"{server.url}/x", proxies={"http": f"http://user:passw0rd@{address}"})
    assert response.content == b"through"
    assert seen == [(f"{server.url}/x", "Basic dXNlcjpwYXNzdzByZA==")]


def test_a_proxy_of_the_environment_is_used(
    proxy: tuple[str, list[tuple[str, str | None]]],
    serve: Serve,
    session: ResilientSession,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Proxies that the environment names are honoured, unless trust_env is off."""
    address, seen = proxy
    server = serve(reply(200), reply(200))
    monkeypatch.setenv("http_proxy", f"http://{address}")
    session.get(server.url)
    assert seen == []
    session.trust_env = True
    session.get(server.url)
    assert [path for path, _ in seen] == [f"{server.url}/"]


def test_a_proxy_that_is_busy_is_tried_again_and_one_that_refuses_is_not(
    proxy: tuple[str, list[tuple[str, str | None]]], session: ResilientSession, clock: FakeClock
) -> None:
    """A tunnel refused with 503 may come about later; with 403 it never will."""
    address, seen = proxy
    with pytest.raises(requests.exceptions.ProxyError):
        session.post("https://tunnelled.invalid/", proxies={"https": f"http://{address}"})
    assert [path for path, _ in seen] == ["tunnelled.invalid:443"] * 2
    assert clock.waits == [1]


def test_a_proxy_that_is_down_is_tried_again(closed_port: str, session: ResilientSession, clock: FakeClock) -> None:
    """A proxy that refuses connections is a ProxyError, after four attempts, for a POST too."""
    with pytest.raises(requests.exceptions.ProxyError):
        session.post("http://behind.invalid/", proxies={"http": f"http://{closed_port}"})
    assert clock.waits == [1, 2, 4]


COPIES: list[Callable[[ResilientSession], ResilientSession]] = [
    lambda session: pickle.loads(pickle.dumps(session)),
    copy.deepcopy,
    copy.copy,
]


@pytest.mark.parametrize("duplicate", COPIES, ids=["pickled", "deep copy", "copy"])
@pytest.mark.parametrize("policy", [None, Policy(retries=1)], ids=["process", "own policy"])
def test_sessions_pickle_and_copy(
    policy: Policy | None,
    duplicate: Callable[[ResilientSession], ResilientSession],
    responses: responses_library.RequestsMock,
    clock: FakeClock,
) -> None:
    """A copy has the headers, cookies and policy of the original, and works."""
    responses.get(URL, status=503)
    original = ResilientSession(policy)
    original.headers["X-Mine"] = "1"
    original.cookies.set("id", "7")
    with duplicate(original) as session:
        assert session.get(URL).status_code == 503
    assert clock.waits == ([1, 2, 4] if policy is None else [1])
    assert responses.calls[0].request.headers["X-Mine"] == "1"
    assert responses.calls[0].request.headers["Cookie"] == "id=7"


def test_a_session_with_a_policy_follows_it_everywhere(
    responses: responses_library.RequestsMock, clock: FakeClock
) -> None:
    """A policy of one's own holds for every host, named by the settings or not."""
    use(Config(upstreams={"example": Policy(retries=0)}, hosts={"example.org": "example"}))
    responses.get(URL, status=503)
    with ResilientSession(Policy(retries=2)) as session:
        session.get(URL)
    assert clock.waits == [1, 2]


def test_clock_wait_and_random_can_be_passed(responses: responses_library.RequestsMock, clock: FakeClock) -> None:
    """A session uses the clock, the wait and the random function that are passed to it."""
    responses.get(URL, status=503)
    mine, waited = FakeClock(), []

    def wait(seconds: float) -> None:
        waited.append(seconds)
        mine.advance(seconds)

    policy = Policy(retries=2, jitter=0.5)
    with ResilientSession(policy, clock=mine, wait=wait, random=lambda: 0.5) as session:
        session.get(URL)
    assert waited == [1.25, 2.5]
    assert clock.now == 0


def test_wait_alone_can_be_handed_in(responses: responses_library.RequestsMock, clock: FakeClock) -> None:
    """A session that only waits in its own way goes by the process's clock."""
    responses.get(URL, status=503)
    waited = []

    def wait(seconds: float) -> None:
        waited.append(seconds)
        clock.advance(seconds)

    with ResilientSession(wait=wait) as session:
        session.get(URL)
    assert waited == [1, 2, 4]
    assert clock.waits == []


def test_the_configured_user_agent_replaces_requests_own(responses: responses_library.RequestsMock) -> None:
    """The User-Agent of the settings is sent; one that the caller chose, for a session or a call, is left alone."""
    use(Config(user_agent="example.org (+https://example.org/about)"))
    responses.get(URL)
    with ResilientSession() as session:
        session.get(URL)
        session.get(URL, headers={"User-Agent": "the call's"})
        session.headers["User-Agent"] = "the session's"
        session.get(URL)
        del session.headers["User-Agent"]
        session.get(URL)
    sent = [call.request.headers.get("User-Agent") for call in responses.calls]
    assert sent == ["example.org (+https://example.org/about)", "the call's", "the session's", None]


def test_without_configuration_the_user_agent_is_requests_own(responses: responses_library.RequestsMock) -> None:
    """Without a configured User-Agent, that of requests is sent."""
    use(Config())
    responses.get(URL)
    with ResilientSession() as session:
        session.get(URL)
    assert responses.calls[0].request.headers["User-Agent"] == default_user_agent()


def test_elapsed_includes_retries(responses: responses_library.RequestsMock, session: ResilientSession) -> None:
    """Response.elapsed is there, and is that of the whole call."""
    responses.get(URL, status=503)
    assert session.get(URL).elapsed.total_seconds() > 0


def test_a_session_used_after_close_still_works(serve: Serve, session: ResilientSession) -> None:
    """As in requests: close() drops the connections, the next call opens new ones."""
    server = serve(reply(200, then=Then.KEEP), reply(200))
    session.get(server.url)
    session.close()
    assert session.get(server.url).ok
    assert server.connections == 2


def test_an_interrupted_call_leaves_no_deadline_behind(
    responses: responses_library.RequestsMock, session: ResilientSession, clock: FakeClock, metrics: Metrics
) -> None:
    """After a call that failed, the next one of the same thread has its whole time."""
    responses.get(URL, body=requests.ConnectionError())
    with pytest.raises(requests.ConnectionError):
        session.get(URL)
    clock.advance(100)
    with pytest.raises(requests.ConnectionError):
        session.get(URL)
    assert clock.waits == [1, 2, 4] * 2


@pytest.mark.parametrize(
    "location",
    ["file:///etc/passwd", "javascript:alert(1)", "data:text/plain,hello", "mailto:user@b.example", "http://./", "//"],
)
def test_an_unsupported_redirect_is_a_request_exception(serve: Serve, session: ResilientSession, location: str) -> None:
    """A redirect to an invalid or unsupported URL raises a RequestException."""
    server = serve(*[reply(302, b"", f"Location: {location}")] * 35)
    with pytest.raises(requests.RequestException):
        session.get(server.url)
