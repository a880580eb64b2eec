"""Servers that redirect in circles, to nowhere, elsewhere, or ask to come back at odd times."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
import requests

from core.http import ResilientSession
from core.http.events import Event
from core.http.testing import FakeClock
from tests.core.http.conftest import Serve
from tests.core.http.hostile.scenarios import FINE, PATIENT, certificate, ended, session_for
from tests.core.http.misbehave import Reply, Then, reply

SECRET = "t0ps3cret"


@pytest.fixture
def session() -> Iterator[ResilientSession]:
    with session_for(PATIENT) as session:
        yield session


def to(location: str, status: int = 302) -> Reply:
    return reply(status, b"moved", f"Location: {location}", then=Then.KEEP)


@pytest.mark.parametrize("locations", [["/"], ["/a", "/b"], ["?a", "?b", "?c"]], ids=len)
def test_a_loop(locations: list[str], session: ResilientSession, serve: Serve, clock: FakeClock) -> None:
    """A redirect loop ends with TooManyRedirects after as many hops as requests follows; no hop is tried again."""
    server = serve(*[to(location) for location in locations] * 31)
    with pytest.raises(requests.TooManyRedirects):
        session.get(server.url)
    assert len(server.requests) == 31
    assert clock.waits == []
    server.script[:] = [FINE]
    assert session.get(server.url).content == b"fine"


@pytest.mark.parametrize(
    "location",
    [
        "http://",
        "http:///",
        "http://[",
        "http://[::1",
        "http://]",
        "http://[fe80::1%25eth0",
        "//",
        "///",
        "http://127.0.0.1:99999/",
        "http://127.0.0.1:x/",
        "http://127.0.0.1:-1/",
        "http://a..b/",
        "http://.../",
        "http://" + "a" * 64 + ".test/",
        "http://*/",
        "http://user@/",
        "http://%00/",
        "http://\xad/",
        "http://\xa0/",
        "http://xn--a/",
        "http://xn--\xff/",
        "file:///etc/passwd",
        "mailto:me@example.org",
        "javascript:alert(1)",
        "data:text/plain,hello",
        "ftp://127.0.0.1/",
        "gopher://127.0.0.1:6379/x",
        "unix:/run/docker.sock",
        "about:blank",
        "HTTP:",
        "http:",
        "://",
        "1http://127.0.0.1/",
        "/\xfc",
        "/\xff\xfe",
        "?\xe9=\xe9",
    ],
)
def test_a_bad_location(location: str, session: ResilientSession, serve: Serve, clock: FakeClock) -> None:
    """A bad Location raises a RequestException, or is requested from the same server; it is not retried."""
    server = serve(to(location), reply(404, then=Then.KEEP), FINE)
    try:
        assert session.get(server.url).status_code == 404
    except requests.RequestException:
        server.script[:] = [FINE]
    assert clock.waits == []
    assert session.get(server.url).content == b"fine"


@pytest.mark.parametrize("location", ["/a b", "/\xc3\xbc", "#", "", "/../../..", "/%", "/%zz", "./\t", "\\\\x"])
def test_an_odd_location(location: str, session: ResilientSession, serve: Serve) -> None:
    """A Location that other clients can follow is followed, on the same server."""
    server = serve(to(location), FINE, FINE)
    response = session.get(server.url)
    assert response.content in {b"fine", b"moved"}
    assert session.get(server.url).content == b"fine"


def test_a_redirect_to_a_file(session: ResilientSession, serve: Serve) -> None:
    """A redirect to a file: URL reads no file."""
    with pytest.raises(requests.exceptions.InvalidSchema):
        session.get(serve(to("file:///etc/hostname")).url)


@pytest.mark.parametrize("where", ["port", "host", "http to https", "https to http"])
def test_a_redirect_elsewhere(where: str, session: ResilientSession, serve: Serve) -> None:
    """A redirect to another host, port or scheme is followed as requests does: without the credentials."""
    target = serve(FINE, context=certificate() if where == "http to https" else None)
    url = target.url.replace("127.0.0.1", "localhost") if where == "host" else target.url
    source = serve(to(f"{url}/there"), FINE, context=certificate() if where == "https to http" else None)
    response = session.get(source.url, headers={"Authorization": f"Bearer {SECRET}"})
    assert (response.content, response.url) == (b"fine", f"{url}/there")
    assert SECRET.encode() in source.requests[0]
    assert SECRET.encode() not in target.requests[0]
    assert session.get(source.url).content == b"fine"


@pytest.mark.parametrize("how", [Then.CLOSE, Then.HOLD, Then.RESET], ids=lambda then: then.name)
def test_the_body_of_a_redirect_may_be_broken(how: Then, session: ResilientSession, serve: Serve) -> None:
    """Only the Location counts: a body that ends too early, or cannot be unpacked, is dropped or tried again."""
    head = b"HTTP/1.1 302 Found\r\nLocation: /there\r\nContent-Encoding: gzip\r\nContent-Length: 20\r\n\r\n"
    source = serve(
        Reply(head + b"no gzip", how),
        *[FINE] * 2,
    )
    with session_for(0.25) as hasty:
        assert hasty.get(source.url).content == b"fine"
        source.script[:] = [FINE] * 3
        assert hasty.get(source.url).content == b"fine"


# Retry-After

NOW = datetime.now(UTC)


@pytest.mark.parametrize(
    ("value", "waited"),
    [
        ("0", 1),
        ("1", 1),
        ("20", 20),
        (" 20 ", 20),
        ("20.5", 20.5),
        ("59", 59),
        ("61", None),
        ("3600", None),
        ("9" * 5_000, None),
        ("-5", 1),
        ("+5", 1),
        ("5, 10", 1),
        ("1e3", 1),
        ("NaN", 1),
        ("Infinity", 1),
        ("0x10", 1),
        ("soon", 1),
        ("", 1),
        ("\xb2", 1),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 1),
        ("Wed Oct 21 07:28:00 2015", 1),
        ("Wed, 21 Oct 9999 07:28:00 GMT", None),
        ("Wed, 21 Oct 99999 07:28:00 GMT", 1),
        ("Wed, 31 Feb 2040 07:28:00 GMT", 1),
        ("Mon, 01 Jan 0001 00:00:00 +2359", 1),
        ("Fri, 31 Dec 9999 23:59:59 -2359", None),
        pytest.param(format_datetime(NOW + timedelta(days=300), usegmt=True), None, id="in 300 days"),
        pytest.param(format_datetime(NOW - timedelta(seconds=30), usegmt=True), 1, id="30 s ago"),
    ],
    ids=lambda value: str(value)[:32],
)
@pytest.mark.parametrize("status", [429, 503])
def test_a_retry_after(value: str, waited: float | None, status: int, serve: Serve, clock: FakeClock) -> None:
    """A Retry-After is used if it is longer than the delay and within the deadline; invalid ones are ignored."""
    server = serve(reply(status, b"later", f"Retry-After: {value}"), FINE, FINE)
    with ResilientSession() as session:
        response = session.get(server.url)
        if waited is None:
            assert (response.status_code, clock.waits) == (status, [])
        else:
            assert (response.content, clock.waits) == (b"fine", [waited])


def test_a_retry_after_that_is_a_date(session: ResilientSession, serve: Serve, clock: FakeClock) -> None:
    """A Retry-After date is waited for."""
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=40), usegmt=True)
    server = serve(reply(503, b"later", f"Retry-After: {soon}"), FINE, FINE)
    assert session.get(server.url).content == b"fine"
    assert 10 < clock.waits[0] <= 40


def test_a_retry_after_on_every_answer(session: ResilientSession, serve: Serve, events: list[Event]) -> None:
    """A server that puts the call off each time cannot do so beyond the total timeout."""
    server = serve(*[reply(503, b"later", "Retry-After: 25")] * 4)
    with ResilientSession() as patient:
        assert patient.get(server.url).status_code == 503
    assert ended(events).seconds <= 60
    assert len(server.requests) == 3
