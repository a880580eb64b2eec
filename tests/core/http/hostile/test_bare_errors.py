"""A session raises only RequestExceptions for any server and URL; errors of the caller are raised unchanged."""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from requests.auth import AuthBase, HTTPDigestAuth
from requests.exceptions import InvalidHeader, InvalidProxyURL, InvalidURL

from core.http import ResilientSession
from core.http.events import Event
from core.http.outcome import Reason
from core.http.wire.requests_exceptions import UnexpectedFailure
from tests.core.http.conftest import Serve, raising
from tests.core.http.hostile.scenarios import FINE, PATIENT, certificate, ended, session_for
from tests.core.http.misbehave import Reply, Then, reply

LONG = "a" * 64
"""One character more than a label of a name may have."""


@pytest.fixture
def session() -> Iterator[ResilientSession]:
    with session_for(PATIENT) as session:
        yield session


# Challenges of digest authentication


def challenge(value: str) -> Reply:
    return reply(401, b"no", f"WWW-Authenticate: {value}", then=Then.KEEP)


@pytest.mark.parametrize(
    "value",
    [
        "Digest",
        "Digest realm",
        "Digest realm, nonce",
        'Digest realm="a"',
        'Digest nonce="b"',
        'Digest realm="a","',
        'Digest "',
        "Digest ,,,=,=",
        'digest realm="a',
        'Digest realm="\\',
        'Basic realm="x", Digest realm="a"',
        "NTLM, Digest",
    ],
)
def test_an_incomplete_challenge(value: str, session: ResilientSession, serve: Serve) -> None:
    """A digest challenge without a required field raises InvalidHeader after one attempt; the next call works."""
    server = serve(challenge(value), FINE)
    with pytest.raises(InvalidHeader, match="WWW-Authenticate") as raised:
        session.get(server.url, auth=HTTPDigestAuth("user", "passw0rd"))
    assert [attempt.outcome.status for attempt in raised.value.attempts] == [401]  # type: ignore[attr-defined]
    assert raised.value.request.headers
    assert session.get(server.url, auth=HTTPDigestAuth("user", "passw0rd")).content == b"fine"


@pytest.mark.parametrize("options", ["algorithm=FOO", 'algorithm=""', "algorithm", "qop", 'qop="auth-int"', "opaque"])
def test_a_challenge_that_cannot_be_met(options: str, session: ResilientSession, serve: Serve) -> None:
    """A challenge that requests does not support is returned as a 401."""
    server = serve(*[challenge(f'Digest realm="a", nonce="b", {options}')] * 2)
    assert session.get(server.url, auth=HTTPDigestAuth("user", "passw0rd")).status_code == 401


def test_a_bad_challenge_after_a_good_one(session: ResilientSession, serve: Serve) -> None:
    """An invalid challenge after a valid one raises InvalidHeader at the next request too."""
    good = challenge('Digest realm="a", nonce="b", qop="auth"')
    server = serve(good, good, challenge('Digest realm="a"'))
    session.auth = HTTPDigestAuth("user", "passw0rd")
    assert session.get(server.url).status_code == 401
    for statuses in ([401], []):
        with pytest.raises(InvalidHeader) as raised:
            session.get(server.url)
        assert [attempt.outcome.status for attempt in raised.value.attempts] == statuses  # type: ignore[attr-defined]


def test_credentials_that_digest_cannot_encode_pass(session: ResilientSession, serve: Serve) -> None:
    """The error for a user name that is no text is raised unchanged."""
    server = serve(challenge('Digest realm="a", nonce="b"'))
    with pytest.raises(UnicodeEncodeError):
        session.get(server.url, auth=HTTPDigestAuth("\ud800", "passw0rd"))


class _Own(AuthBase):
    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.register_hook("response", lambda response, **_: response.headers["X-Missing"])
        return request


