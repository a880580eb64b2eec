"""TLS contexts: shared, and made anew when their files change."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
import requests

from core.http import ResilientSession, tls
from tests.core.http.misbehave import TLS, MisbehavingServer, Then, reply, server_context

CA = str(TLS / "ca.pem")


def test_connections_with_the_same_settings_share_a_context() -> None:
    """A bundle is parsed once, not for every connection."""
    assert tls.context(CA, None) is tls.context(CA, None)
    assert tls.context(False, None) is tls.context(None, None)


def test_connections_with_other_settings_do_not() -> None:
    """verify=False must not switch verification off for others."""
    contexts = [tls.context(True, None), tls.context(False, None), tls.context(CA, None)]
    assert len({id(context) for context in contexts}) == 3
    assert [context.verify_mode for context in contexts] == [ssl.CERT_REQUIRED, ssl.CERT_NONE, ssl.CERT_REQUIRED]


def test_a_bundle_that_changed_is_read_anew(tmp_path: Path) -> None:
    """A renewed certificate authority takes effect without a restart."""
    bundle = tmp_path / "ca.pem"
    bundle.write_bytes(Path(CA).read_bytes())
    before = tls.context(str(bundle), None)
    bundle.write_bytes(Path(CA).read_bytes() + b"\n# renewed\n")
    assert tls.context(str(bundle), None) is not before


def test_a_missing_bundle_is_the_callers_mistake(session: ResilientSession) -> None:
    """It raises what requests raises for it."""
    with pytest.raises(OSError, match=r"invalid path: /nowhere/ca\.pem"):
        session.get("https://127.0.0.1:1/", verify="/nowhere/ca.pem")


def test_a_bundle_that_is_none_is_an_ssl_error(session: ResilientSession, tmp_path: Path) -> None:
    """A file that holds no certificate raises SSLError, as in requests."""
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
