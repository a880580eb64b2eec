"""Sockets that other code has put in place keep the deadline, or are refused before anything is sent on them."""

from __future__ import annotations

import errno
import io
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import requests
import socks
import urllib3.contrib.pyopenssl
import urllib3.util.connection
import urllib3.util.ssl_

from core.http import Policy, ResilientAdapter, ResilientSession
from core.http.wire import sockets
from core.http.wire.requests_exceptions import UnsupportedSocket
from core.http.wire.sockets import CannotKeepDeadline, DeadlineSocket, keep_deadlines
from tests.core.http.conftest import Metrics, Serve
from tests.core.http.misbehave import TLS, Then, reply, server_context

CA = str(TLS / "ca.pem")
DRIPS = reply(200, b"", length=100_000, repeat=b"x", every=0.02)


class Wrapper:
    """A wrapper around a socket, like those of pyOpenSSL and eventlet."""

    def __init__(self, sock: socket.socket) -> None:
        self.wrapped = sock

    def __getattr__(self, name: str) -> Any:
        return getattr(self.wrapped, name)


@pytest.fixture
def pyopenssl() -> Iterator[None]:
    urllib3.contrib.pyopenssl.inject_into_urllib3()
    yield
    urllib3.contrib.pyopenssl.extract_from_urllib3()


@contextmanager
def refused(match: str) -> Iterator[None]:
    """Expect that nothing is sent, once and for all: no retry would help."""
    with pytest.raises(UnsupportedSocket, match=match) as raised:
        yield
    assert [attempt.outcome.sent for attempt in raised.value.attempts] == [False]  # type: ignore[attr-defined]
    assert not raised.value.attempts[0].outcome.transient  # type: ignore[attr-defined]
    assert raised.value.request is not None


# pyOpenSSL


@pytest.mark.parametrize("verify", [True, False, CA])
@pytest.mark.usefixtures("pyopenssl")
def test_pyopenssl_is_refused(verify: bool | str, serve: Serve, metrics: Metrics) -> None:
    """With pyOpenSSL injected, no connection is made, and the error says how to undo the injection."""
    server = serve(reply(200), context=server_context())
    with ResilientSession(Policy(retries=3)) as session:
        session.trust_env = False
        for _ in range(12):  # it is nothing that the server did: no breaker opens
            with refused(r"pyOpenSSL has replaced ssl.*extract_from_urllib3\(\)"):
                session.get(server.url, verify=verify)
    assert server.connections == 0


class _Versions(ResilientAdapter):
    """Hands TLS settings to urllib3, which makes a context of them itself."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, ssl_minimum_version=ssl.TLSVersion.TLSv1_2, **kwargs)


@pytest.mark.usefixtures("pyopenssl")
def test_pyopenssl_is_refused_where_urllib3_makes_the_context(serve: Serve) -> None:
    """Without a connection, as well; plain HTTP has nothing to do with it."""
    server, plain = serve(reply(200), context=server_context()), serve(reply(200, b"fine"))
    with requests.Session() as session:
        session.trust_env = False
        session.mount("https://", _Versions(Policy(retries=3)))
        session.mount("http://", ResilientAdapter())
        with refused("pyOpenSSL has replaced ssl"):
            session.get(server.url, verify=CA)
        assert session.get(plain.url).content == b"fine"
    assert server.connections == 0


def test_calls_work_after_pyopenssl_was_extracted(serve: Serve) -> None:
    """After pyOpenSSL's injection was undone, calls work and keep their deadline."""
    server = serve(reply(200, b"fine"), DRIPS, context=server_context())
    urllib3.contrib.pyopenssl.inject_into_urllib3()
    urllib3.contrib.pyopenssl.extract_from_urllib3()
    with ResilientSession(Policy(retries=0, attempt_timeout=1.0)) as session:
        session.trust_env = False
        assert session.get(server.url, verify=CA, timeout=60).content == b"fine"
        with pytest.raises(requests.ConnectionError, match="timed out in stage body"):
            session.get(server.url, verify=CA)


