"""Memory that hostile servers can make a session or the process keep; for cookies, see tests/core/http/wire."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from core.http import ResilientSession, process
from core.http.adapter import POOL_HOSTS
from core.http.registry import MOST_OTHER_HOSTS
from core.http.shared.upstream_diagnostics import MOST_HOSTS
from core.http.wire import tls_contexts
from core.http.wire.resolver import Resolver
from tests.core.http.conftest import Serve
from tests.core.http.hostile.scenarios import TLS, certificate
from tests.core.http.misbehave import reply


def test_redirects_to_many_hosts(session: ResilientSession, serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """Connections to the latest are kept, and their number is bounded; so are the hosts of which anything is known."""
    look_up = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", lambda _, *rest, **named: look_up("127.0.0.1", *rest, **named))
    hops = 3 * POOL_HOSTS
    server = serve(routes={})
    port = server.netloc.rpartition(":")[2]
    server.routes = {
        str(hop): reply(302 if hop < hops else 503, b"", f"Location: http://h{hop}.test:{port}/{hop + 1}")
        for hop in range(hops + 1)
    }
    session.max_redirects = hops
    assert session.get(f"{server.url}/0").status_code == 503
    adapter: Any = session.get_adapter("http://")
    assert len(adapter.poolmanager.pools) == POOL_HOSTS
    assert len(process.current().known()) <= MOST_OTHER_HOSTS
    assert len(process.current().diagnostics.of("other").failures) <= MOST_HOSTS


def test_the_bodies_of_redirects(session: ResilientSession, serve: Serve) -> None:
    """The last response keeps the bodies of redirects up to 1 MiB; larger ones are dropped, and the call continues."""
    sizes = {"0": 2**20, "1": 2**20 + 1, "2": 10}
    routes = {path: reply(302, b"x" * size, f"Location: /{int(path) + 1}") for path, size in sizes.items()}
    response = session.get(f"{serve(routes={**routes, '3': reply(200)}).url}/0")
    assert [len(each.content) for each in response.history] == [2**20, 0, 10]
    assert response.content == b"ok"


def test_tickets_of_tls_are_not_kept(session: ResilientSession, serve: Serve) -> None:
    """TLS session tickets are not kept after the connection was closed."""
    server = serve(*[reply(200)] * 20, context=certificate("valid"))
    for _ in range(20):
        session.get(server.url, verify=str(TLS / "ca.pem"))
    assert tls_contexts.context(str(TLS / "ca.pem"), None).session_stats()["number"] == 0


def test_look_ups_that_are_given_up_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """While all look-up threads hang, look-ups whose callers have given up leave the queue."""
    resolver = Resolver(threads=0)
    for number in range(1000):
        with pytest.raises(TimeoutError):
            resolver.resolve(f"{number}.test", 80, 0.0)
    assert len(resolver._queue) <= 1
