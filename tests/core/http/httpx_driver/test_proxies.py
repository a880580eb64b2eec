"""Proxies: tunnels, forwarding, TLS to the proxy itself, SOCKS; as an option and of the environment."""

from __future__ import annotations

import logging
import ssl
import time
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest
from prometheus_client import REGISTRY, generate_latest

from core import http
from core.http import Policy
from tests.core.http.conftest import Serve
from tests.core.http.httpx_driver.conftest import Caller
from tests.core.http.misbehave import CLOSE, HOLD, TLS, Reply, Then, reply, server_context
from tests.core.http.tunnel_proxy import TunnelProxy
from tests.core.http.wire.socks_server import SocksServer

HASTY = 0.5
ALIVE = 5.0
ONCE = Policy(retries=0, attempt_timeout=HASTY)
PATIENT = Policy(retries=0, attempt_timeout=10)


def trusting() -> ssl.SSLContext:
    return ssl.create_default_context(cafile=TLS / "ca.pem")


@pytest.fixture
def tunnel() -> Iterator[Callable[..., TunnelProxy]]:
    proxies: list[TunnelProxy] = []

    def start(**options: Any) -> TunnelProxy:
        proxies.append(TunnelProxy(**options))
        return proxies[-1]

    yield start
    for proxy in proxies:
        proxy.__exit__(None, None, None)


@pytest.mark.parametrize("over_tls", [False, True], ids=["http proxy", "https proxy"])
@pytest.mark.parametrize("of_environment", [False, True], ids=["proxy=", "environment"])
def test_a_tunnel(
    caller: Caller,
    serve: Serve,
    tunnel: Callable[..., TunnelProxy],
    monkeypatch: pytest.MonkeyPatch,
    over_tls: bool,
    of_environment: bool,
) -> None:
    """An https URL goes through a tunnel, also of a proxy over TLS; only the proxy gets its password."""
    server = serve(reply(200, b"fine"), context=server_context())
    proxy = tunnel(context=server_context() if over_tls else None)
    url = proxy.url.replace("//", "//ada:s3cret@")
    options: dict[str, Any] = {}
    if of_environment:
        monkeypatch.setenv("HTTPS_PROXY", url)
        monkeypatch.setenv("SSL_CERT_FILE", str(TLS / "ca.pem"))  # of the proxy, where the environment names it
    else:
        context = trusting() if over_tls else None
        options["proxy"] = caller.library.Proxy(url, ssl_context=context)
    response = caller(PATIENT, verify=trusting(), **options).get(server.url)
    assert response.content == b"fine"
    assert proxy.requests[0].startswith(f"CONNECT {server.netloc} ".encode())
    assert b"proxy-authorization: basic" in proxy.requests[0].lower()
    assert b"proxy-authorization" not in server.requests[0].lower()


@pytest.mark.parametrize("over_tls", [False, True], ids=["http proxy", "https proxy"])
def test_forwarding(caller: Caller, serve: Serve, over_tls: bool) -> None:
    """A URL of http is forwarded, and each attempt is one request of the proxy."""
    proxy = serve(reply(503), reply(200, b"fine"), context=server_context() if over_tls else None)
    options = {"proxy": caller.library.Proxy(proxy.url, ssl_context=trusting() if over_tls else None)}
    response = caller(Policy(attempt_timeout=30), **options).get("http://example.org/path")
    assert (response.content, len(response.attempts)) == (b"fine", 2)
    assert [request.split(b" ")[1] for request in proxy.requests] == [b"http://example.org/path"] * 2


@pytest.mark.parametrize("of_environment", [False, True], ids=["proxy=", "environment"])
def test_a_socks_proxy(
    caller: Caller,
    serve: Serve,
    socks: Callable[..., SocksServer],
    monkeypatch: pytest.MonkeyPatch,
    of_environment: bool,
) -> None:
    """Requests go through a SOCKS proxy, which resolves the name."""
    pytest.importorskip("socksio")
    proxy = socks()
    options: dict[str, Any] = {}
    if of_environment:
        monkeypatch.setenv("ALL_PROXY", f"socks5h://{proxy.netloc}")
    else:
        options["proxy"] = f"socks5h://{proxy.netloc}"
    server = serve(reply(200, b"fine"))
    port = int(server.netloc.rpartition(":")[2])
    assert caller(PATIENT, **options).get(f"http://localhost:{port}/").content == b"fine"
    assert proxy.wanted == [("localhost", port)]


