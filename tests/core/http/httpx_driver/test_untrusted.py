"""untrusted=True: URLs that users submit."""

from __future__ import annotations

import socket
from types import ModuleType
from typing import Any

import pytest

from core import http
from core.http import Policy
from core.http.wire import address_guard
from tests.core.http.conftest import Serve
from tests.core.http.httpx_driver.conftest import Caller
from tests.core.http.misbehave import MisbehavingServer, reply

SECRETS = {"Authorization": "Bearer s3cret", "PRIVATE-TOKEN": "s3cret", "X-Api-Key": "s3cret", "Accept": "text/html"}


@pytest.fixture
def open_guard(monkeypatch: pytest.MonkeyPatch) -> None:
    """Allow the addresses and ports of the tests' servers."""
    monkeypatch.setattr(address_guard, "is_public", lambda address: True)
    monkeypatch.setattr(address_guard, "PORTS", range(65_536))


def test_a_private_address_is_refused(caller: Caller, library: ModuleType) -> None:
    """A private address is refused in any notation, and the error contains no address."""
    for host in ("127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "2130706433", "0x7f000001", "localhost", "10.0.0.1"):
        with pytest.raises(http.BlockedAddress) as raised:
            caller(untrusted=True).get(f"http://{host}/")
        assert isinstance(raised.value, library.ConnectError)
        assert not any(character.isdigit() for character in str(raised.value))
        assert len(raised.value.attempts) == 1


def test_no_connection_to_a_name_with_a_private_address(
    caller: Caller, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name with a public and a private address is refused without a connection."""
    server = serve(reply())
    info = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, 80)) for ip in ("8.8.8.8", "127.0.0.1")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: info)
    with pytest.raises(http.BlockedAddress):
        caller(untrusted=True).get("http://users.example/")
    assert server.connections == 0


def test_a_port_that_is_no_web_servers_is_refused(caller: Caller) -> None:
    """Ports other than those of web servers are refused."""
    with pytest.raises(http.BlockedAddress):
        caller(untrusted=True).get("http://example.org:6379/")


def test_credentials_are_not_sent_to_another_origin(caller: Caller, serve: Serve, open_guard: None) -> None:
    """After a redirect to another origin, only headers that cannot be credentials are sent, and no cookies."""
    second = serve(reply(200, b"fine"))
    first = serve(reply(302, b"", f"Location: {second.url}/", "Set-Cookie: session=s3cret"))
    response = caller(untrusted=True, cookies={"own": "s3cret"}).get(first.url, headers=SECRETS, follow_redirects=True)
    assert response.content == b"fine"
    assert first.requests[0].count(b"s3cret") == 4
    assert b"s3cret" not in second.requests[0]
    assert b"accept: text/html" in second.requests[0].lower()


def test_at_the_same_origin_headers_stay(caller: Caller, serve: Serve, open_guard: None) -> None:
    """After a redirect within the origin, the caller's headers are sent."""
    server = serve(reply(302, b"", "Location: /next"), reply(200))
    caller(untrusted=True).get(server.url, headers=SECRETS, follow_redirects=True)
    assert b"Bearer s3cret" in server.requests[1]


def test_a_body_goes_to_no_other_origin(caller: Caller, serve: Serve, open_guard: None) -> None:
    """A 307 for a request with a body is refused. A caller who follows no redirects gets the 307."""
    second = serve(reply(200))
    first = serve(*[reply(307, b"", f"Location: {second.url}/")] * 4)
    for method in ("POST", "GET"):
        with pytest.raises(http.BlockedAddress, match="send the request body to another origin"):
            caller(untrusted=True).request(method, first.url, content=b"payload", follow_redirects=True)
    assert caller(untrusted=True).request("POST", first.url, content=b"payload").status_code == 307
    assert second.requests == []
    assert caller(untrusted=True).request("DELETE", first.url, follow_redirects=True).status_code == 200


def test_redirects_are_checked_and_few(caller: Caller, serve: Serve, library: ModuleType, open_guard: None) -> None:
    """At most five redirects are followed, and each URL is checked."""
    server = serve(*[reply(302, b"", "Location: /next")] * 9)
    with pytest.raises(library.TooManyRedirects):
        caller(untrusted=True).get(server.url, follow_redirects=True)
    assert len(server.requests) == 6
    with pytest.raises(http.BlockedAddress):
        caller(untrusted=True).get(_redirect_to(serve, "ftp://example.org/").url, follow_redirects=True)


def test_the_environment_names_no_proxy(
    caller: Caller, serve: Serve, open_guard: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy of the environment is not used, because it could reach private addresses."""
    proxy, server = serve(reply(200, b"proxy")), serve(reply(200, b"fine"))
    monkeypatch.setenv("HTTP_PROXY", proxy.url)
    assert caller(untrusted=True).get(server.url).content == b"fine"
    assert proxy.requests == []


@pytest.mark.parametrize("option", ["verify", "proxy", "mounts", "transport"])
def test_options_that_disable_the_protection_are_refused(driver: ModuleType, library: ModuleType, option: str) -> None:
    """Options that would bypass the check of addresses raise an error."""
    value: Any = {
        "verify": False,
        "proxy": "http://localhost:1/",
        "mounts": {"all://": library.HTTPTransport()},
        "transport": library.HTTPTransport(),
    }[option]
    with pytest.raises(ValueError, match=f"{option}="):
        driver.ResilientClient(untrusted=True, **{option: value})
    if option in {"verify", "proxy"}:
        with pytest.raises(ValueError, match=f"{option}="):
            driver.AsyncResilientTransport(untrusted=True, **{option: value})


def test_a_body_has_two_mebibytes_at_most(caller: Caller, serve: Serve, open_guard: None) -> None:
    """The limit of a body is 2 MiB, unless the policy of the client has another one."""
    server = serve(*[reply(200, b"x" * (2**21 + 1))] * 2)
    with pytest.raises(http.ResponseTooLarge):
        caller(untrusted=True).get(server.url)
    assert caller(Policy(max_response_bytes=2**22), untrusted=True).get(server.url).status_code == 200


def _redirect_to(serve: Serve, url: str) -> MisbehavingServer:
    return serve(reply(302, b"", f"Location: {url}"))
