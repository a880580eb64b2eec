"""Each example of docs/client-libraries.md, run unchanged with the real package."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import ExitStack
from email.utils import formatdate
from importlib.metadata import version
from pathlib import Path
from typing import Any
from unittest import mock

import github3
import pypistats
import pytest
import requests
import requests_cache
import responses as responses_library
import urllib3
from cachecontrol import CacheControl
from github import GithubException
from github.Requester import Requester
from gitlab import Gitlab, GitlabHttpError
from prometheus_client import REGISTRY

from core import http
from core.http import requests as facade
from core.http.testing import FakeClock, OutboundHTTP
from tests.core.http.misbehave import MisbehavingServer, Reply, reply
from tests.pages import examples

PAGE = Path(__file__).parents[2] / "docs" / "client-libraries.md"
NAMES = (
    "make_resilient",
    "github3",
    "PyGithub",
    "python-gitlab",
    "requests-oauthlib",
    "CacheControl",
    "requests-cache",
    "pypistats",
    "boto3",
)
EXAMPLES = dict(zip(NAMES, examples("client-libraries.md"), strict=True))
URL = "https://api.example.org/me"
LATER = {"Retry-After": "5"}


def run(name: str) -> dict[str, Any]:
    """Run an example; return the names that it made."""
    names: dict[str, Any] = {}
    exec(EXAMPLES[name], names)
    return names


@pytest.fixture(autouse=True)
def clock(outbound_http: OutboundHTTP) -> Iterator[FakeClock]:
    """No test waits; a library that sleeps itself fails the test, because its own retries are not disabled."""
    with mock.patch("time.sleep", side_effect=AssertionError("something sleeps")):
        yield outbound_http.clock


@pytest.fixture
def responses() -> Iterator[responses_library.RequestsMock]:
    with responses_library.RequestsMock(assert_all_requests_are_fired=False) as mocked:
        yield mocked


@pytest.fixture
def serve() -> Iterator[Any]:
    with ExitStack() as stack:
        yield lambda *script: stack.enter_context(MisbehavingServer(list(script)))


def test_the_versions_are_those_that_are_tested() -> None:
    """The table has the installed versions."""
    rows = re.findall(r"^\| `([^`]+)` \| ([\d.]+) \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(rows) == 8
    assert dict(rows) == {name: version(name) for name, _ in rows}


def test_make_resilient(responses: responses_library.RequestsMock, clock: FakeClock) -> None:
    """The example leaves nothing unchanged."""
    names = run("make_resilient")
    assert names["unchanged"] == ()
    responses.get(URL, status=503)
    assert names["session"].get(URL).status_code == 503
    assert clock.waits == [1, 2, 4]


def test_github3(responses: responses_library.RequestsMock, clock: FakeClock) -> None:
    """A 503 is retried, and the answer is github3's own object."""
    github = run("github3")["github"]
    responses.get("https://api.github.com/rate_limit", status=503)
    responses.get("https://api.github.com/rate_limit", json={"resources": {"core": {"remaining": 7}}})
    assert github.rate_limit()["resources"]["core"]["remaining"] == 7
    assert clock.waits == [1]
    assert responses.calls[0].request.headers["Authorization"] == "token …"


def test_github3_sees_a_rate_limit(responses: responses_library.RequestsMock) -> None:
    """While GitHub asks for a pause nothing is sent, and the error is one that the caller of github3 catches."""
    github = run("github3")["github"]
    responses.get("https://api.github.com/rate_limit", status=429, headers={"Retry-After": "600"})
    with pytest.raises(github3.exceptions.GitHubError):
        github.rate_limit()
    with pytest.raises(github3.exceptions.ConnectionError) as refused:
        github.rate_limit()
    assert isinstance(refused.value.exception, http.RateLimited)
    assert len(responses.calls) == 1


