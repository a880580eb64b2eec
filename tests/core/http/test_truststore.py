"""With truststore in the place of ssl's contexts, calls verify by the system's store and keep their deadlines."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
import requests
import truststore

from core.http import Policy, ResilientAdapter, ResilientSession
from core.http.wire import tls_contexts
from tests.core.http.conftest import Serve
from tests.core.http.misbehave import HOLD, TLS, MisbehavingServer, Reply, Then, reply, server_context

CA = str(TLS / "ca.pem")
SERVED = server_context()
"""Of the server, which truststore has nothing to do with."""


@pytest.fixture
def injected(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Inject it as programs do, after core.http was imported."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "")
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere/ca.pem")
    monkeypatch.setattr("requests.adapters._preloaded_ssl_context", None, raising=False)
    truststore.inject_into_ssl()
    yield
    truststore.extract_from_ssl()


@pytest.fixture(params=["injected", "given"])
def session(request: pytest.FixtureRequest) -> Iterator[requests.Session]:
    """Make a session on truststore: by injection, and by a context that an adapter is given."""
    if request.param == "injected":
        request.getfixturevalue("injected")
        adapter = ResilientAdapter(Policy(retries=0, attempt_timeout=1.0))
    else:
        adapter = _Given(Policy(retries=0, attempt_timeout=1.0))
    with requests.Session() as session:
        session.trust_env = False
        session.mount("https://", adapter)
        yield session


class _Given(ResilientAdapter):
    """The adapter in truststore's documentation for urllib3."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, ssl_context=truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT), **kwargs)


@pytest.mark.parametrize("first", ["core.http", "truststore"])
def test_either_may_be_imported_first(first: str, serve: Serve) -> None:
    """Whichever is, the system's authorities are trusted, and the deadline holds."""
    from tests.core.http.gevent_programs import run  # noqa: PLC0415 - it runs programs of any kind

    drips = reply(200, b"", length=100_000, repeat=b"x", every=0.02)
    server = serve(reply(200, b"fine"), drips, context=SERVED)
    imports = ["from core.http import Policy, ResilientSession", "import truststore; truststore.inject_into_ssl()"]
    said = run(
        f"""
        import os
        os.environ["SSL_CERT_FILE"] = {CA!r}
        {imports[first == "truststore"]}
        {imports[first == "core.http"]}
        session = ResilientSession(Policy(retries=0, attempt_timeout=1.0))
        session.trust_env = False
        print(session.get({server.url!r}, timeout=60).text)
        try:
            session.get({server.url!r})
        except OSError as exc:
            print(type(exc).__name__)
        """,
        prelude="",
    )
    assert said == ["fine", "AttemptBodyTimeout"]