def test_errors_of_custom_authentication_are_raised(session: ResilientSession, serve: Serve) -> None:
    """An error of the caller's authentication handler is raised unchanged."""
    with pytest.raises(KeyError):
        session.get(serve(reply(401, b"no")).url, auth=_Own())


def test_errors_of_hooks_are_raised(session: ResilientSession, serve: Serve) -> None:
    """An error in a response hook is raised unchanged, also from a library that the hook calls."""

    def hook(response: requests.Response, **_: Any) -> None:
        requests.utils.parse_header_links(response.status_code)  # type: ignore[arg-type]

    with pytest.raises(AttributeError):
        session.get(serve(FINE).url, hooks={"response": hook})


# URLs


@pytest.mark.parametrize("host", ["a..b", f"{LONG}.test", "a" * 300, "%D0%B0me"])
@pytest.mark.parametrize(
    ("scheme", "proxy"),
    [("http", "http"), ("https", "http"), ("https", "https"), ("http", "socks5h"), ("https", "socks4a")],
)
def test_a_host_that_only_a_proxy_would_look_up(
    scheme: str, proxy: str, host: str, session: ResilientSession, serve: Serve, events: list[Event]
) -> None:
    """An invalid host name raises InvalidURL with a proxy too, and the proxy gets no request."""
    server = serve()
    with pytest.raises(InvalidURL):
        session.get(f"{scheme}://{host}/", proxies={scheme: f"{proxy}://{server.netloc}"})
    (attempt,) = ended(events).attempts
    assert (attempt.outcome.reason, attempt.outcome.sent) == (Reason.OTHER, False)
    assert server.connections == 0


@pytest.mark.parametrize(
    "location", ["https://.a/", "http://.a/", "http://a..b/", "http://%D0%B0me/", f"https://{LONG}/"]
)
def test_a_redirect_to_a_host_that_only_a_proxy_would_look_up(
    location: str, session: ResilientSession, serve: Serve
) -> None:
    """A redirect to a host name that only a proxy would resolve is an error too."""
    proxy = serve(reply(302, b"", f"Location: {location}", then=Then.KEEP))
    with pytest.raises(InvalidURL):
        session.get("http://example.org/", proxies={"http": proxy.url, "https": proxy.url})


@pytest.mark.parametrize("user", ["us%E2%82%ACer", "us\u20acer", "%ff"])
def test_a_url_with_a_user_that_basic_authentication_cannot_encode(user: str, session: ResilientSession) -> None:
    """A URL whose user cannot be encoded raises InvalidURL, without the password."""
    with pytest.raises(InvalidURL) as raised:
        session.get(f"http://{user}:passw0rd@127.0.0.1/")
    assert "passw0rd" not in str(raised.value)
    assert raised.value.attempts == ()  # type: ignore[attr-defined]


def test_a_user_argument_that_basic_authentication_cannot_encode_passes(session: ResilientSession) -> None:
    """The error for an ``auth`` that cannot be encoded is raised unchanged."""
    with pytest.raises(UnicodeEncodeError):
        session.get("http://user:passw0rd@127.0.0.1/", auth=("us\u20acer", "passw0rd"))


@pytest.mark.parametrize(
    "proxy", ["http://us%E2%82%ACer:passw0rd@", "https://us\u20acer:passw0rd@", "socks9://u:passw0rd@"]
)
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_an_invalid_address_of_a_proxy(proxy: str, scheme: str, session: ResilientSession, serve: Serve) -> None:
    """An invalid or unsupported proxy URL raises InvalidProxyURL, without its password."""
    server = serve()
    with pytest.raises(InvalidProxyURL) as raised:
        session.get(f"{scheme}://example.org/", proxies={scheme: f"{proxy}{server.netloc}"})
    assert "passw0rd" not in str(raised.value)
    assert server.connections == 0


def test_a_redirect_to_where_the_proxy_has_a_bad_address(session: ResilientSession, serve: Serve) -> None:
    """The address of a proxy that only a redirect leads to is an InvalidProxyURL, too."""
    server = serve(reply(302, b"", "Location: http://elsewhere.test/"))
    proxies = {"http://elsewhere.test": "http://us%E2%82%ACer:passw0rd@proxy.test"}
    with pytest.raises(InvalidProxyURL):
        session.get(server.url, proxies=proxies)


