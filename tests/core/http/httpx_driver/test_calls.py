"""Calls of clients: the same results with httpx and httpx2, in threads and in every event loop."""

from __future__ import annotations

import copy
import pickle
from datetime import UTC, datetime
from types import ModuleType
from typing import Any

import pytest

from core import http
from core.http import Policy
from core.http.outcome import Reason
from core.http.testing import FakeClock
from tests.core.http.conftest import Serve
from tests.core.http.httpx_driver.conftest import Caller
from tests.core.http.misbehave import CLOSE, RESET, Reply, Then, reply


def test_a_transient_failure_is_retried(caller: Caller, serve: Serve, clock: FakeClock) -> None:
    """Three answers of 503 and then the real one: four attempts, 1, 2 and 4 s apart, on the fixture's fake clock."""
    server = serve(reply(503), reply(503), reply(503), reply(200, b"fine"))
    response = caller().get(server.url)
    assert (response.status_code, response.content, response.text) == (200, b"fine", "fine")
    assert clock.waits == [1, 2, 4]
    assert [attempt.outcome.status for attempt in response.attempts] == [503, 503, 503, 200]
    assert response.elapsed.total_seconds() > 0


def test_an_upstream_that_stays_broken_answers(caller: Caller, serve: Serve, library: ModuleType) -> None:
    """A call that was answered ends with that answer, and raise_for_status() raises the error of httpx."""
    server = serve(*[reply(503, b"down")] * 4)
    response = caller().get(server.url)
    assert (response.status_code, response.content) == (503, b"down")
    with pytest.raises(library.HTTPStatusError) as raised:
        response.raise_for_status()
    assert raised.value.attempts == response.attempts
    assert len(response.attempts) == 4


def test_a_post_is_sent_once(caller: Caller, serve: Serve, clock: FakeClock) -> None:
    """A POST that the server may have received is not repeated, unless the call allows it."""
    server = serve(reply(503), reply(503), reply(201))
    assert caller().request("POST", server.url, json={}).status_code == 503
    assert caller().request("POST", server.url, json={}, headers={"Idempotency-Key": "7"}).status_code == 201
    assert len(server.requests) == 3


def test_a_body_is_sent_again_where_it_can_be(caller: Caller, serve: Serve) -> None:
    """Bytes and forms with files are sent again, a generator only once."""
    server = serve(reply(503), reply(200), reply(503), reply(200), reply(503))
    assert caller().request("PUT", server.url, content=b"payload").status_code == 200
    assert caller().request("PUT", server.url, files={"file": b"payload"}).status_code == 200
    assert [request.count(b"payload") for request in server.requests] == [1, 1, 1, 1]

    async def agenerate() -> Any:
        yield b"once"

    content = iter([b"once"]) if caller.is_sync else agenerate()
    assert caller().request("PUT", server.url, content=content).status_code == 503


@pytest.mark.parametrize(
    ("does", "reason"),
    [
        (CLOSE, Reason.CONNECT),
        (RESET, Reason.CONNECT),
        (reply(200, b"half", length=8), Reason.TRUNCATED),
        (Reply(b"HTTP/1.1 200 OK\r\nConte"), Reason.TRUNCATED),
    ],
    ids=["closed", "reset", "cut short", "head cut short"],
)
def test_a_broken_connection_is_retried(caller: Caller, serve: Serve, does: Reply, reason: Reason) -> None:
    """A connection that breaks is a transient failure, so the call is retried."""
    response = caller().get(serve(does, reply(200, b"fine")).url)
    assert response.content == b"fine"
    assert response.attempts[0].outcome.reason is reason


def test_a_refused_connection_is_retried(
    caller: Caller, closed_port: str, clock: FakeClock, library: ModuleType
) -> None:
    """A refused connection is retried, for a POST too, because nothing was sent; httpx's own error is raised."""
    with pytest.raises(library.ConnectError) as raised:
        caller().request("POST", f"http://{closed_port}/")
    assert len(raised.value.attempts) == 4
    assert clock.waits == [1, 2, 4]


def test_an_answer_that_is_not_http_is_not_retried(caller: Caller, serve: Serve, library: ModuleType) -> None:
    """An answer in another protocol is a permanent failure."""
    with pytest.raises(library.RemoteProtocolError) as raised:
        caller().get(serve(Reply(b"SSH-2.0-OpenSSH_9.2\r\n\r\n", Then.KEEP)).url)
    assert [attempt.outcome.transient for attempt in raised.value.attempts] == [False]


@pytest.mark.parametrize("url", ["example.org", "/path", "ftp://example.org/"])
def test_a_url_that_leads_nowhere(caller: Caller, library: ModuleType, clock: FakeClock, url: str) -> None:
    """An invalid URL raises the error of httpx at once."""
    with pytest.raises((library.UnsupportedProtocol, library.LocalProtocolError)):
        caller().get(url)
    assert clock.waits == []


