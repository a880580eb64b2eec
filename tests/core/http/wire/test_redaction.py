"""Errors contain no secret."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable

import pytest
import requests
from responses import RequestsMock

from core.http import ResilientSession
from core.http.testing import FakeClock
from core.http.wire import redaction
from tests.core.http.misbehave import RESET, MisbehavingServer, reply

SECRETS = ("us3r", "passw0rd", "t0ken", "f1lter", "h3ader", "c00kie", "b0dy", "fragm3nt")


def ask(session: ResilientSession, netloc: str) -> str:
    """Make a call that fails, with a secret in every place; return the traceback and the log."""
    with pytest.raises(requests.RequestException) as raised:
        session.put(
            f"http://us3r:passw0rd@{netloc}/path?token=t0ken&q=f1lter#fragm3nt",
            headers={"Authorization": "Bearer h3ader"},
            cookies={"session": "c00kie"},
            data="b0dy",
        ).raise_for_status()
    return "".join(traceback.format_exception(raised.value))


@pytest.mark.parametrize(
    "start",
    [
        lambda serve: "127.0.0.1:1",
        lambda serve: serve(RESET, RESET, RESET, RESET).netloc,
        lambda serve: serve(*4 * [reply(200, b"cut", length=10)]).netloc,
        lambda serve: serve(reply(404)).netloc,
        lambda serve: serve(*4 * [reply(503)]).netloc,
        lambda serve: serve(reply(302, b"", "Location: http://us3r:passw0rd@[bad/?token=t0ken")).netloc,
        lambda serve: "name.invalid:x",
        lambda serve: "[::1",
    ],
    ids=["refused", "reset", "truncated", "client error", "server error", "redirect", "bad port", "bad host"],
)
def test_no_failure_reveals_a_secret(
    start: Callable[[Callable[..., MisbehavingServer]], str],
    serve: Callable[..., MisbehavingServer],
    session: ResilientSession,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Neither the traceback, with chained errors, nor a log record of INFO or above contains a secret."""
    caplog.set_level(logging.INFO)
    told = ask(session, start(serve))
    source = "".join(line for line in told.splitlines(keepends=True) if not line.startswith("    "))
    assert [secret for secret in SECRETS if secret in source] == []
    assert [secret for secret in SECRETS if secret in caplog.text] == []


def test_the_error_still_says_what_happened(closed_port: str, session: ResilientSession) -> None:
    """Only secrets are masked; the error still has host, path and cause."""
    told = ask(session, closed_port)
    assert closed_port.partition(":")[0] in told
    assert "/path?***" in told
    assert "Connection refused" in told


def test_other_errors_are_not_changed(closed_port: str, session: ResilientSession) -> None:
    """An error that the caller was handling when it made the call keeps its text."""
    mine = ValueError("about token=t0ken")
    with pytest.raises(requests.ConnectionError):  # noqa: PT012 - the block in the block is the point
        try:
            raise mine
        except ValueError:
            session.get(f"http://{closed_port}/?token=t0ken")
    assert str(mine) == "about token=t0ken"


def test_status_errors_say_where_without_the_query(responses: RequestsMock, session: ResilientSession) -> None:
    """The error of raise_for_status() has the path, but not the query."""
    responses.get("https://example.org/page", status=404)
    with pytest.raises(requests.HTTPError, match=r"404 .* for url: https://example\.org/page\?\*\*\*$"):
        session.get("https://example.org/page?token=t0ken").raise_for_status()


@pytest.mark.parametrize(
    ("where", "value"),
    [
        ("url", "http://example.org/\r\nX: y"),
        ("header", "a\r\nX-Injected: y"),
        ("header", "a\n b"),
        ("header", "a\0b"),
        ("name", "X\r\nY"),
        ("name", "X\0Y"),
    ],
)
def test_line_breaks_and_nuls_are_refused_before_a_byte_is_sent(
    where: str, value: str, serve: Callable[..., MisbehavingServer], session: ResilientSession, clock: FakeClock
) -> None:
    """Line breaks and NULs are refused, so that one request cannot become two."""
    server = serve(reply())
    request = requests.Request("GET", server.url).prepare()
    if where == "url":
        request.url = f"{server.url}\r\nX: y"
    elif where == "header":
        request.headers["X-Header"] = value
    else:
        request.headers[value] = "x"
    with pytest.raises(requests.RequestException, match="line break or a NUL"):
        session.send(request)
    assert clock.waits == []


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("https://user:pw@host/path?token=1", "https://***@host/path?***"),
        ("https://host/path", "https://host/path"),
        ("//user@host", "//***@host"),
    ],
)
def test_urls_are_masked(text: str, masked: str) -> None:
    """Of a URL, only userinfo and query are masked."""
    assert redaction.url(text) == masked


def told_by(call: Callable[[], object]) -> str:
    """Make a call that fails; return the traceback without our own source."""
    with pytest.raises(requests.RequestException) as raised:
        call()
    told = traceback.format_exception(raised.value)
    return "".join(line for part in told for line in part.splitlines(keepends=True) if not line.startswith("    "))


