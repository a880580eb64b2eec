"""No secret in the text of an error."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable

import pytest
import requests
from responses import RequestsMock

from core.http import ResilientSession, redact
from core.http.testing import FakeClock
from tests.core.http.misbehave import RESET, MisbehavingServer, reply

SECRETS = ("us3r", "passw0rd", "t0ken", "f1lter", "h3ader", "c00kie", "b0dy", "fragm3nt")


def ask(session: ResilientSession, netloc: str) -> str:
    """Make a call that fails, with a secret in every place, and return all that Python tells of it."""
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
def test_whatever_fails_tells_no_secret(
    start: Callable[[Callable[..., MisbehavingServer]], str],
    serve: Callable[..., MisbehavingServer],
    session: ResilientSession,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Neither the traceback, chained errors included, nor a log record from INFO on holds one."""
    caplog.set_level(logging.INFO)
    told = ask(session, start(serve))
    source = "".join(line for line in told.splitlines(keepends=True) if not line.startswith("    "))
    assert [secret for secret in SECRETS if secret in source] == []
    assert [secret for secret in SECRETS if secret in caplog.text] == []


def test_the_error_still_says_what_happened(closed_port: str, session: ResilientSession) -> None:
    """Only secrets are masked: host, path and cause stay."""
    told = ask(session, closed_port)
    assert closed_port.partition(":")[0] in told
    assert "/path?***" in told
    assert "Connection refused" in told


def test_somebody_elses_error_is_left_alone(closed_port: str, session: ResilientSession) -> None:
    """What the caller was handling when it made the call keeps its text."""
    mine = ValueError("about token=t0ken")
    with pytest.raises(requests.ConnectionError):  # noqa: PT012 - the block in the block is the point
        try:
            raise mine
        except ValueError:
            session.get(f"http://{closed_port}/?token=t0ken")
    assert str(mine) == "about token=t0ken"


def test_status_errors_say_where_without_the_query(responses: RequestsMock, session: ResilientSession) -> None:
    """raise_for_status() names the page, not the query."""
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
    """One request cannot be made into two."""
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
        ("see https://user:pw@host/path?token=1 there", "see https://***@host/path?*** there"),
        ("https://host/path", "https://host/path"),
        ("//user@host", "//***@host"),
    ],
)
def test_urls_in_texts_are_masked(text: str, masked: str) -> None:
    """A text with a URL in it keeps everything but userinfo and query."""
    assert redact.url(text) == masked
