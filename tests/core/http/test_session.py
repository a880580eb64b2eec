"""ResilientSession is a drop-in for requests.Session."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import requests
import responses as responses_library
from pytest_httpserver import HTTPServer
from requests.adapters import HTTPAdapter
from requests.auth import HTTPBasicAuth, HTTPDigestAuth
from requests.utils import default_user_agent
from werkzeug import Request, Response

from core.http import DeadlineExceeded, Policy, ResilientAdapter, ResilientSession, process
from core.http.process import ProcessRegistry
from core.http.registry import Config
from core.http.testing import FakeClock
from tests.core.http.conftest import Metrics, Serve
from tests.core.http.misbehave import Then, reply

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
