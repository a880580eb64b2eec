from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
import requests
import responses as responses_library
from prometheus_client import REGISTRY

from core.http import ResilientAdapter, ResilientSession, process
from core.http.events import Event
from core.http.testing import FakeClock, OutboundHTTP
from tests.core.http.misbehave import MisbehavingServer, Reply
from tests.core.http.wire.socks_server import SocksServer

Serve = Callable[..., MisbehavingServer]


@pytest.fixture
def clock(outbound_http: OutboundHTTP) -> FakeClock:
    return outbound_http.clock


@pytest.fixture
def session() -> Iterator[ResilientSession]:
    with ResilientSession() as session:
        session.trust_env = False  # no proxy of the machine that runs the tests
        yield session


@pytest.fixture
def responses() -> Iterator[responses_library.RequestsMock]:
    with responses_library.RequestsMock(assert_all_requests_are_fired=False) as mock:
        yield mock


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Start local servers: ``serve(reply(503), reply(200))``."""
    with ExitStack() as stack:

        def start(*script: Reply, **options: object) -> MisbehavingServer:
            return stack.enter_context(MisbehavingServer(list(script), **options))  # type: ignore[arg-type]

        yield start


@pytest.fixture
def closed_port() -> str:
    """Return an address that refuses connections."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{unused.getsockname()[1]}"


@pytest.fixture
def black_hole() -> Iterator[Callable[[], tuple[str, int]]]:
    """Make addresses that answer no attempt to connect, as a firewall does that drops packets."""
    with ExitStack() as stack:

        def make() -> tuple[str, int]:
            listener = stack.enter_context(socket.socket())
            listener.bind(("127.0.0.1", 0))
            listener.listen(0)
            address = listener.getsockname()
            while True:  # until the backlog is full
                filler = stack.enter_context(socket.socket())
                filler.settimeout(0.05)
                try:
                    filler.connect(address)
                except TimeoutError:
                    return str(address[0]), int(address[1])

        yield make


@pytest.fixture
def events(outbound_http: OutboundHTTP) -> list[Event]:
    """Return the events that observers receive."""
    seen: list[Event] = []
    process.use(lambda: process.ProcessRegistry(observers=(seen.append,)))
    return seen


def raising(error: BaseException, module: str) -> Callable[..., Any]:
    """Return a function that raises `error`, as one of that module would."""
    names: dict[str, Any] = {"__name__": module, "error": error}
    exec("def broken(*args, **kwargs):\n    raise error", names)
    broken: Callable[..., Any] = names["broken"]
    return broken


class Metrics:
    """The growth of the process's series since the test began."""

    def __init__(self) -> None:
        self._before = self.now()

    def __call__(self, name: str, **labels: str) -> float:
        """Return the growth of a series. Raises `KeyError` if the series does not exist."""
        key = (f"outbound_http_{name}", frozenset(labels.items()))
        return self.now()[key] - self._before.get(key, 0.0)

    @staticmethod
    def now() -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
        return {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for metric in REGISTRY.collect()
            for sample in metric.samples
        }


@pytest.fixture
def metrics(outbound_http: OutboundHTTP) -> Metrics:
    assert outbound_http.registry  # made, so that its series exist
    return Metrics()


@pytest.fixture
def foreign() -> Iterator[requests.Session]:
    """Return a plain session of requests on which the adapter is mounted."""
    with requests.Session() as session:
        session.trust_env = False
        session.mount("http://", ResilientAdapter())
        session.mount("https://", ResilientAdapter())
        yield session


@pytest.fixture
def socks() -> Iterator[Callable[..., SocksServer]]:
    """Start SOCKS proxies: ``socks()``, or ``socks(hang=True)`` for one that never answers."""
    servers: list[SocksServer] = []

    def start(*, hang: bool = False) -> SocksServer:
        servers.append(SocksServer(hang=hang))
        return servers[-1]

    yield start
    for server in servers:
        server.close()