@pytest.mark.parametrize(
    ("kind", "scheme"),
    [
        ("forwards", "http"),
        ("tunnels", "https"),
        ("handshake", "http"),
        ("handshake", "https"),
        ("in the tunnel", "https"),
    ],
)
def test_a_proxy_that_hangs_is_cut_off(
    caller: Caller,
    serve: Serve,
    tunnel: Callable[..., TunnelProxy],
    kind: str,
    scheme: str,
) -> None:
    """A proxy that hangs at any stage ends the attempt at its deadline."""
    proxy: Any
    if kind == "handshake":
        hanging = serve(context=server_context(), greetings=[Reply(b"", Then.DRAIN)])
        proxy = caller.library.Proxy(hanging.url, ssl_context=trusting())
    elif kind == "in the tunnel":
        proxy = tunnel(script=[HOLD]).url
    else:
        proxy = serve(HOLD).url
    target = serve(context=server_context(), greetings=[Reply(b"", Then.DRAIN)]) if scheme == "https" else serve(HOLD)
    started = time.monotonic()
    with pytest.raises(http.AttemptTimeout) as raised:
        caller(ONCE, proxy=proxy, verify=trusting()).get(target.url)
    assert time.monotonic() - started < HASTY + ALIVE
    assert len(raised.value.attempts) == 1


@pytest.mark.parametrize("does", [CLOSE, reply(407), reply(502), Reply(b"SSH-2.0\r\n\r\n"), HOLD])
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_broken_proxy_reveals_no_password(
    caller: Caller, serve: Serve, caplog: pytest.LogCaptureFixture, does: Reply, scheme: str
) -> None:
    """Only errors of httpx leave a client, and the proxy's password is in no error, log line or metric."""
    caplog.set_level(logging.INFO)
    url = serve(*[does] * 4).url.replace("http://", "http://ada:s3cret@")
    policy = Policy(retries=1, attempt_timeout=0.2 if does is HOLD else 3)
    client = caller(policy, proxy=url)
    try:
        client.get(f"{scheme}://example.org/")
    except caller.library.HTTPError as exc:
        error: BaseException | None = exc
        while error is not None:
            assert "s3cret" not in f"{error} {error!r} {vars(error)}"
            error = error.__cause__ or error.__context__
    assert "s3cret" not in caplog.text
    assert b"s3cret" not in generate_latest(REGISTRY)


@pytest.mark.parametrize("name_of_variable", ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"])
def test_an_untrusted_client_uses_no_proxy_of_the_environment(
    driver: ModuleType, monkeypatch: pytest.MonkeyPatch, name_of_variable: str
) -> None:
    """For any variable, an untrusted client sends all requests through one transport without a proxy."""
    monkeypatch.setenv(name_of_variable, "http://127.0.0.1:9/")
    for kind in (driver.ResilientClient, driver.AsyncResilientClient):
        client = kind(untrusted=True)
        assert [transport.options.get("proxy") for transport in client.transports] == [None]


def test_a_socks_proxy_that_hangs_is_cut_off(caller: Caller, serve: Serve) -> None:
    """A SOCKS proxy that hangs causes a connect timeout, because nothing was sent, and its connection is closed."""
    pytest.importorskip("socksio")
    proxy = serve(greetings=[Reply(b"", Then.DRAIN)])
    with pytest.raises(http.AttemptTimeout) as raised:
        caller(ONCE, proxy=f"socks5://{proxy.netloc}").request("POST", "https://example.org/")
    assert isinstance(raised.value, caller.library.ConnectTimeout)
    assert raised.value.reached == "connect"
    assert not raised.value.attempts[0].outcome.sent
    assert proxy.hung_up.wait(10)


@pytest.mark.parametrize("answer", [b"", b"SSH-2.0\r\n\r\n", b"\x05\xff", b"\x05\x00", b"\x05\x02\x01\x01"])
def test_an_invalid_socks_proxy(caller: Caller, serve: Serve, caplog: pytest.LogCaptureFixture, answer: bytes) -> None:
    """For any answer of a SOCKS proxy, the client raises only errors of httpx, without the proxy's password."""
    pytest.importorskip("socksio")
    caplog.set_level(logging.INFO)
    proxy = serve(greetings=[Reply(answer, Then.DRAIN if answer else Then.CLOSE)])
    with pytest.raises(caller.library.HTTPError) as raised:
        caller(Policy(retries=0, attempt_timeout=3), proxy=f"socks5://ada:s3cret@{proxy.netloc}").get("http://h.test/")
    error: BaseException | None = raised.value
    while error is not None:
        assert "s3cret" not in f"{error} {error!r} {vars(error)}"
        error = error.__cause__ or error.__context__
    assert "s3cret" not in caplog.text
