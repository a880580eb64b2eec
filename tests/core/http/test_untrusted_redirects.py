"""ResilientSession(untrusted=True): redirects, and what is sent to the servers that they lead to."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

import pytest
import requests
from requests.auth import HTTPDigestAuth
from responses import RequestsMock

from core.http import BlockedAddress, ResilientSession
from core.http.wire.sockets import DeadlineSocket
from tests.core.http.conftest import Serve
from tests.core.http.misbehave import MisbehavingServer, Reply, reply

URL = "https://users.example/page"


@pytest.fixture
def session() -> ResilientSession:
    return ResilientSession(untrusted=True)


def test_redirects_are_checked_like_urls(session: ResilientSession, responses: RequestsMock) -> None:
    """A redirect to another port is refused."""
    responses.get(URL, status=302, headers={"Location": "https://users.example:6379/"})
    with pytest.raises(BlockedAddress):
        session.get(URL)


def test_redirects_from_https_to_http_are_refused(session: ResilientSession, responses: RequestsMock) -> None:
    """A redirect from https to http is refused."""
    responses.get(URL, status=302, headers={"Location": "http://users.example/"})
    with pytest.raises(BlockedAddress, match="from https to http"):
        session.get(URL)


def test_at_most_five_redirects_are_followed(session: ResilientSession, responses: RequestsMock) -> None:
    """The sixth redirect raises TooManyRedirects."""
    responses.get(URL, status=302, headers={"Location": URL})
    with pytest.raises(requests.TooManyRedirects):
        session.get(URL)
    assert len(responses.calls) == 6


def test_credentials_stay_with_their_origin(session: ResilientSession, responses: RequestsMock) -> None:
    """After a redirect to another origin, only headers that cannot be credentials are sent."""
    responses.get(URL, status=302, headers={"Location": "https://elsewhere.example/"})
    responses.get("https://elsewhere.example/", body="fine")
    headers = {
        "Authorization": "Bearer s3cret",
        "X-Api-Key": "s3cret",
        "PRIVATE-TOKEN": "s3cret",
        "Accept": "text/html",
    }
    session.get(URL, headers=headers, cookies={"session": "s3cret"})
    first, second = responses.calls
    assert first.request.headers["X-Api-Key"] == "s3cret"
    assert "s3cret" not in str(dict(second.request.headers))
    assert second.request.headers["Accept"] == "text/html"


def test_credentials_survive_a_redirect_within_the_origin(session: ResilientSession, responses: RequestsMock) -> None:
    """A redirect within the origin keeps the caller's headers."""
    responses.get(URL, status=302, headers={"Location": "/other"})
    responses.get("https://users.example/other", body="fine")
    session.get(URL, headers={"X-Api-Key": "s3cret"})
    assert responses.calls[1].request.headers["X-Api-Key"] == "s3cret"


def test_no_cookie_is_kept(session: ResilientSession, responses: RequestsMock) -> None:
    """A cookie that a server sets is sent neither after a redirect nor with the next call."""
    responses.get(URL, status=302, headers={"Location": "/other", "Set-Cookie": "id=1; Path=/"})
    responses.get("https://users.example/other", headers={"Set-Cookie": "id=2; Path=/"})
    session.get(URL)
    session.get("https://users.example/other")
    assert not list(session.cookies)
    assert ["Cookie" in call.request.headers for call in responses.calls] == [False, False, False]


Reach = Callable[..., MisbehavingServer]