# Libraries that fail in other ways than they should


@pytest.mark.parametrize("error", [KeyError("x"), AssertionError(), TypeError("x"), RecursionError()], ids=repr)
def test_a_library_that_fails_on_a_head(
    error: Exception, session: ResilientSession, serve: Serve, monkeypatch: pytest.MonkeyPatch, events: list[Event]
) -> None:
    """An unexpected error of http.client is a ConnectionError, and is not retried."""
    server = serve(FINE, FINE)
    monkeypatch.setattr(http.client.HTTPResponse, "begin", raising(error, "http.client"))
    with pytest.raises(UnexpectedFailure) as raised:
        session.get(server.url)
    assert raised.value.__cause__ is error
    assert [(each.outcome.reason, each.outcome.sent) for each in ended(events).attempts] == [(Reason.OTHER, True)]
    monkeypatch.undo()
    assert session.get(server.url).content == b"fine"


def test_a_library_that_fails_on_a_handshake(
    session: ResilientSession, serve: Serve, monkeypatch: pytest.MonkeyPatch, events: list[Event]
) -> None:
    """The same before anything was sent is nothing that speaks against the upstream."""
    monkeypatch.setattr("urllib3.connection.ssl_wrap_socket", raising(RuntimeError("x"), "ssl"))
    with pytest.raises(UnexpectedFailure):
        session.get(serve(FINE, context=certificate()).url)
    assert [(each.outcome.reason, each.outcome.sent) for each in ended(events).attempts] == [(Reason.OTHER, False)]


class TimeLimitError(Exception):
    """An error that a task queue raises in any line of code."""


@pytest.mark.parametrize(
    ("error", "module"),
    [(KeyError("x"), "somebody.elses"), (TimeLimitError(), "http.client"), (UserWarning(), "urllib3")],
)
@pytest.mark.parametrize("where", ["begin", "read"])
def test_errors_of_the_caller_in_an_attempt_are_raised(
    error: Exception, module: str, where: str, session: ResilientSession, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Errors of a signal handler, of a task queue's time limit or of a warning are raised unchanged."""
    monkeypatch.setattr(http.client.HTTPResponse, where, raising(error, module))
    with pytest.raises(type(error)):
        session.get(serve(FINE).url)


# Arguments


def test_errors_of_a_request_body_are_raised(session: ResilientSession, serve: Serve) -> None:
    """An error of a generator that is the body of a request is raised unchanged."""

    def body() -> Iterator[bytes]:
        yield b"first"
        raise LookupError

    with pytest.raises(LookupError):
        session.post(serve(FINE).url, data=body())


def test_a_closed_file_as_the_body_of_a_request_passes(session: ResilientSession, serve: Serve, tmp_path: Path) -> None:
    """The error of a closed file as the body is raised unchanged, although http.client reads it."""
    path = tmp_path / "body"
    path.write_bytes(b"x" * 10)
    with path.open("rb") as file:
        request = session.prepare_request(requests.Request("POST", serve(FINE).url, data=file))
    with pytest.raises(ValueError, match="closed file"):
        session.send(request)


def test_a_header_that_cannot_be_encoded_passes(session: ResilientSession, serve: Serve) -> None:
    """The error of a header that cannot be encoded is raised unchanged."""
    with pytest.raises(UnicodeEncodeError):
        session.get(serve(FINE).url, headers={"X-Name": "\u20ac"})


def test_a_certificate_that_is_not_there_passes(session: ResilientSession, tmp_path: Path) -> None:
    """The error of a missing certificate file is raised unchanged."""
    with pytest.raises(OSError, match="Could not find the TLS certificate file"):
        session.get("https://127.0.0.1:1/", cert=str(tmp_path / "none.pem"))
