"""Connecting: which resolver looks a name up, and how the addresses of a name share the time of an attempt."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from core.http.wire import connect, resolver
from core.http.wire.address_guard import Refused
from core.http.wire.attempt_context import AttemptContext, Stage
from core.http.wire.resolver import AddressInfo

FIRST, SECOND = ("93.184.216.34", 80), ("93.184.216.35", 80)


@pytest.mark.parametrize(
    ("untrusted", "configured", "expected"),
    [
        (True, True, resolver.untrusted_hosts),
        (True, False, resolver.untrusted_hosts),
        (False, True, resolver.configured_hosts),
        (False, False, resolver.other_hosts),
    ],
)
def test_kinds_of_hosts_share_no_threads(untrusted: bool, configured: bool, expected: resolver.Resolver) -> None:
    """Hanging look-ups of hosts that users submit do not delay those of other hosts."""
    assert connect.names(AttemptContext(60, untrusted=untrusted, configured=configured)) is expected


@pytest.mark.parametrize(
    ("host", "address"),
    [("127.0.0.1", "127.0.0.1"), ("::1", "::1"), ("[::1]", "::1"), ("localhost", None), ("127.0.0.1.example", None)],
)
def test_an_address_is_not_looked_up(host: str, address: str | None) -> None:
    """An IP address, also in brackets, needs no resolver, so no thread."""
    assert {info[4][0] for info in connect.literal(host, 80)} == ({address} if address else set())


@pytest.mark.parametrize("host", ["a..b", "x" * 64])
def test_a_name_that_cannot_exist_is_not_looked_up(host: str) -> None:
    """An invalid name fails like a name that does not exist, not as an error of a codec."""
    with pytest.raises(socket.gaierror) as raised:
        connect.literal(host, 80)
    assert raised.value.errno == socket.EAI_NONAME


class FakeSocket:
    """A socket that records what is done with it; `refused` addresses do not accept a connection."""

    def __init__(self, refused: set[tuple[str, int]]) -> None:
        self._refused = refused
        self.options: list[tuple[int, ...]] = []
        self.timeouts: list[float] = []
        self.bound: tuple[str, int] | None = None
        self.peer: tuple[str, int] | None = None
        self.closed = False

    def setsockopt(self, *option: int) -> None:
        self.options.append(option)

    def settimeout(self, seconds: float) -> None:
        self.timeouts.append(seconds)

    def bind(self, address: tuple[str, int]) -> None:
        self.bound = address

    def connect(self, address: tuple[str, int]) -> None:
        if address in self._refused:
            raise ConnectionRefusedError(*address)
        self.peer = address

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[FakeSocket]:
    """Return the list of the sockets that are made; names have two addresses."""
    infos: list[AddressInfo] = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", address) for address in (FIRST, SECOND)]
    monkeypatch.setattr(connect, "resolve", lambda *_: infos)
    return []


def open_socket(made: list[FakeSocket], attempt: AttemptContext, *refused: tuple[str, int], **how: Any) -> FakeSocket:
    def make(*_: int) -> FakeSocket:
        made.append(FakeSocket(set(refused)))
        return made[-1]

    how = {"timeout": None, "source_address": None, "socket_options": (), **how}
    sock: Any = connect.connect(attempt, "two.example", 80, make=make, **how)
    assert isinstance(sock, FakeSocket)
    return sock


def test_addresses_share_the_time_of_the_attempt(made: list[FakeSocket]) -> None:
    """With two addresses, the first one may take half of the time, so that the second one is tried as well."""
    attempt = AttemptContext(1000)
    sock = open_socket(made, attempt, FIRST)
    first, second = made
    assert 400 < first.timeouts[0] <= 500
    assert all(900 < seconds <= 1000 for seconds in second.timeouts)
    assert (first.closed, second.closed, sock.peer) == (True, False, SECOND)
    assert attempt.stage is Stage.CONNECT


@pytest.mark.parametrize(("timeout", "first", "then"), [(2.0, 2.0, 2.0), (700.0, 500.0, 700.0)])
def test_a_connect_timeout_shortens_it(made: list[FakeSocket], timeout: float, first: float, then: float) -> None:
    """`timeout` is a limit for each address and for what follows; it never lengthens the share of an address."""
    sock = open_socket(made, AttemptContext(1000), timeout=timeout)
    assert [round(seconds, -1) for seconds in sock.timeouts] == [round(first, -1), round(then, -1)]


def test_the_last_error_is_raised(made: list[FakeSocket]) -> None:
    """If no address accepts, the error of the last one is raised, and no socket stays open."""
    with pytest.raises(ConnectionRefusedError) as raised:
        open_socket(made, AttemptContext(1000), FIRST, SECOND)
    assert raised.value.args == SECOND
    assert [sock.closed for sock in made] == [True, True]


def test_socket_options_and_source_address(made: list[FakeSocket]) -> None:
    """Both are set before the connection is made, as in urllib3."""
    option = (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock = open_socket(made, AttemptContext(1000), socket_options=[option], source_address=("127.0.0.2", 0))
    assert (sock.options, sock.bound) == ([option], ("127.0.0.2", 0))


def test_all_addresses_of_a_users_host_are_checked(made: list[FakeSocket], monkeypatch: pytest.MonkeyPatch) -> None:
    """One private address is enough to refuse the host, before a connection is made; trusted hosts may have one."""
    infos = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", address) for address in (FIRST, ("10.0.0.1", 80))]
    monkeypatch.setattr(connect, "resolve", lambda *_: infos)
    with pytest.raises(Refused):
        open_socket(made, AttemptContext(1000, untrusted=True))
    assert made == []
    assert open_socket(made, AttemptContext(1000)).peer == FIRST