@pytest.fixture
def pygithub() -> Iterator[Any]:
    yield run("PyGithub")["github"]
    Requester.resetConnectionClasses()


def test_pygithub(pygithub: Any, responses: responses_library.RequestsMock, clock: FakeClock) -> None:
    """A 503 is retried by the policy only."""
    url = "https://api.github.com:443/repos/django/django"
    responses.get(url, status=503)
    responses.get(url, json={"full_name": "django/django", "stargazers_count": 7})
    assert pygithub.get_repo("django/django").stargazers_count == 7
    assert clock.waits == [1]


def test_pygithub_does_not_retry_on_its_own(
    pygithub: Any, responses: responses_library.RequestsMock, clock: FakeClock
) -> None:
    """A server that stays down costs four attempts; then the error is PyGithub's."""
    responses.get("https://api.github.com:443/repos/django/django", status=503, json={})
    with pytest.raises(GithubException):
        pygithub.get_repo("django/django")
    assert clock.waits == [1, 2, 4]
    with pytest.raises(GithubException):
        pygithub.get_repo("django/django")
    assert len(responses.calls) == 8


@pytest.mark.parametrize(("status", "headers"), [(429, LATER), (503, {})])
def test_python_gitlab(
    status: int, headers: dict[str, str], responses: responses_library.RequestsMock, clock: FakeClock
) -> None:
    """For any status, four attempts are made with our delays, and the error is python-gitlab's."""
    gitlab = run("python-gitlab")["gitlab"]
    responses.get("https://gitlab.com/api/v4/version", status=status, headers=headers, json={"message": "busy"})
    with pytest.raises(GitlabHttpError, match="busy"):
        gitlab.http_get("/version")
    assert len(responses.calls) == 4
    assert clock.waits == ([5, 5, 5] if headers else [1, 2, 4])


def test_python_gitlab_gets_its_answer(responses: responses_library.RequestsMock) -> None:
    """python-gitlab parses and pages the answers of retried calls."""
    gitlab = run("python-gitlab")["gitlab"]
    responses.get("https://gitlab.com/api/v4/projects/1", status=502)
    responses.get("https://gitlab.com/api/v4/projects/1", json={"id": 1, "star_count": 7})
    assert gitlab.projects.get(1).star_count == 7


def test_python_gitlab_without_the_class_multiplies(responses: responses_library.RequestsMock) -> None:
    """The page says how many requests are sent where its own retries stay on."""
    session = http.ResilientSession(http.Policy(circuit_breaker=None, retry_budget=None, rate_limit_gate=False))
    gitlab = Gitlab("https://gitlab.com", session=session)
    responses.get("https://gitlab.com/api/v4/version", status=429, headers=LATER, json={"message": "busy"})
    with mock.patch("gitlab.utils.time.sleep"), pytest.raises(GitlabHttpError):
        gitlab.http_get("/version")
    assert f"{len(responses.calls)} requests" in PAGE.read_text(encoding="utf-8")


def test_requests_oauthlib(responses: responses_library.RequestsMock, clock: FakeClock) -> None:
    """A call is signed and retried; the POST for a token is not sent twice."""
    session = run("requests-oauthlib")["session"]
    responses.get(URL, status=503)
    responses.get(URL, json={})
    session.get(URL)
    assert [call.request.headers["Authorization"] for call in responses.calls] == ["Bearer …"] * 2
    assert clock.waits == [1]
    responses.post("https://api.example.org/token", status=503, json={"error": "temporarily_unavailable"})
    with pytest.raises(Exception, match="temporarily_unavailable"):
        session.fetch_token("https://api.example.org/token", code="code", client_secret="secret")
    assert len(responses.calls) == 3


