"""TLS contexts are shared, and created again when their files change."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import requests
from urllib3.util.ssl_ import create_urllib3_context

from core.http import Policy, ResilientAdapter, ResilientSession
from core.http.wire import tls_contexts
from tests.core.http.misbehave import TLS, MisbehavingServer, Reply, Then, reply, server_context

CA = str(TLS / "ca.pem")


def test_connections_with_the_same_settings_share_a_context() -> None:
    """Connections with the same settings share a context, so a CA bundle is parsed once."""
    assert tls_contexts.context(CA, None) is tls_contexts.context(CA, None)
    assert tls_contexts.context(False, None) is tls_contexts.context(None, None)


def test_connections_with_other_settings_do_not() -> None:
    """A context without verification is not shared with verified connections."""
    contexts = [tls_contexts.context(True, None), tls_contexts.context(False, None), tls_contexts.context(CA, None)]
    assert len({id(context) for context in contexts}) == 3
    assert [context.verify_mode for context in contexts] == [ssl.CERT_REQUIRED, ssl.CERT_NONE, ssl.CERT_REQUIRED]


def test_a_bundle_that_changed_is_read_anew(tmp_path: Path) -> None:
    """A renewed certificate authority takes effect without a restart."""
    bundle = tmp_path / "ca.pem"
    bundle.write_bytes(Path(CA).read_bytes())
    before = tls_contexts.context(str(bundle), None)
    bundle.write_bytes(Path(CA).read_bytes() + b"\n# renewed\n")
    assert tls_contexts.context(str(bundle), None) is not before


def test_a_directory_of_certificates_is_trusted(
    serve: Callable[..., MisbehavingServer], session: ResilientSession, tmp_path: Path
) -> None:
    """As in requests, `verify` may be a directory as c_rehash of OpenSSL makes it."""
    server = serve(reply(200, b"fine"), context=server_context())
    (tmp_path / "28f3c66f.0").write_bytes(Path(CA).read_bytes())  # the hash of the subject
    assert session.get(server.url, verify=str(tmp_path)).content == b"fine"


def test_a_missing_bundle_raises_the_error_of_requests(session: ResilientSession) -> None:
    """A CA bundle that does not exist raises the same error as in requests."""
    with pytest.raises(OSError, match=r"invalid path: /nowhere/ca\.pem"):
        session.get("https://127.0.0.1:1/", verify="/nowhere/ca.pem")


def test_an_invalid_bundle_is_an_ssl_error(session: ResilientSession, tmp_path: Path) -> None:
    """A CA bundle without a certificate raises SSLError, as in requests."""
    bundle = tmp_path / "ca.pem"
    bundle.write_text("nothing of the kind")
    with pytest.raises(requests.exceptions.SSLError):
        session.get("https://127.0.0.1:1/", verify=str(bundle))


def test_a_bundle_of_the_environment_is_honoured(
    serve: Callable[..., MisbehavingServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """REQUESTS_CA_BUNDLE says whom to trust, as in requests."""
    server = serve(reply(200, b"fine", then=Then.KEEP), context=server_context())
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", CA)
    with ResilientSession() as session:
        assert session.get(server.url).content == b"fine"


def test_verification_is_not_lost_to_a_call_without(
    serve: Callable[..., MisbehavingServer], session: ResilientSession
) -> None:
    """After verify=False the next call to the same server verifies again."""
    server = serve(reply(200, then=Then.KEEP), reply(200, then=Then.KEEP), context=server_context())
    with pytest.warns(Warning, match="Unverified HTTPS request"):
        session.get(server.url, verify=False)
    with pytest.raises(requests.exceptions.SSLError):
        session.get(server.url)


def test_no_verification_may_be_written_in_any_way(
    serve: Callable[..., MisbehavingServer], session: ResilientSession
) -> None:
    """verify=0 and verify="" mean verify=False, as in requests."""
    server = serve(*[reply(200, b"fine", then=Then.KEEP)] * 2, context=server_context())
    for verify in (0, ""):
        with pytest.warns(Warning, match="Unverified HTTPS request"):
            assert session.get(server.url, verify=verify).content == b"fine"


# Proxies that are spoken to over TLS


ESTABLISHED = Reply(b"HTTP/1.1 200 Connection established\r\n\r\n")
"""What a proxy says to CONNECT; this one hangs up then."""


def asks(session: ResilientSession, proxy: MisbehavingServer, target: str, verify: bool | str) -> bool:
    """Call through `proxy`; say whether it was spoken to."""
    before = len(proxy.requests)
    proxies = {"http": proxy.url, "https": proxy.url}
    with suppress(requests.ConnectionError):
        session.get(target, proxies=proxies, verify=verify)
    return len(proxy.requests) > before


@pytest.mark.filterwarnings("ignore:Unverified HTTPS request")
@pytest.mark.parametrize("target", ["http://127.0.0.1:9/", "https://127.0.0.1:9/"])
@pytest.mark.parametrize(
    "verifies",
    [
        [True, False, True],
        [False, True],
        [False, CA, True],
        [CA, True, CA],
        [CA, False, True, CA],
    ],
)
def test_each_call_decides_which_proxy_it_trusts(
    verifies: list[bool | str], target: str, serve: Callable[..., MisbehavingServer]
) -> None:
    """Each call verifies the proxy's certificate with its own bundle, before a byte is sent."""
    answer = ESTABLISHED if target.startswith("https") else reply(200, b"fine")
    proxy = serve(*[answer] * len(verifies), context=server_context())
    with ResilientSession(Policy(retries=0)) as session:
        session.trust_env = False
        reached = [asks(session, proxy, target, verify) for verify in verifies]
    assert reached == [verify is not True for verify in verifies]


