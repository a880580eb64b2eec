"""How far an attempt got when its time was up; uploads, proxies, full pools and streams end in time too."""

from __future__ import annotations

import logging
import pickle
import time
from typing import Any

import pytest
import requests

from core.http import DeadlineExceeded, Policy, ResilientAdapter, ResilientSession, ResponseTooLarge
from core.http.events import Event
from core.http.testing import FakeClock
from core.http.wire.requests_exceptions import AttemptTimeout
from tests.core.http.conftest import Serve
from tests.core.http.hostile.scenarios import (
    ALIVE,
    FINE,
    HASTY,
    PATIENT,
    SLOWLY,
    certificate,
    ended,
    schemes,
    session_for,
)
from tests.core.http.misbehave import HOLD, Reply, Then, reply

MUCH = 64 * 2**20
HALF = Reply(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf", Then.HOLD)


@pytest.mark.parametrize(
    ("does", "told"),
    [
        (HOLD, "headers, 0 bytes"),
        (Reply(b"HTTP/1.1 200 OK\r\n", Then.HOLD), "headers, 17 bytes"),
        (HALF, "body, 45 bytes"),
    ],
    ids=["nothing", "half a head", "half a body"],
)
def test_the_log_says_how_far_an_attempt_got(
    does: Reply, told: str, serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    """The line of a call that failed names the stage that each of its attempts had reached, and the bytes received."""
    server = serve(does)
    with (
        session_for(HASTY, retries=0) as session,
        caplog.at_level(logging.WARNING, "core.http"),
        pytest.raises(requests.Timeout) as raised,
    ):
        session.get(server.url)
    assert isinstance(raised.value, AttemptTimeout)
    assert f"{raised.value.reached}, {raised.value.received} bytes" == told
    assert told in caplog.records[-1].getMessage()
    copied = pickle.loads(pickle.dumps(raised.value))
    assert str(copied) == f"GET to {server.netloc} timed out in stage {told.replace(', ', ', with ')} received"


def test_a_total_timeout_says_how_far_the_attempt_got(serve: Serve) -> None:
    """DeadlineExceeded has the same stage as the timeout of an attempt, and names method and host."""
    server = serve(HALF)
    with (
        ResilientSession(Policy(attempt_timeout=0.2, total_timeout=0.2), clock=time.monotonic) as session,
        pytest.raises(DeadlineExceeded, match=rf"GET to {server.netloc} was cut off") as raised,
    ):
        session.get(server.url)
    assert (raised.value.reached, raised.value.received) == ("body", 45)


# Uploads


@schemes
@pytest.mark.parametrize("then", [Then.IGNORE, Then.SIP], ids=["does not read", "reads a little"])
@pytest.mark.parametrize("kind", ["bytes", "generator"])
def test_an_upload_to_a_server_that(kind: str, then: Then, scheme: str, serve: Serve) -> None:
    """Sending ends with the attempt too, however much there is left to send; it is a ReadTimeout in stage send."""
    server = serve(welcome=Reply(b"", then), context=certificate() if scheme == "https" else None)
    body: Any = b"0" * MUCH if kind == "bytes" else (b"0" * 65536 for _ in range(MUCH // 65536))
    began = time.monotonic()
    with session_for(HASTY, retries=0) as session:
        with pytest.raises(requests.ReadTimeout) as raised:
            session.post(server.url, data=body)
        assert time.monotonic() - began < HASTY + ALIVE
        assert isinstance(raised.value, AttemptTimeout)
        assert (raised.value.reached, raised.value.received) == ("send", 0)
        assert session.get(serve(FINE).url, timeout=PATIENT).content == b"fine"


def test_a_post_that_was_cut_off_while_it_was_sent_is_not_sent_again(serve: Serve, clock: FakeClock) -> None:
    """A POST that timed out while it was sent is not repeated, because the server may have acted on a part."""
    server = serve(welcome=Reply(b"", Then.IGNORE))
    with session_for(HASTY, retries=3) as session, pytest.raises(requests.ReadTimeout):
        session.post(server.url, data=b"0" * MUCH)
    assert clock.waits == []
    assert server.connections == 1


# Proxies


@pytest.mark.parametrize(
    "does",
    [
        HOLD,
        Reply(b"", Then.HOLD, b"H", SLOWLY),
        Reply(b"HTTP/1.1 200 ", Then.HOLD, b"O", SLOWLY),
        Reply(b"HTTP/1.1 200 OK\r\n", Then.HOLD, b"X: 1\r\n", SLOWLY),
        Reply(b"HTTP/1.1 200 OK\r\n\r\n", Then.DRAIN),
    ],
    ids=["hangs", "drips", "drips a status line", "drips headers", "hangs after CONNECT"],
)
def test_a_proxy_that(does: Reply, serve: Serve, events: list[Event]) -> None:
    """A tunnel that does not get done is a ConnectTimeout, tried again for a POST too: nothing was sent."""
    proxy = serve(does, does)
    with session_for(HASTY) as session:
        with pytest.raises(requests.ConnectTimeout) as raised:
            session.post("https://upstream.test/", proxies={"https": proxy.url})
        assert isinstance(raised.value, AttemptTimeout)
        assert raised.value.reached in {"connect", "tls"}
        assert [attempt.outcome.sent for attempt in ended(events).attempts] == [False, False]
        assert session.get(serve(FINE, FINE).url).content == b"fine"


@pytest.mark.parametrize(
    ("does", "transient"),
    [
        (Reply(b""), True),
        (reply(502), True),
        (reply(407), False),
        (reply(403), False),
        (Reply(b"garbage\r\n\r\n"), False),
        (Reply(b"HTTP/1.1 200 OK\r\n", Then.CLOSE, b"X-Many: 1\r\n"), False),
        (Reply(b"HTTP/1.1 200 OK\r\nX-Long: ", Then.CLOSE, b"x" * 4096), False),
        (Reply(b"", Then.CLOSE, b"HTTP/1.1 103 Early Hints\r\n\r\n"), False),
    ],
    ids=["closes", "502", "407", "403", "garbage", "endless headers", "endless header", "endless interim answers"],
)
def test_a_proxy_that_refuses(does: Reply, transient: bool, serve: Serve, events: list[Event]) -> None:
    """A proxy's refusal of a tunnel raises ConnectionError; only transient refusals are retried."""
    proxy = serve(does, does)
    with session_for(PATIENT) as session:
        with pytest.raises(requests.ConnectionError):
            session.post("https://upstream.test/", proxies={"https": proxy.url})
        outcome = ended(events).attempts[-1].outcome
        assert (outcome.transient, outcome.sent) == (transient, False)
        assert session.get(serve(FINE).url).content == b"fine"


def test_a_plain_request_through_a_proxy_that_hangs(serve: Serve) -> None:
    """A proxy that does not answer an http request is a ReadTimeout in stage headers."""
    proxy = serve(HOLD)
    with session_for(HASTY, retries=0) as session:
        with pytest.raises(requests.ReadTimeout) as raised:
            session.get("http://upstream.test/", proxies={"http": proxy.url})
        assert isinstance(raised.value, AttemptTimeout)
        assert raised.value.reached == "headers"
        assert session.get(serve(FINE).url, timeout=PATIENT).content == b"fine"


# Pools


def test_waiting_for_a_connection(serve: Serve, events: list[Event]) -> None:
    """A full pool is waited for no longer than the attempt lasts; it is a timeout in stage pool, nothing sent."""
    server = serve(HALF, FINE)
    adapter = ResilientAdapter(Policy(retries=1, attempt_timeout=HASTY), pool_maxsize=1, pool_block=True)
    with requests.Session() as session:
        session.trust_env = False
        session.mount("http://", adapter)
        with session.get(server.url, stream=True):
            with pytest.raises(requests.Timeout) as raised:
                session.post(server.url)
            assert isinstance(raised.value, AttemptTimeout)
            assert raised.value.reached == "pool"
            assert [attempt.outcome.sent for attempt in ended(events).attempts] == [False, False]
        assert session.get(server.url).content == b"fine"


def test_an_attempt_without_any_time(serve: Serve, events: list[Event]) -> None:
    """Time that is used up before anything could begin is a connect timeout like any other: nothing was sent."""
    server = serve(FINE)
    with ResilientSession(Policy(retries=0, attempt_timeout=1e-9)) as session:
        session.trust_env = False
        with pytest.raises(requests.ConnectTimeout):
            session.post(server.url)
    assert [attempt.outcome.sent for attempt in ended(events).attempts] == [False]


# Streams


@schemes
def test_a_stream_that_stalls(scheme: str, serve: Serve) -> None:
    """Each read of a streamed body is bounded by the attempt's timeout."""
    context = certificate() if scheme == "https" else None
    server = serve(HALF, context=context)
    began = time.monotonic()
    with session_for(HASTY, retries=0) as session:
        with session.get(server.url, stream=True) as response, pytest.raises(requests.RequestException):
            for _ in response.iter_content(1):
                pass
        assert time.monotonic() - began < 2 * HASTY + ALIVE
        server.script.append(FINE)
        assert session.get(server.url, timeout=PATIENT).content == b"fine"


@schemes
def test_a_stream_outlives_its_attempt(scheme: str, serve: Serve) -> None:
    """The attempt ends with the headers, so reading a stream may take longer than the attempt's timeout."""
    slow = reply(200, b"", length=8, repeat=b"x", every=HASTY / 4, times=8)
    with (
        session_for(HASTY, retries=0) as session,
        session.get(serve(slow, context=certificate() if scheme == "https" else None).url, stream=True) as response,
    ):
        assert b"".join(response.iter_content(1)) == b"x" * 8


@pytest.mark.parametrize("read", ["content", "text", "json"])
def test_a_stream_read_into_memory_is_limited(read: str, serve: Serve) -> None:
    """`.content`, `.text` and `.json()` of a streamed response obey max_response_bytes."""
    server = serve(Reply(b"HTTP/1.1 200 OK\r\n\r\n", Then.CLOSE, b"[" * 65536), FINE)
    with session_for(PATIENT, retries=0) as session:
        with session.get(server.url, stream=True) as response, pytest.raises(ResponseTooLarge):
            response.json() if read == "json" else getattr(response, read)
        assert session.get(server.url).content == b"fine"