def test_the_systems_store_is_used(session: requests.Session, serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """verify=True trusts exactly the certificates of the system's store."""
    server = serve(*[reply(200, b"fine")] * 2, context=SERVED)
    with pytest.raises(requests.exceptions.SSLError):
        session.get(server.url)
    monkeypatch.setenv("SSL_CERT_FILE", CA)
    assert session.get(server.url, timeout=60).content == b"fine"


def test_a_bundle_is_trusted(session: requests.Session, serve: Serve) -> None:
    """verify=<path> trusts that file, as it does without truststore; connections are reused."""
    server = serve(*[reply(200, b"fine", then=Then.KEEP)] * 3, context=SERVED)
    assert [session.get(server.url, verify=CA).content for _ in range(3)] == [b"fine"] * 3
    assert server.connections == 1


@pytest.mark.filterwarnings("ignore:Unverified HTTPS request")
def test_no_verification(injected: None, serve: Serve) -> None:
    """verify=False verifies nothing, and the next call does again."""
    server = serve(*[reply(200, b"fine")] * 2, context=SERVED)
    with ResilientSession(Policy(retries=0)) as session:
        session.trust_env = False
        assert session.get(server.url, verify=False).content == b"fine"
        with pytest.raises(requests.exceptions.SSLError):
            session.get(server.url)


@pytest.mark.parametrize(
    ("reached", "answer"),
    [
        ("headers", HOLD),
        ("headers", Reply(b"", Then.HOLD, b"x", 0.02)),
        ("body", reply(200, b"", length=100_000, repeat=b"x", every=0.02)),
    ],
    ids=["silence", "headers", "body"],
)
def test_the_deadline_is_hard(reached: str, answer: Reply, session: requests.Session, serve: Serve) -> None:
    """A server that sends a byte now and then is cut off."""
    server = serve(answer, context=SERVED)
    with pytest.raises(requests.Timeout) as raised:
        session.get(server.url, verify=CA)
    assert raised.value.reached == reached  # type: ignore[attr-defined]


@contextmanager
def stuck(session: requests.Session, *, with_proxy: bool = False) -> Iterator[None]:
    """Have a call wait in its handshake with a server or an https proxy, for longer than the block lasts."""
    connected = threading.Event()
    silent = MisbehavingServer(context=SERVED, greetings=[Reply(b"", Then.DRAIN)], on_connect=connected.set)

    def call() -> None:
        with suppress(requests.RequestException):
            if with_proxy:
                session.get("https://127.0.0.1:9/", proxies={"https": silent.url}, verify=CA, timeout=600)
            else:
                session.get(silent.url, verify=CA, timeout=600)

    with silent:
        thread = threading.Thread(target=call)
        thread.start()
        assert connected.wait(60)
        yield
        assert thread.is_alive()
    thread.join()


def test_a_handshake_that_hangs_keeps_no_other_waiting(injected: None, serve: Serve) -> None:
    """Handshakes of one truststore context wait for each other: connections have one each."""
    server = serve(reply(200, b"fine"), context=SERVED)
    patient = Policy(retries=0, attempt_timeout=600.0, total_timeout=600.0)
    with ResilientSession(patient) as session:
        session.trust_env = False
        with stuck(session):
            assert session.get(server.url, verify=CA, timeout=60).content == b"fine"


def test_a_handshake_with_a_proxy_that_hangs_keeps_no_other_waiting(injected: None, serve: Serve) -> None:
    """Each tunnel has a TLS context of its own for the connection to its proxy."""
    proxy = serve(reply(403), context=SERVED)
    with ResilientSession(Policy(retries=0, attempt_timeout=600.0, total_timeout=600.0)) as session:
        session.trust_env = False
        with stuck(session, with_proxy=True), pytest.raises(requests.exceptions.ProxyError, match="403"):
            session.get("https://127.0.0.1:9/", proxies={"https": proxy.url}, verify=CA, timeout=60)


def test_who_waits_for_a_handshake_keeps_the_deadline(serve: Serve) -> None:
    """Connections of an adapter that brings a context share it: the wait for their turn is part of the attempt."""
    server = serve(reply(200, b"fine"), context=SERVED)
    patient = Policy(retries=0, attempt_timeout=600.0, total_timeout=600.0)
    with requests.Session() as session:
        session.trust_env = False
        session.mount("https://", _Given(patient))
        with stuck(session):
            with pytest.raises(requests.ConnectTimeout) as raised:
                session.get(server.url, verify=CA, timeout=0.3)
            assert raised.value.reached == "tls"  # type: ignore[attr-defined]
        assert session.get(server.url, verify=CA).content == b"fine"


def test_through_a_proxy(injected: None, serve: Serve) -> None:
    """A proxy that is spoken to over TLS is verified in the same way, and its connection keeps deadlines."""
    proxy = serve(reply(200, b"fine"), context=SERVED)
    with ResilientSession(Policy(retries=0)) as session:
        session.trust_env = False
        proxies = {"http": proxy.url}
        assert session.get("http://127.0.0.1:9/", proxies=proxies, verify=CA).content == b"fine"
        with pytest.raises(requests.exceptions.ProxyError):
            session.get("http://127.0.0.1:9/", proxies=proxies)


def test_contexts_made_before_the_injection_are_not_used_after_it(injected: None) -> None:
    """TLS contexts made before the injection are not used after it, and vice versa."""
    during = tls_contexts.context(CA, None)
    truststore.extract_from_ssl()
    assert isinstance(during, truststore.SSLContext)
    assert not isinstance(tls_contexts.context(CA, None), truststore.SSLContext)


def test_a_custom_socket_class_keeps_its_methods(serve: Serve) -> None:
    """A custom socket class gets our deadlines, and its own methods are still called."""

    class Counting(ssl.SSLSocket):
        sent = 0

        def send(self, *args: Any) -> int:
            Counting.sent += 1
            return super().send(*args)

    given = ssl.create_default_context(cafile=CA)
    given.sslsocket_class = Counting
    server = serve(reply(200, b"", length=100_000, repeat=b"x", every=0.02), context=SERVED)
    adapter = _Given(Policy(retries=0, attempt_timeout=1.0))
    adapter.poolmanager.connection_pool_kw["ssl_context"] = given
    with requests.Session() as session:
        session.trust_env = False
        session.mount("https://", adapter)
        with pytest.raises(requests.ConnectionError, match="timed out in stage body"):
            session.get(server.url, verify=CA)
    assert Counting.sent
