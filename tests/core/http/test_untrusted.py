"""ResilientSession(untrusted=True): addresses, ports, options and sizes of URLs that users submit."""

from __future__ import annotations

import copy
import pickle
import socket
from typing import Any

import pytest
import requests
import urllib3.connection
import urllib3.connectionpool
import urllib3.util.connection
from django.test import override_settings
from requests.adapters import HTTPAdapter
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
from tests.core.http.misbehave import reply

URL = "https://users.example/page"


@pytest.fixture
def session() -> ResilientSession:
    return ResilientSession(untrusted=True)


class Names:
    """A resolver with canned answers that records the addresses to which connections are opened."""

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
def test_no_connection_to_a_private_address(session: ResilientSession, names: Names, addresses: list[str]) -> None:
    """A name that resolves to a private address is refused without a connection and without a retry."""
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
def test_every_notation_of_a_private_address_is_refused(session: ResilientSession, host: str) -> None:
    """Decimal, octal, hexadecimal and short forms of a private address are refused."""
    with pytest.raises(BlockedAddress):
        session.get(f"http://{host}/")


def test_the_connection_goes_to_the_address_that_was_checked(
    session: ResilientSession, names: Names, outbound_http: OutboundHTTP
) -> None:
    """Each attempt resolves the name once and connects to the address it has checked, so DNS rebinding fails."""
    names.answers = [["8.8.8.8"], ["10.0.0.1"]]
    with pytest.raises(BlockedAddress):
        session.get(URL)
    assert names.dialled == ["8.8.8.8"]
    assert outbound_http.clock.waits == [1]


def test_the_error_does_not_contain_the_address(session: ResilientSession, names: Names) -> None:
    """The error has the same text for each private address, and contains no address."""
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
    """Only the ports 80, 443, 8080 and 8443 are allowed, so mail servers and databases cannot be reached."""
    with pytest.raises(BlockedAddress):
        session.get(url)
    assert names.asked == []


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://users.example/", "gopher://users.example/"])
def test_other_schemes_are_refused(session: ResilientSession, url: str) -> None:
    """Only the schemes http and https are allowed."""
    with pytest.raises((requests.exceptions.InvalidSchema, requests.exceptions.InvalidURL)):
        session.get(url)


@pytest.mark.parametrize("port", [80, 443, 8080, 8443])
def test_usual_ports_are_allowed(session: ResilientSession, responses: RequestsMock, port: int) -> None:
    """A server on one of the four ports can be requested."""
    responses.get(f"http://users.example:{port}/", body="fine")
    assert session.get(f"http://users.example:{port}/").text == "fine"


def test_redirects_to_private_addresses_are_refused(
    session: ResilientSession, names: Names, responses: RequestsMock
) -> None:
    """The name in a redirect is resolved and checked like that of the first URL."""
    responses.get(URL, status=302, headers={"Location": "http://inner.example/"})
    responses.add_passthru("http://inner.example/")
    names.answers = [["10.0.0.1"]]
    with pytest.raises(requests.RequestException):
        session.get(URL)
    assert names.dialled == []


