"""ResilientSession sends requests through proxies."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.request import ProxyHandler, build_opener

import pytest
import requests

from core.http import ResilientSession
from core.http.testing import FakeClock
from tests.core.http.conftest import Serve
from tests.core.http.misbehave import reply


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
