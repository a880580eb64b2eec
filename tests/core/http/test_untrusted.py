"""ResilientSession(untrusted=True): URLs that users submit."""

from __future__ import annotations

import copy
import pickle
import socket
from collections.abc import Callable
from typing import Any

import pytest
import requests
import urllib3.connection
import urllib3.connectionpool
import urllib3.util.connection
from django.test import override_settings
from requests.adapters import HTTPAdapter
from requests.auth import HTTPDigestAuth
from responses import RequestsMock

from core.http import (
    WEB_REQUEST,
    BlockedAddress,
    CircuitOpen,
    Policy,
    RateLimited,
    ResilientSession,
    ResponseTooLarge,
)
from core.http.testing import OutboundHTTP
from core.http.wire import address_guard
from core.http.wire.sockets import DeadlineSocket
from tests.core.http.conftest import Metrics, Serve
from tests.core.http.misbehave import MisbehavingServer, Reply, reply

URL = "https://users.example/page"


@pytest.fixture
def session() -> ResilientSession:
    return ResilientSession(untrusted=True)


class Names:
    """Stands in for the resolver: answers a name with what is next, and notes what is dialled."""

    def __init__(self) -> None:
        self.answers: list[list[str]] = []
        self.asked: list[str] = []
        self.dialled: list[str] = []

    def getaddrinfo(self, host: str, port: int, *_: Any) -> list[Any]:
        self.asked.append(host)
        addresses = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        families = [socket.AF_INET6 if ":" in address else socket.AF_INET for address in addresses]
        return [
            (family, socket.SOCK_STREAM, 6, "", (address, port))
            for family, address in zip(families, addresses, strict=True)
        ]

    def connect(self, _: socket.socket, address: tuple[str, int]) -> None:
        self.dialled.append(address[0])
        raise ConnectionRefusedError


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Names:
    names = Names()
    monkeypatch.setattr(socket, "getaddrinfo", names.getaddrinfo)
    monkeypatch.setattr(
        DeadlineSocket,
        "connect",
        lambda *args: names.connect(*args),  # noqa: PLW0108 - a bound method would not get the socket
    )
    return names


@pytest.mark.parametrize("addresses", [["127.0.0.1"], ["8.8.8.8", "10.0.0.1"], ["::1"], ["169.254.169.254"]])
def test_private_addresses_are_not_dialled(session: ResilientSession, names: Names, addresses: list[str]) -> None:
    """A name that leads inside is refused at once, without a connection and without a retry."""
    names.answers = [addresses]
    with pytest.raises(BlockedAddress):
        session.get(URL)
    assert names.dialled == []
    assert names.asked == ["users.example"]


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "0.0.0.0",
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "127.1",
        "localhost",
    ],
)
def test_every_way_to_write_an_inner_address_is_refused(session: ResilientSession, host: str) -> None:
    """Decimal, octal, hexadecimal and short forms are what they resolve to."""
    with pytest.raises(BlockedAddress):
        session.get(f"http://{host}/")


def test_the_address_that_was_checked_is_the_one_dialled(
    session: ResilientSession, names: Names, outbound_http: OutboundHTTP
) -> None:
    """A name that answers differently the second time gains nothing: each attempt dials what it checked."""
    names.answers = [["8.8.8.8"], ["10.0.0.1"]]
    with pytest.raises(BlockedAddress):
        session.get(URL)
    assert names.dialled == ["8.8.8.8"]
    assert outbound_http.clock.waits == [1]


def test_the_refusal_tells_nothing_about_what_is_there(session: ResilientSession, names: Names) -> None:
    """Refused is refused: the text is the same whatever the address is, and names none."""
    texts = set()
    for address in ("127.0.0.1", "10.0.0.1", "169.254.169.254"):
        names.answers = [[address]]
        with pytest.raises(BlockedAddress) as raised:
            session.get(URL)
        texts.add(str(raised.value))
    assert len(texts) == 1
    assert not any(character.isdigit() for character in texts.pop())


@pytest.mark.parametrize("url", ["http://users.example:22/", "https://users.example:6379/", "http://users.example:25/"])
def test_unusual_ports_are_refused(session: ResilientSession, names: Names, url: str) -> None:
    """Only 80, 443, 8080 and 8443: no mail, no databases."""
    with pytest.raises(BlockedAddress):
        session.get(url)
    assert names.asked == []


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://users.example/", "gopher://users.example/"])
def test_other_schemes_are_refused(session: ResilientSession, url: str) -> None:
    """Only http and https."""
    with pytest.raises((requests.exceptions.InvalidSchema, requests.exceptions.InvalidURL)):
        session.get(url)