@pytest.fixture
def reach(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> Reach:
    """Start local servers behind names with public addresses: ``reach("a.example", reply())``."""
    servers: dict[str, MisbehavingServer] = {}
    look_up, connect = socket.getaddrinfo, socket.socket.connect

    def getaddrinfo(host: str, port: int, *args: Any) -> Any:
        if host not in servers:
            return look_up(host, port, *args)
        address = f"8.8.8.{list(servers).index(host)}"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    def dial(sock: socket.socket, address: tuple[str, int]) -> None:
        server = list(servers.values())[int(address[0].removeprefix("8.8.8."))]
        host, port = server.netloc.split(":")
        connect(sock, (host, int(port)))

    def start(name: str, *script: Reply) -> MisbehavingServer:
        servers[name] = serve(*script)
        return servers[name]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    monkeypatch.setattr(DeadlineSocket, "connect", dial)
    return start


def moved(location: str, *headers: str, status: int = 302) -> Reply:
    return reply(status, b"", f"Location: {location}", *headers)


@pytest.mark.parametrize("where", ["call", "header", "session", "session header", "prepared"])
def test_the_callers_cookies_are_not_sent_to_another_origin(
    reach: Reach, session: ResilientSession, where: str
) -> None:
    """After a redirect from A to B and another within B, the cookies for A are not sent to B."""
    first = reach("a.example", moved("http://b.example/"))
    second = reach("b.example", moved("/2"), reply(200, b"fine"))
    request = requests.Request("GET", "http://a.example/")
    if where in {"call", "prepared"}:
        request.cookies = {"id": "s3cret"}
    elif where == "header":
        request.headers = {"Cookie": "id=s3cret"}
    elif where == "session":
        session.cookies.set("id", "s3cret")
    else:
        session.headers["Cookie"] = "id=s3cret"
    prepared = request.prepare() if where == "prepared" else session.prepare_request(request)
    assert session.send(prepared, allow_redirects=True).text == "fine"
    assert [b"s3cret" in sent for sent in first.requests] == [True]
    assert [b"s3cret" in sent for sent in second.requests] == [False, False]


def test_a_prepared_request_keeps_no_cookie_between_redirects(reach: Reach, session: ResilientSession) -> None:
    """A cookie set by a redirect is not sent with the next request, even if the prepared request has a cookie jar."""
    server = reach("a.example", moved("/2", "Set-Cookie: id=1; Path=/"), reply(200, b"fine"))
    prepared = requests.Request("GET", "http://a.example/", cookies={"mine": "yes"}).prepare()
    assert session.send(prepared, allow_redirects=True).text == "fine"
    assert [b"id=1" in sent for sent in server.requests] == [False, False]
    assert not list(session.cookies)


CHALLENGE = 'WWW-Authenticate: Digest realm="r", nonce="n", qop="auth", algorithm=MD5'


def test_digest_authentication_does_not_answer_another_origin(reach: Reach, session: ResilientSession) -> None:
    """A 401 after a redirect to another origin is returned, and no hash of the password is sent there."""
    reach("a.example", moved("http://b.example/"))
    other = reach("b.example", reply(401, b"who?", CHALLENGE), reply(200, b"welcome"))
    response = session.get("http://a.example/", auth=HTTPDigestAuth("user", "passw0rd"))
    assert (response.status_code, len(other.requests)) == (401, 1)
    assert b"authorization" not in other.requests[0].lower()


def test_digest_authentication_answers_its_own_origin(reach: Reach, session: ResilientSession) -> None:
    """A 401 of the requested server is answered with a digest."""
    server = reach("a.example", reply(401, b"who?", CHALLENGE), reply(200, b"welcome"))
    assert session.get("http://a.example/", auth=HTTPDigestAuth("user", "passw0rd")).text == "welcome"
    assert b"Authorization: Digest " in server.requests[1]


@pytest.mark.parametrize("status", [307, 308])
def test_a_body_is_not_sent_to_another_origin(reach: Reach, session: ResilientSession, status: int) -> None:
    """A 307 or 308 to another origin is refused before anything is sent there."""
    reach("a.example", moved("http://b.example/", status=status))
    other = reach("b.example", reply(200))
    with pytest.raises(BlockedAddress, match="body"):
        session.post("http://a.example/", data=b"b0dy")
    assert other.connections == 0


@pytest.mark.parametrize(("status", "method"), [(301, b"GET"), (302, b"GET"), (303, b"GET")])
def test_a_post_that_becomes_a_get_is_followed(
    reach: Reach, session: ResilientSession, status: int, method: bytes
) -> None:
    """Redirects that turn a POST into a GET drop the body, so they may lead to another origin."""
    reach("a.example", moved("http://b.example/", status=status))
    other = reach("b.example", reply(200, b"fine"))
    assert session.post("http://a.example/", data=b"b0dy").text == "fine"
    assert other.requests[0].startswith(method)
    assert b"b0dy" not in other.requests[0]


def test_a_body_is_sent_again_within_the_origin(reach: Reach, session: ResilientSession) -> None:
    """After a 307 within the origin, the body is sent again."""
    server = reach("a.example", moved("/2", status=307), reply(200, b"fine"))
    assert session.post("http://a.example/", data=b"b0dy").text == "fine"
    assert [sent.endswith(b"b0dy") for sent in server.requests] == [True, True]


@pytest.mark.parametrize(
    "location",
    [
        "file:///etc/passwd",
        "javascript:alert(1)",
        "data:text/plain,hello",
        "mailto:user@b.example",
        "ftp://b.example/",
        "http://./",
        "http://",
        "http:///path",
        "http://b.example:x/",
        "http://[::1/",
        "//",
    ],
)
def test_an_invalid_redirect_raises_a_request_exception(reach: Reach, session: ResilientSession, location: str) -> None:
    """A redirect to an invalid or unsupported URL raises a requests.RequestException."""
    server = reach("a.example", *[moved(location)] * 8)
    with pytest.raises(requests.RequestException):
        session.get("http://a.example/")
    assert len(server.requests) >= 1