@pytest.mark.parametrize("url", ["http://localhost:123456/", "http://localhost:-1/", "http://./"])
def test_a_url_that_nothing_can_be_connected_to(
    caller: Caller, library: ModuleType, clock: FakeClock, url: str
) -> None:
    """A port or a host that there cannot be is a ConnectError, as in httpx, at once."""
    with pytest.raises(library.ConnectError, match="Invalid URL") as raised:
        caller().get(url)
    assert raised.value.attempts == ()
    assert clock.waits == []


@pytest.mark.parametrize("name", ["httpx"], indirect=True)  # httpx2 sends such a name to the resolver
@pytest.mark.parametrize("host", ["xn--a.example", "xn--"])
def test_a_host_name_that_is_no_idna(caller: Caller, library: ModuleType, serve: Serve, host: str, name: str) -> None:
    """An invalid host name, of the caller or of a redirect, raises an error of httpx, not one of idna."""
    with pytest.raises(library.InvalidURL):
        caller().get(f"http://{host}/")
    server = serve(*[reply(302, b"", f"Location: http://{host}/")] * 2)
    for follow in (True, False):
        with pytest.raises(library.RemoteProtocolError, match="location") as raised:
            caller().get(server.url, follow_redirects=follow)
        assert len(raised.value.attempts) == 1


def test_the_breaker_refuses(caller: Caller, closed_port: str, library: ModuleType) -> None:
    """Once the upstream is down, a call fails at once: CircuitOpen is a ConnectError and the 503 that it would be."""
    url = f"http://{closed_port}/"
    for _ in range(3):
        with pytest.raises(library.ConnectError):
            caller().get(url)
    with pytest.raises(http.CircuitOpen) as raised:
        caller().get(url)
    error = raised.value
    assert isinstance(error, (caller.driver.CircuitOpen, library.ConnectError))
    assert isinstance(error, library.HTTPStatusError)
    assert (error.response.status_code, error.response.headers["Retry-After"]) == (503, "15")
    assert (error.response.content, error.response.request.url) == (b"", url)
    assert error.attempts == ()


def test_the_gate_refuses(caller: Caller, serve: Serve, library: ModuleType) -> None:
    """After a 429 with a pause longer than the call may wait, calls fail at once: RateLimited is that 429."""
    server = serve(reply(429, b"", "Retry-After: 600"))
    assert caller().get(server.url).status_code == 429
    with pytest.raises(http.RateLimited) as raised:
        caller().get(server.url)
    assert isinstance(raised.value, library.HTTPStatusError)
    assert raised.value.response.status_code == 429
    assert raised.value.retry_at > datetime.now(UTC)
    assert len(server.requests) == 1


def test_a_body_that_is_too_large(caller: Caller, serve: Serve, library: ModuleType) -> None:
    """A body that is too large is dropped, and the call is not retried."""
    server = serve(reply(200, b"x" * 2000))
    with pytest.raises(http.ResponseTooLarge, match="max_response_bytes=1000") as raised:
        caller(Policy(max_response_bytes=1000)).get(server.url)
    assert isinstance(raised.value, library.ReadError)
    assert len(raised.value.attempts) == 1


def test_json_of_too_many_nodes(caller: Caller, serve: Serve) -> None:
    """The number of nodes that json() builds is limited, as for requests."""
    response = caller(Policy(max_json_nodes=10)).get(serve(reply(200, b"[" + b"[]," * 20 + b"1]")).url)
    with pytest.raises(http.ResponseTooLarge, match="max_json_nodes=10"):
        response.json()


def test_a_codec_that_is_no_charset_is_not_run(caller: Caller, serve: Serve) -> None:
    """A server cannot choose the codec punycode, which takes quadratic time."""
    server = serve(reply(200, b"abc-", "Content-Type: text/plain; charset=punycode"))
    assert caller().get(server.url).text == "abc-"


def test_a_copy_of_an_error_has_no_credentials(caller: Caller, closed_port: str) -> None:
    """Errors are pickled by task queues: text, attempts and URL stay, headers do not."""
    url, secret = f"http://{closed_port}/", {"Authorization": "Bearer s3cret"}
    for _ in range(3):
        with pytest.raises(caller.library.ConnectError):
            caller().get(url)
    with pytest.raises(http.CircuitOpen) as raised:
        caller().get(url, headers=secret)
    for other in (pickle.loads(pickle.dumps(raised.value)), copy.copy(raised.value)):
        assert type(other) is type(raised.value)
        assert (str(other), other.retry_at) == (str(raised.value), raised.value.retry_at)
        assert (other.request.method, other.request.url) == ("GET", url)
        assert (other.response.status_code, other.response.headers["Retry-After"]) == (503, "15")
        assert "Authorization" not in other.request.headers
    assert b"s3cret" not in pickle.dumps(raised.value)