@pytest.mark.parametrize("port", [80, 443, 8080, 8443])
def test_the_usual_ports_are_reached(session: ResilientSession, responses: RequestsMock, port: int) -> None:
    """A server on a usual port answers."""
    responses.get(f"http://users.example:{port}/", body="fine")
    assert session.get(f"http://users.example:{port}/").text == "fine"


def test_redirects_are_checked_like_urls(session: ResilientSession, responses: RequestsMock) -> None:
    """A redirect to a port that is out of reach is refused."""
    responses.get(URL, status=302, headers={"Location": "https://users.example:6379/"})
    with pytest.raises(BlockedAddress):
        session.get(URL)


def test_redirects_to_inner_addresses_are_refused(
    session: ResilientSession, names: Names, responses: RequestsMock
) -> None:
    """A redirect is resolved and checked like the first URL."""
    responses.get(URL, status=302, headers={"Location": "http://inner.example/"})
    responses.add_passthru("http://inner.example/")
    names.answers = [["10.0.0.1"]]
    with pytest.raises(requests.RequestException):
        session.get(URL)
    assert names.dialled == []


def test_redirects_from_https_to_http_are_refused(session: ResilientSession, responses: RequestsMock) -> None:
    """What was asked for under protection is not fetched without."""
    responses.get(URL, status=302, headers={"Location": "http://users.example/"})
    with pytest.raises(BlockedAddress, match="from https to http"):
        session.get(URL)


def test_at_most_five_redirects_are_followed(session: ResilientSession, responses: RequestsMock) -> None:
    """A chain ends after five."""
    responses.get(URL, status=302, headers={"Location": URL})
    with pytest.raises(requests.TooManyRedirects):
        session.get(URL)
    assert len(responses.calls) == 6


def test_credentials_stay_with_their_origin(session: ResilientSession, responses: RequestsMock) -> None:
    """A redirect to another origin carries no header that may be a credential, whatever its name."""
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
    """What a server sets comes back neither in a redirect nor in the next call."""
    responses.get(URL, status=302, headers={"Location": "/other", "Set-Cookie": "id=1; Path=/"})
    responses.get("https://users.example/other", headers={"Set-Cookie": "id=2; Path=/"})
    session.get(URL)
    session.get("https://users.example/other")
    assert not list(session.cookies)
    assert ["Cookie" in call.request.headers for call in responses.calls] == [False, False, False]