def test_a_proxy_over_tls_is_used(serve: Callable[..., MisbehavingServer], session: ResilientSession) -> None:
    """Answers through a TLS proxy arrive, and the connection to the proxy is reused."""
    proxy = serve(*[reply(200, b"fine", then=Then.KEEP)] * 2, context=server_context())
    for _ in range(2):
        response = session.get("http://127.0.0.1:9/page", proxies={"http": proxy.url}, verify=CA)
        assert response.content == b"fine"
    assert [request.split(b" ")[1] for request in proxy.requests] == [b"http://127.0.0.1:9/page"] * 2
    assert proxy.connections == 1


# TLS settings of a subclass


class TLSAdapter(ResilientAdapter):
    """An adapter as people write them: it hands TLS settings to urllib3's pool manager."""

    def __init__(self, policy: Policy | None = None, **settings: Any) -> None:
        self.settings = settings
        super().__init__(policy or Policy(retries=0))

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **self.settings, **kwargs)


def mounted(adapter: ResilientAdapter) -> requests.Session:
    session = requests.Session()
    session.trust_env = False
    session.mount("https://", adapter)
    return session


@pytest.mark.parametrize("make", [create_urllib3_context, lambda: create_urllib3_context(ciphers="DEFAULT")])
def test_a_context_of_a_subclass_is_used(
    make: Callable[[], ssl.SSLContext], serve: Callable[..., MisbehavingServer]
) -> None:
    """verify= and cert= of the call are loaded into the context that the adapter was given."""
    server = serve(reply(200, b"fine"), context=server_context(ask_for_client_certificate=True))
    given = make()
    with mounted(TLSAdapter(ssl_context=given)) as session:
        assert session.get(server.url, verify=CA, cert=str(TLS / "client.pem")).content == b"fine"
    assert server.peers == ["client"]
    assert len(given.get_ca_certs()) == 1