# Any other


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "TLS"])
def test_a_socket_that_cannot_keep_deadlines_is_refused(
    tls: bool, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A socket without deadlines is closed before the request is sent, and the error names its class."""
    server = serve(reply(200), context=server_context() if tls else None)
    owner, name = (urllib3.connection, "ssl_wrap_socket") if tls else (urllib3.util.connection, "create_connection")
    make = getattr(owner, name)
    monkeypatch.setattr(owner, name, lambda *args, **kwargs: Wrapper(make(*args, **kwargs)))
    with ResilientSession(Policy(retries=3)) as session:
        session.trust_env = False
        with refused(r"test_foreign_sockets\.Wrapper cannot enforce the attempt timeout"):
            session.get(server.url, verify=CA)
    assert server.closed.wait(60)
    assert server.requests == []


class Own(socket.socket):
    """A replacement of `socket.socket` that records sent data."""

    sent = 0

    def sendall(self, *args: Any) -> None:
        Own.sent += 1
        super().sendall(*args)


@pytest.mark.parametrize("kind", [socket.socket, Own, socks.socksocket], ids=["python's", "own", "PySocks'"])
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "TLS"])
def test_a_socket_of_another_class_becomes_one_of_ours(
    kind: type[socket.socket], tls: bool, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With another socket class, deadlines apply, and the methods of the class are still called."""
    if kind is socket.socket:
        make = urllib3.util.connection.create_connection
        monkeypatch.setattr(urllib3.util.connection, "create_connection", lambda *args, **kwargs: make(*args, **kwargs))  # noqa: PLW0108 - it is another
    else:
        monkeypatch.setattr(socket, "socket", kind)
    answers = reply(200, b"fine", then=Then.KEEP), DRIPS
    server = serve(*answers, context=server_context() if tls else None)
    with ResilientSession(Policy(retries=0, attempt_timeout=1.0)) as session:
        session.trust_env = False
        assert session.get(server.url, verify=CA, timeout=60).content == b"fine"
        with pytest.raises(requests.ConnectionError, match="timed out in stage body"):
            session.get(server.url, verify=CA)
    assert server.connections == 1
    assert bool(Own.sent) >= (kind is Own and not tls)


def test_a_connection_that_was_made_outside_of_a_call_keeps_deadlines_too(serve: Serve) -> None:
    """Calls keep their deadline on a pooled connection that was made outside of a call."""
    server = serve(reply(200, b"fine", then=Then.KEEP), DRIPS)
    adapter = ResilientAdapter(Policy(retries=0, attempt_timeout=1.0))
    with requests.Session() as session:
        session.trust_env = False
        session.mount("http://", adapter)
        pool = adapter.get_connection_with_tls_context(requests.Request("GET", server.url).prepare(), verify=True)
        assert pool.urlopen("GET", "/").data == b"fine"
        with pytest.raises(requests.ConnectionError, match="timed out in stage body"):
            session.get(server.url)
    assert server.connections == 1


def test_setdefaulttimeout_does_not_change_attempts(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """`socket.setdefaulttimeout` neither shortens an attempt nor lengthens it."""
    server = serve(reply(200, b"", length=2, repeat=b"x", every=0.5, times=2), DRIPS)
    before = socket.getdefaulttimeout()
    try:
        with ResilientSession(Policy(retries=0, attempt_timeout=60.0)) as session:
            session.trust_env = False
            socket.setdefaulttimeout(0.1)
            assert session.get(server.url).content == b"xx"
            socket.setdefaulttimeout(600)
            with pytest.raises(requests.ConnectionError, match="timed out in stage body"):
                session.get(server.url, timeout=1.0)
    finally:
        socket.setdefaulttimeout(before)


def test_a_plain_socket_is_replaced() -> None:
    """A plain socket is replaced by one of ours with its descriptor and its timeout."""
    left, right = socket.socketpair()
    with right:
        left.settimeout(7.0)
        with keep_deadlines(left) as ours:
            assert isinstance(ours, DeadlineSocket)
            assert (left.fileno(), ours.gettimeout()) == (-1, 7.0)
            ours.sendall(b"x")
            assert right.recv(1) == b"x"


class Slotted(socket.socket):
    """A socket that is laid out in memory as no other is."""

    __slots__ = ("more",)


def test_a_socket_that_cannot_become_ours_is_closed() -> None:
    """Python refuses to change its class."""
    sock = Slotted()
    with pytest.raises(CannotKeepDeadline, match="Slotted"):
        keep_deadlines(sock)
    assert sock.fileno() == -1


@pytest.mark.parametrize("descriptor", [-1, None, OSError(errno.EBADF, "none"), AttributeError("fileno")])
def test_fake_sockets_are_not_replaced(descriptor: object) -> None:
    """A fake socket without a descriptor is used as it is."""

    class Pretended(io.BytesIO):
        def fileno(self) -> Any:
            if isinstance(descriptor, Exception):
                raise descriptor
            return descriptor

    pretended = Pretended()
    assert keep_deadlines(pretended) is pretended


@pytest.mark.parametrize("tool", ["httpretty.core", "mocket.socket"])
def test_test_tools_with_descriptors_are_known(tool: str) -> None:
    """Theirs lead to no server either."""
    left, right = socket.socketpair()
    with left, right:
        fake = type("Fake", (Wrapper,), {"__module__": tool})(left)
        assert keep_deadlines(fake) is fake


def test_an_unconnected_socket_may_be_wrapped(monkeypatch: pytest.MonkeyPatch) -> None:
    """As with ssl's own: it is not closed for not being connected yet, for mocket connects it later."""
    context = ssl.create_default_context()
    context.sslsocket_class = sockets.DeadlineSSLSocket
    with context.wrap_socket(socket.socket(), server_hostname="host.test") as wrapped:
        assert wrapped.fileno() >= 0