def test_the_environment_is_left_alone(
    session: ResilientSession, responses: RequestsMock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No proxy that the environment names is used."""
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    responses.get(URL)
    session.get(URL)
    assert responses.calls[0].request.req_kwargs["proxies"] == {}  # type: ignore[attr-defined]  # noted by responses


@pytest.mark.parametrize("options", [{"verify": False}, {"proxies": {"https": "http://proxy.example:3128"}}])
def test_what_would_undo_the_protection_is_refused(session: ResilientSession, options: dict[str, Any]) -> None:
    """verify=False and proxies= are mistakes of the caller's: ValueError, for a call and for the session."""
    with pytest.raises(ValueError, match=next(iter(options))):
        session.get(URL, **options)
    for name, value in options.items():
        setattr(session, name, value)
    with pytest.raises(ValueError, match=next(iter(options))):
        session.get(URL)


@pytest.mark.parametrize("clone", [copy.copy, copy.deepcopy, lambda session: pickle.loads(pickle.dumps(session))])
def test_a_copy_is_as_careful(session: ResilientSession, clone: Any) -> None:
    """Copied and pickled sessions keep the protection."""
    with pytest.raises(BlockedAddress):
        clone(session).get("http://127.0.0.1/")


def test_a_trusted_session_reaches_what_it_is_told_to(httpserver: Any) -> None:
    """Without the switch nothing is refused: inner servers are a site's own business."""
    httpserver.expect_request("/").respond_with_data("fine")
    with ResilientSession(Policy(retries=0)) as session:
        assert session.get(httpserver.url_for("/")).text == "fine"


# What a test tool replaces does not open the door


class _Socket(socket.socket):
    """Stands in for what a test tool puts in place of `socket.socket`."""


class _Connection(urllib3.connection.HTTPConnection):
    """Stands in for what vcrpy puts in place of urllib3's."""


@pytest.mark.parametrize(
    ("owner", "name", "replacement"),
    [
        (socket, "socket", _Socket),
        (socket, "create_connection", lambda *args, **kwargs: socket.socket()),
        (urllib3.util.connection, "create_connection", lambda *args, **kwargs: socket.socket()),
        (urllib3.connectionpool.HTTPConnectionPool, "ConnectionCls", _Connection),
    ],
    ids=["socket", "create_connection", "create_connection of urllib3", "ConnectionCls"],
)
def test_what_replaces_a_socket_does_not_get_around_the_check(
    owner: object,
    name: str,
    replacement: object,
    serve: Serve,
    session: ResilientSession,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where a test tool has replaced sockets or connections, an inner address is refused nevertheless."""
    server = serve(reply(200, b"inner"))
    monkeypatch.setattr(address_guard, "PORTS", frozenset({int(server.netloc.rpartition(":")[2])}))
    monkeypatch.setattr(owner, name, replacement)
    with pytest.raises(BlockedAddress):
        session.get(server.url)
    assert (server.connections, server.requests) == (0, [])


@pytest.mark.parametrize("verify", ["", 0, False])
@pytest.mark.parametrize("where", ["call", "session", "prepared"])
def test_whatever_is_false_switches_no_verification_off(session: ResilientSession, verify: Any, where: str) -> None:
    """For requests "" and 0 are verify=False too: a ValueError like that."""
    with pytest.raises(ValueError, match="verify=False"):  # noqa: PT012 - one call in three ways
        if where == "call":
            session.get(URL, verify=verify)
        elif where == "prepared":
            session.send(requests.Request("GET", URL).prepare(), verify=verify)
        else:
            session.verify = verify
            session.get(URL)


def test_no_verification_at_all_is_refused(session: ResilientSession) -> None:
    """verify=None for the session, or for a prepared request, would mean none either."""
    with pytest.raises(ValueError, match="verify=False"):
        session.send(requests.Request("GET", URL).prepare(), verify=None)
    session.verify = None  # type: ignore[assignment]  # the mistake in question
    with pytest.raises(ValueError, match="verify=False"):
        session.get(URL)


@pytest.mark.parametrize("prefix", ["https://", "http://", "https://users.example/", "file://"])
def test_no_foreign_adapter_is_mounted(session: ResilientSession, prefix: str) -> None:
    """An adapter that checks no addresses would reach what it must not."""
    adapters = dict(session.adapters)
    with pytest.raises(ValueError, match="adapter"):
        session.mount(prefix, HTTPAdapter())
    assert session.adapters == adapters


def test_its_own_adapter_may_be_mounted_elsewhere(session: ResilientSession) -> None:
    """An adapter that checks addresses is no danger."""
    adapter = session.get_adapter(URL)
    session.mount("https://users.example/", adapter)
    assert session.get_adapter(URL) is adapter


def test_a_blocked_port_is_counted(session: ResilientSession, metrics: Metrics) -> None:
    """A URL that is refused for its port is a failed call with the reason "blocked", like one refused later."""
    with pytest.raises(BlockedAddress):
        session.get("https://users.example:6379/")
    assert metrics("calls_total", upstream="other", outcome="failure", reason="blocked") == 1


# Redirects over the wire

Reach = Callable[..., MisbehavingServer]


@pytest.fixture
def reach(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> Reach:
    """Make names that look public and lead to local servers: ``reach("a.example", reply())``."""
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
def test_no_cookie_of_the_callers_goes_along(reach: Reach, session: ResilientSession, where: str) -> None:
    """From A to B to another page of B: a cookie meant for A reaches none of B's pages."""
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


def test_a_prepared_request_keeps_no_cookie_between_hops(reach: Reach, session: ResilientSession) -> None:
    """What a server sets on one hop does not come back on the next, though the request has a jar of its own."""
    server = reach("a.example", moved("/2", "Set-Cookie: id=1; Path=/"), reply(200, b"fine"))
    prepared = requests.Request("GET", "http://a.example/", cookies={"mine": "yes"}).prepare()
    assert session.send(prepared, allow_redirects=True).text == "fine"
    assert [b"id=1" in sent for sent in server.requests] == [False, False]
    assert not list(session.cookies)


CHALLENGE = 'WWW-Authenticate: Digest realm="r", nonce="n", qop="auth", algorithm=MD5'


def test_digest_authentication_answers_nobody_else(reach: Reach, session: ResilientSession) -> None:
    """A 401 of the server that a redirect leads to is the call's answer, and gets no hash of the password."""
    reach("a.example", moved("http://b.example/"))
    other = reach("b.example", reply(401, b"who?", CHALLENGE), reply(200, b"welcome"))
    response = session.get("http://a.example/", auth=HTTPDigestAuth("user", "passw0rd"))
    assert (response.status_code, len(other.requests)) == (401, 1)
    assert b"authorization" not in other.requests[0].lower()


def test_digest_authentication_works_where_it_is_meant(reach: Reach, session: ResilientSession) -> None:
    """The server that was asked gets its answer."""
    server = reach("a.example", reply(401, b"who?", CHALLENGE), reply(200, b"welcome"))
    assert session.get("http://a.example/", auth=HTTPDigestAuth("user", "passw0rd")).text == "welcome"
    assert b"Authorization: Digest " in server.requests[1]


@pytest.mark.parametrize("status", [307, 308])
def test_a_body_goes_to_nobody_else(reach: Reach, session: ResilientSession, status: int) -> None:
    """A redirect that asks for the body again, at another origin, is refused before anything is sent there."""
    reach("a.example", moved("http://b.example/", status=status))
    other = reach("b.example", reply(200))
    with pytest.raises(BlockedAddress, match="body"):
        session.post("http://a.example/", data=b"b0dy")
    assert other.connections == 0


@pytest.mark.parametrize(("status", "method"), [(301, b"GET"), (302, b"GET"), (303, b"GET")])
def test_a_post_that_becomes_a_get_is_followed(
    reach: Reach, session: ResilientSession, status: int, method: bytes
) -> None:
    """Other redirects drop the body, and so may lead elsewhere."""
    reach("a.example", moved("http://b.example/", status=status))
    other = reach("b.example", reply(200, b"fine"))
    assert session.post("http://a.example/", data=b"b0dy").text == "fine"
    assert other.requests[0].startswith(method)
    assert b"b0dy" not in other.requests[0]


def test_a_body_is_sent_again_within_the_origin(reach: Reach, session: ResilientSession) -> None:
    """A 307 to another page of the same server gets the body there."""
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
def test_a_redirect_to_no_page_is_a_request_exception(reach: Reach, session: ResilientSession, location: str) -> None:
    """Whatever a server names as the next page, existing `except requests.RequestException` clauses catch it."""
    server = reach("a.example", *[moved(location)] * 8)
    with pytest.raises(requests.RequestException):
        session.get("http://a.example/")
    assert len(server.requests) >= 1


@override_settings(OUTBOUND_HTTP={"upstreams": {"example": {"hosts": ["example.org"]}}})
def test_what_users_urls_bring_about_is_not_held_against_everybody(responses: RequestsMock) -> None:
    """A URL of a user's that names one of our upstreams opens neither its breaker nor its gate for our own calls."""
    responses.get("https://example.org:8443/", status=500)
    responses.get("https://example.org/", status=429, headers={"Retry-After": "600"})
    untrusted = ResilientSession(untrusted=True)

    def ask(url: str) -> None:
        for _ in range(10):
            untrusted.get(url)

    with pytest.raises(CircuitOpen):
        ask("https://example.org:8443/")
    with pytest.raises(RateLimited):
        ask("https://example.org/")
    for url in ("https://example.org:8443/", "https://example.org/"):
        responses.replace("GET", url, body="fine")
        assert ResilientSession().get(url).text == "fine"


# Sizes

MIB = 2**20


@pytest.mark.parametrize(
    ("policy", "limit"),
    [
        (None, 2 * MIB),
        (WEB_REQUEST, 2 * MIB),  # says nothing of sizes
        (Policy(max_response_bytes=1_000), 1_000),
        (Policy(max_response_bytes=5 * MIB), 5 * MIB),
        (Policy(max_response_bytes=None), None),
    ],
    ids=["none", "of something else", "smaller", "larger", "no limit"],
)
def test_bodies_are_small_unless_the_sessions_own_policy_says_otherwise(policy: Policy | None, limit: int) -> None:
    """2 MiB, where nobody vouches for the server."""
    adapter: Any = ResilientSession(policy, untrusted=True).get_adapter(URL)
    assert adapter.max_bytes(policy or Policy()) == limit
    trusted: Any = ResilientSession(policy).get_adapter(URL)
    assert trusted.max_bytes(policy or Policy()) == (policy or Policy()).max_response_bytes


@pytest.mark.parametrize(("configured", "limit"), [(500, 500), (64 * MIB, 2 * MIB), (None, 2 * MIB)])
def test_the_settings_can_only_make_bodies_smaller(configured: int | None, limit: int, settings: Any) -> None:
    """What they allow is for servers that the site knows."""
    adapter: Any = ResilientSession(untrusted=True).get_adapter(URL)
    assert adapter.max_bytes(Policy(max_response_bytes=configured)) == limit


@pytest.mark.parametrize("stream", [False, True])
def test_a_body_beyond_2_mib_is_refused(stream: bool, session: ResilientSession, responses: RequestsMock) -> None:
    """A user's URL gets no 32 MiB of memory."""
    responses.get(URL, body=b"x" * (2 * MIB))
    assert len(session.get(URL, stream=stream).content) == 2 * MIB
    responses.replace("GET", URL, body=b"x" * (2 * MIB + 1))
    with pytest.raises(ResponseTooLarge, match=f"max_response_bytes={2 * MIB}"):
        _ = session.get(URL, stream=stream).content
