"""SOCKS proxies."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from typing import Any

import pytest
import requests

from core.http import Policy, ResilientSession
from core.http.testing import FakeClock
from tests.core.http.misbehave import MisbehavingServer, reply
from tests.core.http.wire.socks_server import SocksServer


@pytest.mark.parametrize(("scheme", "asked_for"), [("socks5", "127.0.0.1"), ("socks5h", "localhost")])
def test_a_socks_proxy_is_used(
    scheme: str,
    asked_for: str,
    socks: Callable[..., SocksServer],
    serve: Callable[..., MisbehavingServer],
    session: ResilientSession,
) -> None:
    """With "socks5h", the proxy resolves the name; with "socks5", this process does."""
    proxy, server = socks(), serve(reply(200, b"fine"))
    port = int(server.netloc.rpartition(":")[2])
    response = session.get(f"http://localhost:{port}/", proxies={"http": f"{scheme}://{proxy.netloc}"})
    assert response.content == b"fine"
    assert proxy.wanted == [(asked_for, port)]


def test_a_socks_proxy_that_hangs_is_cut_off(socks: Callable[..., SocksServer]) -> None:
    """The negotiation with a SOCKS proxy ends at the deadline of the attempt."""
    proxy = socks(hang=True)
    with (
        ResilientSession(Policy(retries=0, attempt_timeout=0.2)) as session,
        pytest.raises(requests.ConnectTimeout) as raised,
    ):
        session.get("http://localhost/", proxies={"http": f"socks5h://{proxy.netloc}"})
    assert raised.value.reached == "connect"  # type: ignore[attr-defined]  # an AttemptConnectTimeout


def test_a_socks_proxy_that_is_down_is_a_connection_error(closed_port: str, session: ResilientSession) -> None:
    """A SOCKS proxy that is down raises ConnectionError."""
    with pytest.raises(requests.ConnectionError):
        session.get("http://localhost/", proxies={"http": f"socks5h://{closed_port}"})


@pytest.mark.parametrize("scheme", ["socks5", "socks4"])
def test_a_look_up_for_a_socks_proxy_that_hangs_is_cut_off(
    scheme: str, socks: Callable[..., SocksServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A look-up for a SOCKS proxy that needs an address ends at the deadline of the attempt."""
    proxy, done, look_up = socks(), threading.Event(), socket.getaddrinfo

    def getaddrinfo(host: str, *args: Any) -> Any:
        if host == "slow.example":
            done.wait(10)
            raise socket.gaierror(socket.EAI_NONAME, "too late")
        return look_up(host, *args)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    with ResilientSession(Policy(retries=0, attempt_timeout=0.2)) as session:
        session.trust_env = False
        with pytest.raises(requests.ConnectTimeout) as raised:
            session.get("http://slow.example/", proxies={"http": f"{scheme}://{proxy.netloc}"})
    done.set()
    assert raised.value.reached == "dns"  # type: ignore[attr-defined]  # an AttemptConnectTimeout
    assert proxy.wanted == []


def test_an_unknown_name_through_a_socks_proxy_is_not_retried(
    socks: Callable[..., SocksServer], session: ResilientSession, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An unknown name is a permanent failure through a proxy too."""
    proxy, look_up = socks(), socket.getaddrinfo

    def getaddrinfo(host: str, *args: Any) -> Any:
        if host == "missing.example":
            raise socket.gaierror(socket.EAI_NONAME, "no such name")
        return look_up(host, *args)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    with pytest.raises(requests.ConnectionError):
        session.get("http://missing.example/", proxies={"http": f"socks5://{proxy.netloc}"})
    assert clock.waits == []
    assert proxy.wanted == []