@pytest.mark.parametrize("chunked", [False, True])
def test_cachecontrol(serve: Any, clock: FakeClock, chunked: bool) -> None:
    """The first answer is retried for, the next ones come from the cache, also while the breaker is open."""
    date = formatdate(usegmt=True).encode()
    head = b"HTTP/1.1 200 OK\r\nCache-Control: max-age=600\r\nConnection: close\r\nDate: " + date + b"\r\n"
    body = b"Transfer-Encoding: chunked\r\n\r\n4\r\nfine\r\n0\r\n\r\n" if chunked else b"Content-Length: 4\r\n\r\nfine"
    server = serve(reply(503), Reply(head + body))
    session = run("CacheControl")["session"]
    session.trust_env = False
    first = session.get(server.url)
    assert (first.text, first.from_cache, clock.waits) == ("fine", False, [1])
    for _ in range(10):
        assert session.get(f"{server.url}/other").status_code == 599
    with pytest.raises(http.CircuitOpen):
        session.get(f"{server.url}/other")
    again = session.get(server.url)
    assert (again.text, again.from_cache) == ("fine", True)


def test_make_resilient_names_a_cache() -> None:
    """A session that has CacheControl's adapter keeps it, and the warning says so."""
    with pytest.warns(UserWarning, match="keeps its CacheControlAdapter") as warned:
        told = http.make_resilient(CacheControl(requests.Session()))
    assert len(told) == len(warned) == 2


def test_requests_cache(serve: Any, clock: FakeClock) -> None:
    """The first answer is retried for, the next one comes from the cache."""
    server = serve(reply(503), reply(200, b"fine"))
    session = run("requests-cache")["session"]
    session.trust_env = False
    assert [session.get(server.url).text for _ in range(2)] == ["fine", "fine"]
    assert clock.waits == [1]
    assert len(server.requests) == 2


def test_the_facade_yields_to_requests_cache() -> None:
    """install_cache() replaces requests.Session, and `core.http.requests` returns the replacement."""
    with requests_cache.enabled(backend="memory"):
        assert isinstance(facade.Session(), requests_cache.CachedSession)
        assert facade.get is requests.get
    assert facade.get is http.get


def test_pypistats(serve: Any, clock: FakeClock, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The replacement returns the same data, after an attempt that failed; pypistats gives up."""
    data = {"data": {"last_day": 1, "last_month": 30, "last_week": 7}, "package": "django", "type": "recent_downloads"}
    good = reply(200, json.dumps(data).encode())
    server = serve(reply(503), good, reply(503), good)
    monkeypatch.setattr("pypistats._cache.CACHE_DIR", tmp_path)
    monkeypatch.setattr(pypistats, "BASE_URL", f"{server.url}/api/")
    with pytest.raises(urllib3.exceptions.HTTPError):
        pypistats.recent("django", format="json")
    theirs = json.loads(pypistats.recent("django", format="json"))
    local = EXAMPLES["pypistats"].replace("https://pypistats.org", server.url)
    assert local != EXAMPLES["pypistats"]
    names: dict[str, Any] = {}
    exec(local, names)
    names["session"].trust_env = False
    assert names["recent_downloads"]("django") == theirs["data"]
    assert clock.waits == [1]


def test_boto3(serve: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """boto3 makes its own retries, without core.http."""
    buckets = b"<ListAllMyBucketsResult><Buckets/></ListAllMyBucketsResult>"
    server = serve(reply(503), reply(200, buckets))
    for name, value in {
        "AWS_ENDPOINT_URL": server.url,
        "AWS_ACCESS_KEY_ID": "id",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "NO_PROXY": "127.0.0.1",
    }.items():
        monkeypatch.setenv(name, value)
    calls = {"upstream": "other", "outcome": "success", "reason": ""}
    before = REGISTRY.get_sample_value("outbound_http_calls_total", calls) or 0
    with mock.patch("time.sleep") as sleep:
        assert run("boto3")["s3"].list_buckets()["Buckets"] == []
    assert sleep.called
    assert len(server.requests) == 2
    assert (REGISTRY.get_sample_value("outbound_http_calls_total", calls) or 0) == before