def test_proxies_of_the_environment_are_not_used(
    session: ResilientSession, responses: RequestsMock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy in HTTPS_PROXY is not used."""
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    responses.get(URL)
    session.get(URL)
    assert responses.calls[0].request.req_kwargs["proxies"] == {}  # type: ignore[attr-defined]  # noted by responses


@pytest.mark.parametrize("options", [{"verify": False}, {"proxies": {"https": "http://proxy.example:3128"}}])
def test_options_that_disable_the_protection_are_refused(session: ResilientSession, options: dict[str, Any]) -> None:
    """verify=False and proxies= raise ValueError, for a call and for the session."""
    with pytest.raises(ValueError, match=next(iter(options))):
        session.get(URL, **options)
    for name, value in options.items():
        setattr(session, name, value)
    with pytest.raises(ValueError, match=next(iter(options))):
        session.get(URL)


@pytest.mark.parametrize("clone", [copy.copy, copy.deepcopy, lambda session: pickle.loads(pickle.dumps(session))])
def test_a_copy_keeps_the_protection(session: ResilientSession, clone: Any) -> None:
    """Copied and unpickled sessions refuse private addresses too."""
    with pytest.raises(BlockedAddress):
        clone(session).get("http://127.0.0.1/")


def test_a_trusted_session_reaches_private_addresses(httpserver: Any) -> None:
    """Without untrusted=True, no address is refused, because a site may call its own servers."""
    httpserver.expect_request("/").respond_with_data("fine")
    with ResilientSession(Policy(retries=0)) as session:
        assert session.get(httpserver.url_for("/")).text == "fine"


class _Socket(socket.socket):
    """A class like those with which test tools replace `socket.socket`."""


class _Connection(urllib3.connection.HTTPConnection):
    """A class like the one with which vcrpy replaces urllib3's."""


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
def test_a_replaced_socket_class_does_not_bypass_the_check(
    owner: object,
    name: str,
    replacement: object,
    serve: Serve,
    session: ResilientSession,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """If a test tool has replaced sockets or connections, private addresses are still refused."""
    server = serve(reply(200, b"inner"))
    monkeypatch.setattr(address_guard, "PORTS", frozenset({int(server.netloc.rpartition(":")[2])}))
    monkeypatch.setattr(owner, name, replacement)
    with pytest.raises(BlockedAddress):
        session.get(server.url)
    assert (server.connections, server.requests) == (0, [])


@pytest.mark.parametrize("verify", ["", 0, False])
@pytest.mark.parametrize("where", ["call", "session", "prepared"])
def test_false_values_of_verify_are_refused(session: ResilientSession, verify: Any, where: str) -> None:
    """Requests treats "" and 0 like verify=False, so they raise the same ValueError."""
    with pytest.raises(ValueError, match="verify=False"):  # noqa: PT012 - one call in three ways
        if where == "call":
            session.get(URL, verify=verify)
        elif where == "prepared":
            session.send(requests.Request("GET", URL).prepare(), verify=verify)
        else:
            session.verify = verify
            session.get(URL)


def test_verify_none_is_refused(session: ResilientSession) -> None:
    """verify=None for a session or a prepared request would disable verification, so it raises ValueError."""
    with pytest.raises(ValueError, match="verify=False"):
        session.send(requests.Request("GET", URL).prepare(), verify=None)
    session.verify = None  # type: ignore[assignment]  # the mistake in question
    with pytest.raises(ValueError, match="verify=False"):
        session.get(URL)


@pytest.mark.parametrize("prefix", ["https://", "http://", "https://users.example/", "file://"])
def test_other_adapters_cannot_be_mounted(session: ResilientSession, prefix: str) -> None:
    """Mounting an adapter that checks no addresses raises ValueError."""
    adapters = dict(session.adapters)
    with pytest.raises(ValueError, match="adapter"):
        session.mount(prefix, HTTPAdapter())
    assert session.adapters == adapters


def test_its_own_adapter_may_be_mounted_elsewhere(session: ResilientSession) -> None:
    """The session's own adapter, which checks addresses, can be mounted on another prefix."""
    adapter = session.get_adapter(URL)
    session.mount("https://users.example/", adapter)
    assert session.get_adapter(URL) is adapter


def test_a_blocked_port_is_counted(session: ResilientSession, metrics: Metrics) -> None:
    """A URL with a refused port counts as a failed call with the reason "blocked"."""
    with pytest.raises(BlockedAddress):
        session.get("https://users.example:6379/")
    assert metrics("calls_total", upstream="other", outcome="failure", reason="blocked") == 1


@override_settings(OUTBOUND_HTTP={"upstreams": {"example": {"hosts": ["example.org"]}}})
def test_untrusted_calls_do_not_share_the_breaker_or_the_rate_limit(responses: RequestsMock) -> None:
    """Untrusted calls to one of our upstreams affect neither its breaker nor its rate limit for trusted calls."""
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


MIB = 2**20


@pytest.mark.parametrize(
    ("policy", "limit"),
    [
        (None, 2 * MIB),
        (WEB_REQUEST, 2 * MIB),  # sets no limit of its own
        (Policy(max_response_bytes=1_000), 1_000),
        (Policy(max_response_bytes=5 * MIB), 5 * MIB),
        (Policy(max_response_bytes=None), None),
    ],
    ids=["no policy", "a policy without a limit", "smaller", "larger", "no limit"],
)
def test_bodies_are_limited_to_2_mib_unless_the_policy_sets_a_limit(policy: Policy | None, limit: int) -> None:
    """The limit is 2 MiB unless the policy of the session has another one."""
    adapter: Any = ResilientSession(policy, untrusted=True).get_adapter(URL)
    assert adapter.max_bytes(policy or Policy()) == limit
    trusted: Any = ResilientSession(policy).get_adapter(URL)
    assert trusted.max_bytes(policy or Policy()) == (policy or Policy()).max_response_bytes


@pytest.mark.parametrize(("configured", "limit"), [(500, 500), (64 * MIB, 2 * MIB), (None, 2 * MIB)])
def test_the_settings_can_only_lower_the_limit(configured: int | None, limit: int, settings: Any) -> None:
    """A higher limit in the settings applies to trusted sessions only."""
    adapter: Any = ResilientSession(untrusted=True).get_adapter(URL)
    assert adapter.max_bytes(Policy(max_response_bytes=configured)) == limit


@pytest.mark.parametrize("stream", [False, True])
def test_a_body_beyond_2_mib_is_refused(stream: bool, session: ResilientSession, responses: RequestsMock) -> None:
    """A body of more than 2 MiB raises ResponseTooLarge."""
    responses.get(URL, body=b"x" * (2 * MIB))
    assert len(session.get(URL, stream=stream).content) == 2 * MIB
    responses.replace("GET", URL, body=b"x" * (2 * MIB + 1))
    with pytest.raises(ResponseTooLarge, match=f"max_response_bytes={2 * MIB}"):
        _ = session.get(URL, stream=stream).content