@pytest.mark.parametrize("value", ["t0ken\n", " t0ken", "\tt0ken", "a\r\nt0ken", b" t0ken", b"t0ken\n", "t0k\u00e9n\n"])
@pytest.mark.parametrize("name", ["Authorization", "X-Api-Key"])
@pytest.mark.parametrize("where", ["call", "session"])
def test_a_header_that_cannot_be_sent_is_not_quoted(
    where: str, name: str, value: str | bytes, session: ResilientSession
) -> None:
    """The error for an invalid header, such as a token with a line break, does not contain its value."""
    if where == "call":
        told = told_by(lambda: session.get("http://127.0.0.1:1/", headers={name: value}))
    else:
        session.headers[name] = value
        told = told_by(lambda: session.get("http://127.0.0.1:1/"))
    assert "InvalidHeader" in told
    assert "t0k" not in told


@pytest.mark.parametrize(
    "url",
    [
        "htps://us3r:passw0rd@h/?token=t0ken",
        "htps://us3r:passw0rd@h/?token=t0ken#fragm3nt",
        "//us3r:passw0rd@h/?token=t0ken",
        "//us3r:passw0rd@h/",
        "us3r:passw0rd@host/?token=t0ken",
        "us3r:passw0rd@host",
        "http:us3r:passw0rd@host/?token=t0ken",
        "http://us3r:passw0rd@/?token=t0ken",
        "http://us3r:passw0rd@*/?token=t0ken",
        "http://us3r:passw0rd@[::1/?token=t0ken",
        "ftp://us3r:passw0rd@host/path?token=t0ken&q=f1lter",
    ],
)
def test_an_invalid_url_reveals_no_secret(url: str, session: ResilientSession) -> None:
    """The error for a mistake in scheme or host contains neither userinfo nor query."""
    told = told_by(lambda: session.get(url))
    assert [secret for secret in SECRETS if secret in told] == []


@pytest.mark.parametrize(
    ("url", "secret"),
    [
        ("htps://us3r:pass'w0rd@h/", "pass"),
        ("htps://us3r:pass/w0rd@h/", "pass"),
        ("htps://us3r:pass w0rd@h/", "pass"),
        ("htps://h/?token=t0'ken", "ken"),
        ('htps://h/?token=t0"ken', "ken"),
        ("htps://h/?token=t0)ken", "ken"),
        ("htps://h/?token=t0]ken", "ken"),
        ("htps://h/?token=t0 ken", "ken"),
        ("htps://h/#fragm3nt", "fragm3nt"),
    ],
)
def test_any_character_in_a_secret_is_masked(url: str, secret: str, session: ResilientSession) -> None:
    """A secret with a quote, a bracket or a space is masked as a whole."""
    told = told_by(lambda: session.get(url))
    assert secret not in told.rpartition("InvalidSchema: ")[2]


@pytest.mark.parametrize(
    "location",
    [
        "foo://us3r:passw0rd@h/?t=t0ken",
        "foo:us3r:passw0rd@h/?t=t0ken",
        "http://us3r:passw0rd@/?t=t0ken",
        "http://us3r:passw0rd@h:x/?t=t0ken",
        "http://us3r:passw0rd@127.0.0.1:1/?t=t0ken",
    ],
)
def test_a_failed_redirect_reveals_no_secret(
    location: str, serve: Callable[..., MisbehavingServer], session: ResilientSession
) -> None:
    """The error for an invalid Location, or one whose server does not answer, contains no secret."""
    server = serve(*4 * [reply(302, b"", f"Location: {location}")])
    told = told_by(lambda: session.get(server.url))
    assert [secret for secret in SECRETS if secret in told] == []


@pytest.mark.parametrize("letter", ["/", "?", "#", "\\", "[", "]", "@", ":", " ", "%"])
@pytest.mark.parametrize("through", ["url", "proxy"])
def test_a_password_that_is_not_encoded_is_masked(session: ResilientSession, letter: str, through: str) -> None:
    """A password that is not percent-encoded is masked, even if the URL is parsed with a part of it as the port."""
    url = f"https://user:s3cret{letter}s3cret@127.0.0.1:1/"
    target, proxies = (url, {}) if through == "url" else ("http://127.0.0.1:1/", {"http": url})
    with pytest.raises((requests.RequestException, ValueError)) as raised:  # the latter from requests, of a bad proxy
        session.get(target, proxies=proxies)
    told = "".join(traceback.format_exception(raised.value)).splitlines()
    assert [line for line in told if "s3cret" in line and not line.startswith("    ")] == []


@pytest.mark.parametrize(
    ("userinfo", "quoted"),
    [
        ("sam:samw0rd", "samw0rd"),
        ("us3r:p%40ssw0rd", "p@ssw0rd"),
        ("us3r:p%40ssw0rd", "p%40ssw0rd"),
        ("us3r:pwd", "pwd"),
        ("bob:passw0rd", "bob"),
    ],
    ids=["holds the user name", "decoded", "encoded", "three letters", "a name of three letters"],
)
def test_userinfo_in_errors_is_masked(
    userinfo: str, quoted: str, responses: RequestsMock, session: ResilientSession
) -> None:
    """No part of a password stays in the text or in an attribute of an error."""
    error = requests.ConnectionError(f"the proxy refused <{quoted}>")
    error.credentials = f"<{quoted}>"  # type: ignore[attr-defined]  # libraries hang what they like on theirs
    url = f"https://{userinfo}@example.org/"
    responses.get(url, body=error)
    with pytest.raises(requests.ConnectionError) as raised:
        session.get(url)
    assert str(raised.value) == "the proxy refused <***>"
    assert raised.value.credentials == "<***>"  # type: ignore[attr-defined]  # as above