def test_a_context_of_a_subclass_may_bring_everything(serve: Callable[..., MisbehavingServer]) -> None:
    """Certificates that the given context has already are presented and trusted."""
    server = serve(reply(200, b"fine"), context=server_context(ask_for_client_certificate=True))
    given = create_urllib3_context()
    given.load_verify_locations(CA)
    given.load_cert_chain(TLS / "client.pem")
    with mounted(TLSAdapter(ssl_context=given)) as session:
        assert session.get(server.url).content == b"fine"
    assert server.peers == ["client"]


def test_a_context_of_a_subclass_verifies(serve: Callable[..., MisbehavingServer]) -> None:
    """A context of one's own is no way around verification."""
    server = serve(reply(200), context=server_context())
    with (
        mounted(TLSAdapter(ssl_context=create_urllib3_context())) as session,
        pytest.raises(requests.exceptions.SSLError),
    ):
        session.get(server.url)
    assert server.requests == []


def test_the_lowest_version_of_a_subclass_holds(serve: Callable[..., MisbehavingServer]) -> None:
    """A server that speaks nothing newer than TLS 1.2 is refused where an adapter asks for 1.3."""
    old = server_context()
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    server = serve(reply(200, b"fine"), reply(200, b"fine"), context=old)
    with (
        mounted(TLSAdapter(ssl_minimum_version=ssl.TLSVersion.TLSv1_3)) as session,
        pytest.raises(requests.exceptions.SSLError),
    ):
        session.get(server.url, verify=CA)
    assert server.requests == []
    with mounted(TLSAdapter()) as session:
        assert session.get(server.url, verify=CA).content == b"fine"


def test_a_name_that_one_adapter_does_not_check_is_checked_by_all_others(
    serve: Callable[..., MisbehavingServer], session: ResilientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """assert_hostname=False holds for its adapter, and leaves shared contexts alone."""
    server = serve(*[reply(200, b"fine")] * 4, context=server_context())
    look_up = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", lambda _, *args: look_up("127.0.0.1", *args))
    url = server.url.replace("127.0.0.1", "wrong.example")
    shared = tls_contexts.context(CA, None)
    with pytest.raises(requests.exceptions.SSLError):
        session.get(url, verify=CA)
    with mounted(TLSAdapter(assert_hostname=False)) as careless:
        assert careless.get(url, verify=CA).content == b"fine"
    assert tls_contexts.context(CA, None) is shared
    assert shared.check_hostname
    with pytest.raises(requests.exceptions.SSLError):
        session.get(url, verify=CA)


@pytest.mark.parametrize(
    "settings",
    [
        lambda: {"ssl_context": create_urllib3_context()},
        lambda: {"ssl_context": ssl.create_default_context(cafile=CA)},
        lambda: {"ssl_minimum_version": ssl.TLSVersion.TLSv1_2},
        lambda: {"assert_hostname": False},
        dict,
    ],
    ids=["context", "context of ssl", "version", "hostname", "none"],
)
def test_the_deadline_applies_with_any_context(
    settings: Callable[[], dict[str, Any]], serve: Callable[..., MisbehavingServer]
) -> None:
    """A slow body over TLS ends at the deadline of the attempt, also with a custom TLS context."""
    drip = reply(200, b"", length=10_000, repeat=b".", every=0.02, times=200)
    server = serve(drip, context=server_context())
    with (
        mounted(TLSAdapter(Policy(retries=0, attempt_timeout=0.2), **settings())) as session,
        pytest.raises(requests.ConnectionError, match=r"GET to 127.0.0.1:[0-9]+ timed out in stage body"),
    ):
        session.get(server.url, verify=CA)
    assert not server.said.is_set()


def test_tls_settings_of_a_subclass_survive_a_fork(serve: Callable[..., MisbehavingServer]) -> None:
    """A child process creates its TLS contexts with the settings of the subclass."""
    adapter = TLSAdapter(assert_hostname=False)
    adapter.after_fork()
    assert adapter.poolmanager.connection_pool_kw["assert_hostname"] is False
