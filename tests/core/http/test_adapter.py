"""The driver for requests, against servers that misbehave."""

from __future__ import annotations

import copy
import gzip
import io
import os
import pickle
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from queue import SimpleQueue
from typing import Any

import pytest
import requests
import responses as responses_library
import urllib3.util.connection
from requests.adapters import HTTPAdapter
from urllib3.util import Timeout

from core.http import (
    DeadlineExceeded,
    Policy,
    ResilientAdapter,
    ResilientSession,
    ResponseTooLarge,
    adapter,
    process,
    registry,
)
from core.http.adapter import POOL_CONNECTIONS
from core.http.engine import reservation
from core.http.engine.call import Call
from core.http.registry import Runtime
from core.http.testing import FakeClock
from core.http.wire.requests_exceptions import HeadTruncated
from tests.core.http.conftest import Metrics, Serve
from tests.core.http.misbehave import CLOSE, HOLD, RESET, TLS, Reply, Then, reply, server_context

URL = "https://example.org/"
ZIPPED = gzip.compress(b"a long text " * 100)
IMPATIENT = Policy(attempt_timeout=0.1)


@pytest.fixture
def foreign() -> Iterator[requests.Session]:
    """Somebody else's session, with the adapter mounted on it."""
    with requests.Session() as session:
        session.trust_env = False
        session.mount("http://", ResilientAdapter())
        session.mount("https://", ResilientAdapter())
        yield session


@pytest.fixture
def sends(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Answer each attempt at once, and note its arguments."""
    seen: list[dict[str, Any]] = []

    def send(self: HTTPAdapter, request: requests.PreparedRequest, stream: bool, *args: Any) -> requests.Response:
        seen.append(dict(zip(("timeout", "verify", "cert", "proxies"), args, strict=True)) | {"stream": stream})
        answer = requests.Response()
        answer.status_code, answer.request, answer.url = 200, request, request.url or ""
        answer.raw = io.BytesIO()
        return answer

    monkeypatch.setattr(HTTPAdapter, "send", send)
    return seen


# Retries on the wire


@pytest.mark.parametrize(
    "broken",
    [
        reply(503),
        reply(408),
        reply(425),
        reply(500),
        reply(502),
        reply(504),
        CLOSE,
        RESET,
        reply(200, b"half a bo", length=20),
        reply(200, ZIPPED[:40], "Content-Encoding: gzip", length=len(ZIPPED)),
        reply(200, b"this is not gzip", "Content-Encoding: gzip"),
        reply(200, ZIPPED[:-12], "Content-Encoding: gzip"),
        Reply(b"HTTP/1.1 200 OK\r\nX-First: 1\r\nX-Sec"),
        Reply(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"),
        Reply(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n0\r\n\r\n"),
    ],
    ids=lambda broken: str(broken.data[:60]),
)
def test_a_failure_that_may_pass_is_tried_again(
    broken: Reply, serve: Serve, foreign: requests.Session, clock: FakeClock
) -> None:
    """Error statuses, dropped connections and broken bodies end in the good answer that follows."""
    server = serve(broken, reply(200, b"fine"))
    assert foreign.get(server.url).content == b"fine"
    assert len(server.requests) == 2
    assert clock.waits == [1]


@pytest.mark.parametrize(
    "broken",
    [
        reply(404),
        reply(501),
        Reply(b"this is not HTTP\r\n\r\n"),
        Reply(b"HTTP/1.1 200 OK\r\n" + b"X-Many: 1\r\n" * 200 + b"\r\n"),
        Reply(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"),
    ],
    ids=lambda broken: str(broken.data[:60]),
)
def test_what_asking_again_cannot_change_is_asked_once(
    broken: Reply, serve: Serve, foreign: requests.Session, clock: FakeClock
) -> None:
    """Client errors and malformed HTTP are final, and malformed HTTP raises nothing but RequestException."""
    server = serve(broken, reply(200))
    with suppress(requests.RequestException):
        assert not foreign.get(server.url).ok
    assert len(server.requests) == 1
    assert clock.waits == []


def test_retries_used_up_return_the_last_response(serve: Serve, session: ResilientSession, metrics: Metrics) -> None:
    """A server that stays down answers with its 503, as it would without retries."""
    server = serve(*[reply(503, b"busy")] * 3, reply(503, b"still busy"))
    response = session.get(server.url)
    assert (response.status_code, response.content) == (503, b"still busy")
    with pytest.raises(requests.HTTPError):
        response.raise_for_status()
    assert len(server.requests) == 4


def test_retries_used_up_raise_the_last_error(closed_port: str, session: ResilientSession, clock: FakeClock) -> None:
    """A server that cannot be reached raises the error that requests raises for it."""
    with pytest.raises(requests.ConnectionError) as raised:
        session.get(f"http://{closed_port}/")
    assert type(raised.value) is requests.ConnectionError
    assert raised.value.request is not None
    assert clock.waits == [1, 2, 4]


def test_the_last_error_counts_not_the_first(serve: Serve, session: ResilientSession) -> None:
    """The call ends with what came last, answers before it notwithstanding."""
    server = serve(reply(503), reply(503), reply(503), reply(200, b"half", length=9))
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        session.get(server.url)


def test_a_name_that_does_not_exist_is_not_retried(
    session: ResilientSession, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A misspelt host fails at once; a resolver that is overloaded is asked again."""
    asked = []

    def getaddrinfo(host: str, *args: Any) -> None:
        asked.append(host)
        raise socket.gaierror(socket.EAI_NONAME if host == "nonexistent.invalid" else socket.EAI_AGAIN, "no")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    with pytest.raises(requests.ConnectionError):
        session.get("http://nonexistent.invalid/")
    assert (asked, clock.waits) == (["nonexistent.invalid"], [])
    with pytest.raises(requests.ConnectionError):
        session.get("http://unsure.invalid/")
    assert clock.waits == [1, 2, 4]


def test_a_call_within_an_except_block_is_judged_on_its_own(
    closed_port: str, serve: Serve, session: ResilientSession, clock: FakeClock
) -> None:
    """A mirror that is asked because the first server had a bad certificate is retried like any other."""
    server = serve(context=server_context())
    with pytest.raises(requests.ConnectionError):  # noqa: PT012 - the block in the block is the point
        try:
            session.get(server.url)
        except requests.exceptions.SSLError:
            session.get(f"http://{closed_port}/")
    assert clock.waits == [1, 2, 4]


@pytest.mark.parametrize("host", ["a" * 64 + ".invalid", "a..invalid", "[::1", "127.0.0.1:99999", "127.0.0.1:x"])
def test_an_impossible_url_is_a_request_exception(host: str, session: ResilientSession, clock: FakeClock) -> None:
    """Whatever the URL looks like, existing `except requests.RequestException` clauses catch it."""
    with pytest.raises(requests.RequestException):
        session.get(f"http://{host}/")
    assert clock.waits == []


def test_an_impossible_url_that_was_not_prepared(foreign: requests.Session) -> None:
    """A prepared request whose URL somebody broke afterwards raises InvalidURL."""
    request = requests.Request("GET", URL).prepare()
    request.url = "http://127.0.0.1:99999/"
    with pytest.raises(requests.exceptions.InvalidURL):
        foreign.send(request)


def test_error_texts_hold_no_secret(closed_port: str, session: ResilientSession) -> None:
    """The text of an error, which ends up in logs and mails, has neither userinfo nor the query's values."""
    with pytest.raises(requests.ConnectionError) as raised:
        session.get(f"http://user:passw0rd@{closed_port}/path?token=s3cret")
    assert "passw0rd" not in str(raised.value)
    assert "s3cret" not in str(raised.value)


# Methods and request bodies


def test_a_post_is_sent_once(serve: Serve, session: ResilientSession) -> None:
    """A POST that may have arrived is not repeated."""
    server = serve(reply(503), reply(200))
    assert session.post(server.url, data=b"order").status_code == 503
    assert len(server.requests) == 1


def test_a_post_that_never_left_is_repeated(closed_port: str, session: ResilientSession, clock: FakeClock) -> None:
    """Where no connection could be made, a POST is safe to try again."""
    with pytest.raises(requests.ConnectionError):
        session.post(f"http://{closed_port}/", data=b"order")
    assert clock.waits == [1, 2, 4]


def test_an_idempotency_key_makes_a_post_repeatable(serve: Serve, session: ResilientSession) -> None:
    """A POST that says it is idempotent is retried, with the same key."""
    server = serve(reply(503), reply(201))
    assert session.post(server.url, data=b"order", headers={"idempotency-key": "42"}).status_code == 201
    assert all(b"idempotency-key: 42" in request for request in server.requests)


@pytest.mark.parametrize(
    "body",
    [b"the body", "the body", io.BytesIO(b"the body")],
    ids=["bytes", "text", "file"],
)
def test_a_body_is_sent_again_in_full(body: Any, serve: Serve, session: ResilientSession) -> None:
    """Bytes, text and files are rewound between attempts."""
    server = serve(reply(503), reply(503), reply(200))
    assert session.put(server.url, data=body).status_code == 200
    assert [request.endswith(b"\r\n\r\nthe body") for request in server.requests] == [True] * 3


def test_a_file_is_sent_again_from_where_it_stood(serve: Serve, session: ResilientSession) -> None:
    """A file that was read in part is sent from there, each time."""
    server = serve(reply(503), reply(200))
    file = io.BytesIO(b"skip this, send this")
    file.seek(11)
    session.put(server.url, data=file)
    assert [request.split(b"\r\n\r\n", 1)[1] for request in server.requests] == [b"send this"] * 2


def test_a_generator_is_not_retried_once_sent(serve: Serve, session: ResilientSession, metrics: Metrics) -> None:
    """A generator is used up by the first attempt, so that one's answer is the call's."""
    server = serve(reply(503), reply(200))
    assert session.put(server.url, data=(part for part in (b"a", b"b"))).status_code == 503
    assert [request.endswith(b"ab") for request in server.requests] == [True]
    assert metrics("retries_suppressed_total", upstream="other", reason="not_idempotent") == 1


def refuse_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the first connection fail, as one to a server that is just restarting does."""
    connect, refusals = socket.socket.connect, iter([True])

    def connect_or_not(self: socket.socket, address: Any) -> None:
        if next(refusals, False):
            raise ConnectionRefusedError
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", connect_or_not)


def test_a_generator_is_retried_if_never_sent(
    serve: Serve, session: ResilientSession, monkeypatch: pytest.MonkeyPatch, clock: FakeClock
) -> None:
    """A generator that nobody has drawn from yet serves the next attempt."""
    server = serve(reply(200))
    refuse_first(monkeypatch)
    assert session.put(server.url, data=(part for part in (b"a", b"b"))).status_code == 200
    assert server.requests[0].endswith(b"ab")
    assert clock.waits == [1]


def test_a_pipe_is_retried_if_never_sent(
    serve: Serve, session: ResilientSession, monkeypatch: pytest.MonkeyPatch, clock: FakeClock
) -> None:
    """A body that cannot be rewound need not be, as long as nothing was read from it."""
    server = serve(reply(200))
    refuse_first(monkeypatch)
    reading, writing = os.pipe()
    with os.fdopen(writing, "wb") as source:
        source.write(b"through a pipe")
    with os.fdopen(reading, "rb") as pipe:
        assert session.put(server.url, data=pipe).status_code == 200
    assert server.requests[0].endswith(b"through a pipe")
    assert clock.waits == [1]


def test_a_pipe_is_not_retried_once_sent(serve: Serve, session: ResilientSession) -> None:
    """A body that cannot be rewound is sent once, and its answer is the call's."""
    server = serve(reply(503), reply(200))
    reading, writing = os.pipe()
    with os.fdopen(writing, "wb") as source:
        source.write(b"through a pipe")
    with os.fdopen(reading, "rb") as pipe:
        assert session.put(server.url, data=pipe).status_code == 503


def test_what_a_body_raises_is_the_callers(
    serve: Serve, session: ResilientSession, clock: FakeClock, metrics: Metrics
) -> None:
    """An error in the generator that makes the body reaches the caller as it is, at once."""

    def body() -> Iterator[bytes]:
        yield b"a"
        raise LookupError("the body's own")

    server = serve(reply(200))
    with pytest.raises(LookupError, match="the body's own"):
        session.put(server.url, data=body())
    assert clock.waits == []
    assert metrics("active_requests", upstream="other") == 0


# What is held while waiting


def test_a_failed_response_frees_its_connection_before_the_wait(serve: Serve) -> None:
    """While a call sleeps, another may use its connection; the retry does not need a second one."""
    server = serve(reply(503, then=Then.KEEP), reply(404, then=Then.KEEP), reply(200))
    clock, statuses = FakeClock(), []

    def wait(seconds: float) -> None:
        clock.advance(seconds)
        statuses.append(session.get(server.url).status_code)  # meanwhile, on the same connection

    with ResilientSession(Policy(retries=1, retry_methods=frozenset({"PUT"})), clock=clock, wait=wait) as session:
        assert session.put(server.url).status_code == 200
    assert statuses == [404]
    assert server.connections == 1


def test_an_unread_body_is_closed_before_the_wait(serve: Serve) -> None:
    """With stream=True too, the server of a failed attempt sees the connection end before the call sleeps."""
    server = serve(reply(503, b"begun", length=10_000, then=Then.HOLD), reply(200))
    clock, closed = FakeClock(), []

    def wait(seconds: float) -> None:
        closed.append(server.hung_up.wait(5))
        clock.advance(seconds)

    with ResilientSession(clock=clock, wait=wait) as session, session.get(server.url, stream=True) as response:
        assert response.status_code == 200
    assert closed == [True]


def test_what_the_wait_raises_ends_the_call(serve: Serve) -> None:
    """A worker that is told to stop while it sleeps stops."""
    server = serve(reply(503), reply(200))

    def wait(seconds: float) -> None:
        raise KeyboardInterrupt

    with ResilientSession(clock=FakeClock(), wait=wait) as session, pytest.raises(KeyboardInterrupt):
        session.get(server.url)
    assert len(server.requests) == 1


def test_an_interrupt_is_not_retried(
    session: ResilientSession, monkeypatch: pytest.MonkeyPatch, metrics: Metrics, clock: FakeClock
) -> None:
    """Ctrl-C in the middle of an attempt ends the call at once, and nothing stays in flight."""

    def interrupted(*args: Any, **kwargs: Any) -> None:
        assert metrics("active_requests", upstream="other") == 1
        raise KeyboardInterrupt

    monkeypatch.setattr(HTTPAdapter, "send", interrupted)
    with pytest.raises(KeyboardInterrupt):
        session.get(URL)
    assert clock.waits == []
    assert metrics("active_requests", upstream="other") == 0


# Concurrency and pace


def test_threads_take_turns_at_the_server(serve: Serve, clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nine threads, three slots: never more than three at the server, all get there, in order, each woken once."""
    monkeypatch.setattr(reservation, "POLL_SLOT", 60)  # nobody gets on without being woken
    process.use(runtime=registry.Runtime(clock=clock))  # the clock stands still; waiting is that of the process, woken
    steps: SimpleQueue[str] = SimpleQueue()
    go_on = threading.Semaphore(0)
    counting = threading.Lock()
    inside, most = 0, 0
    waking = Call.waking

    def at_the_server() -> None:
        nonlocal inside, most
        with counting:
            inside += 1
            most = max(most, inside)
        steps.put("there")
        assert go_on.acquire(timeout=10)
        with counting:
            inside -= 1

    @contextmanager
    def observed(call: Call, wake: Callable[[], object]) -> Iterator[None]:
        with waking(call, wake):
            steps.put("waiting")
            yield

    monkeypatch.setattr(Call, "waking", observed)
    server = serve(on_request=at_the_server)
    server.routes = {str(number): reply(200) for number in range(9)}
    statuses: list[int] = []
    with ResilientSession(Policy(max_concurrency=3)) as session:
        session.trust_env = False
        threads = [
            threading.Thread(
                target=lambda number=number: statuses.append(session.get(f"{server.url}/{number}").status_code),
                daemon=True,
            )
            for number in range(9)
        ]
        seen = []
        for thread in threads:
            thread.start()
            seen.append(steps.get(timeout=10))
        assert seen == ["there"] * 3 + ["waiting"] * 6
        for _ in range(6):
            go_on.release()
            assert steps.get(timeout=10) == "there"
        go_on.release(3)
        for thread in threads:
            thread.join(10)
    assert statuses == [200] * 9
    assert most == 3
    assert [int(request.split(b" ")[1][1:]) for request in server.requests] == list(range(9))
    assert steps.empty()


def test_a_wait_that_cannot_be_woken_is_short(serve: Serve, clock: FakeClock) -> None:
    """Whoever waits in a way of their own looks for a slot ten times a second, not once, when it is too late."""
    server = serve(reply(200), reply(200))
    streamed: list[requests.Response] = []

    def wait(seconds: float) -> None:
        clock.wait(seconds)
        if len(clock.waits) == 3:
            streamed[0].close()

    with ResilientSession(Policy(max_concurrency=1), clock=clock, wait=wait) as session:
        session.trust_env = False
        streamed.append(session.get(server.url, stream=True))
        assert session.get(server.url).status_code == 200
    assert clock.waits == [reservation.POLL_SLOT] * 3


def test_a_wait_of_ones_own_is_cut_short_when_a_slot_comes(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the real clock it is called when the turn has come, with nothing left to wait, for it may end the call."""
    monkeypatch.setattr(reservation, "POLL_SLOT", 60)
    process.use(runtime=registry.Runtime())
    waiting, waits, statuses = threading.Event(), [], []
    waking = Call.waking

    @contextmanager
    def observed(call: Call, wake: Callable[[], object]) -> Iterator[None]:
        with waking(call, wake):
            waiting.set()
            yield

    monkeypatch.setattr(Call, "waking", observed)
    server = serve(reply(200), reply(200))
    with ResilientSession(Policy(max_concurrency=1, total_timeout=300), wait=waits.append) as session:
        session.trust_env = False
        first = session.get(server.url, stream=True)
        thread = threading.Thread(target=lambda: statuses.append(session.get(server.url).status_code), daemon=True)
        thread.start()
        assert waiting.wait(10)
        first.close()
        thread.join(10)
    assert (statuses, waits) == ([200], [0.0])


def test_a_thread_that_is_woken_hardly_ever_looks(
    serve: Serve, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many threads that wait for a slot cost little: each looks once a second, should nobody have woken it."""
    waits: list[float] = []

    class Woken(SimpleQueue[None]):
        def get(self, block: bool = True, timeout: float | None = None) -> None:
            assert timeout is not None
            waits.append(timeout)
            streamed.close()

    process.use(runtime=registry.Runtime(clock=clock))
    server = serve(reply(200), reply(200))
    with ResilientSession(Policy(max_concurrency=1)) as session:
        session.trust_env = False
        streamed = session.get(server.url, stream=True)
        monkeypatch.setattr(adapter, "SimpleQueue", Woken)
        assert session.get(server.url).status_code == 200
    assert waits == [reservation.POLL_ANYWAY]


def test_an_interrupt_while_waiting_for_a_slot_loses_none(serve: Serve, clock: FakeClock) -> None:
    """Ctrl-C in the queue ends that call; a slot that had just become its own goes to the next."""
    server = serve(reply(200), reply(200))
    streamed: list[requests.Response] = []

    def wait(seconds: float) -> None:
        streamed[0].close()
        raise KeyboardInterrupt

    with ResilientSession(Policy(max_concurrency=1), clock=clock, wait=wait) as session:
        session.trust_env = False
        streamed.append(session.get(server.url, stream=True))
        with pytest.raises(KeyboardInterrupt):
            session.get(server.url)
        assert session.get(server.url).status_code == 200
    assert len(server.requests) == 2


def test_attempts_are_paced(responses: responses_library.RequestsMock, clock: FakeClock) -> None:
    """requests_per_second=2: attempts, retries too, start half a second apart, and never closer after a pause."""
    starts: list[float] = []

    def answer(request: requests.PreparedRequest) -> tuple[int, dict[str, str], str]:
        starts.append(clock.now)
        return (503 if len(starts) == 2 else 200), {}, ""

    responses.add_callback("GET", URL, answer)
    with ResilientSession(Policy(requests_per_second=2, backoff=0.25)) as session:
        for pause in (0, 0, 10, 0):
            clock.advance(pause)
            session.get(URL)
    assert starts == [0, 0.5, 1, 11, 11.5]


# Response bodies


def test_a_body_of_any_kind_of_framing_arrives(serve: Serve, session: ResilientSession) -> None:
    """Gzipped, chunked, empty and unframed bodies are read as requests reads them."""
    server = serve(
        reply(200, ZIPPED, "Content-Encoding: gzip"),
        Reply(b"HTTP/1.1 200 OK\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
        Reply(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n"),
        Reply(b"HTTP/1.0 200 OK\r\n\r\nuntil the end"),
    )
    bodies = [session.get(server.url).content for _ in range(4)]
    assert bodies == [b"a long text " * 100, b"hello", b"", b"until the end"]


def test_a_head_has_no_body(serve: Serve, session: ResilientSession) -> None:
    """A HEAD is answered without a body, whatever its Content-Length says."""
    server = serve(Reply(b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n"))
    assert session.head(server.url).content == b""


@pytest.mark.parametrize("headers", [[], ["Content-Encoding: gzip"]], ids=["as it is", "only when unpacked"])
def test_a_body_over_the_limit_is_refused(headers: list[str], serve: Serve, clock: FakeClock) -> None:
    """A body larger than max_response_bytes, unpacked, raises ResponseTooLarge and is not fetched again."""
    body = b"0" * 100_001
    server = serve(reply(200, gzip.compress(body) if headers else body, *headers))
    with (
        ResilientSession(Policy(max_response_bytes=100_000)) as session,
        pytest.raises(ResponseTooLarge, match="max_response_bytes=100000") as raised,
    ):
        session.get(server.url)
    assert raised.value.response is not None
    assert raised.value.request is not None
    assert clock.waits == []


@pytest.mark.parametrize("limit", [100_000, None])
def test_a_body_within_the_limit_is_accepted(limit: int | None, serve: Serve) -> None:
    """The limit itself is allowed, and None allows everything."""
    server = serve(reply(200, b"0" * 100_000))
    with ResilientSession(Policy(max_response_bytes=limit)) as session:
        assert len(session.get(server.url).content) == 100_000


def test_a_streamed_body_is_the_callers_to_read(serve: Serve, session: ResilientSession, clock: FakeClock) -> None:
    """With stream=True the call ends at the headers; the status is retried, the body is not."""
    server = serve(reply(503), reply(200, b"half", length=9))
    with session.get(server.url, stream=True) as response:
        assert not response._content_consumed
        with pytest.raises(requests.exceptions.ChunkedEncodingError):
            _ = response.content
    assert clock.waits == [1]


def test_a_streamed_error_that_comes_slowly_is_not_waited_for(serve: Serve, session: ResilientSession) -> None:
    """An answer that is asked for again gets a second for its body, not the time that its server would take."""
    server = serve(reply(503, b"", length=600, repeat=b"x", every=0.05, times=600), reply(200, b"fine"))
    began = time.monotonic()
    assert session.get(server.url, stream=True).content == b"fine"
    assert time.monotonic() - began < 20  # of the 30 s that the body takes


def test_the_content_of_a_streamed_response_is_limited(serve: Serve) -> None:
    """Reading a streamed body into memory by .content obeys max_response_bytes; iterating over it does not."""
    server = serve(*[reply(200, b"0" * 2_000)] * 2)
    with ResilientSession(Policy(max_response_bytes=1_000)) as session:
        with session.get(server.url, stream=True) as response:
            assert sum(map(len, response.iter_content(100))) == 2_000
        with session.get(server.url, stream=True) as response, pytest.raises(ResponseTooLarge):
            _ = response.content


def test_a_streamed_body_arrives_in_pieces(serve: Serve, session: ResilientSession) -> None:
    """iter_content and iter_lines work as ever."""
    server = serve(reply(200, b"one\ntwo\n"))
    with session.get(server.url, stream=True) as response:
        assert list(response.iter_lines()) == [b"one", b"two"]


# Time


def test_an_attempt_that_times_out_is_tried_again(serve: Serve) -> None:
    """A server that does not answer within attempt_timeout is asked again."""
    server = serve(HOLD, reply(200, b"fine"))
    clock = FakeClock()
    with ResilientSession(IMPATIENT, clock=clock, wait=clock.wait) as session:
        assert session.get(server.url).content == b"fine"
    assert clock.waits == [1]


def test_a_body_that_stalls_is_tried_again(serve: Serve) -> None:
    """The time limit holds in the body too."""
    server = serve(reply(200, b"begun", length=10, then=Then.HOLD), reply(200, b"fine"))
    clock = FakeClock()
    with ResilientSession(IMPATIENT, clock=clock, wait=clock.wait) as session:
        assert session.get(server.url).content == b"fine"


def test_an_attempt_that_times_out_is_a_read_timeout(serve: Serve) -> None:
    """The last attempt's timeout is requests' own error, not a DeadlineExceeded: there was time left."""
    server = serve(HOLD)
    with (
        ResilientSession(Policy(retries=0, attempt_timeout=0.1)) as session,
        pytest.raises(requests.ReadTimeout) as raised,
    ):
        session.get(server.url)
    assert not isinstance(raised.value, DeadlineExceeded | requests.ConnectionError)


def test_a_body_that_times_out_is_a_connection_error(serve: Serve) -> None:
    """What requests raises for a body that stalls is a ConnectionError, and so is ours."""
    server = serve(reply(200, b"begun", length=10, then=Then.HOLD))
    with (
        ResilientSession(Policy(retries=0, attempt_timeout=0.1)) as session,
        pytest.raises(requests.ConnectionError),
    ):
        session.get(server.url)


def test_the_total_timeout_covers_attempts_and_delays(
    responses: responses_library.RequestsMock, clock: FakeClock
) -> None:
    """Attempts of 3 s and delays of 1, 2 … s fit into 10 s twice; the retry that would not fit is not made."""

    def slow(request: requests.PreparedRequest) -> tuple[int, dict[str, str], str]:
        clock.advance(3)
        return 503, {}, "busy"

    responses.add_callback("GET", URL, slow)
    with ResilientSession(Policy(attempt_timeout=5, total_timeout=9)) as session:
        assert session.get(URL).status_code == 503
    assert clock.waits == [1]
    assert clock.now == 7


def test_the_attempt_that_the_total_timeout_cuts_off_raises_deadline_exceeded(
    responses: responses_library.RequestsMock, clock: FakeClock
) -> None:
    """DeadlineExceeded is a ReadTimeout, has the attempt's error as its cause, and names no path or query."""

    def fail_slowly(request: requests.PreparedRequest) -> tuple[int, dict[str, str], str]:
        clock.advance(4)
        raise requests.ReadTimeout("too slow")

    responses.add_callback("GET", URL, fail_slowly)
    with (
        ResilientSession(Policy(attempt_timeout=6, total_timeout=9)) as session,
        pytest.raises(DeadlineExceeded, match=r"^GET to example.org was cut off: the total timeout expired$") as raised,
    ):
        session.get(f"{URL}?token=s3cret")
    assert isinstance(raised.value, requests.ReadTimeout)
    assert isinstance(raised.value.__cause__, requests.ReadTimeout)
    assert raised.value.request is not None
    assert (raised.value.reached, raised.value.received) == ("", 0)  # a mock has no stages


def test_a_shorter_connect_timeout_is_no_deadline(responses: responses_library.RequestsMock, clock: FakeClock) -> None:
    """Where the caller's own connect timeout ended the last attempt, the error says so: the total had time left."""

    def give_up_connecting(request: requests.PreparedRequest) -> tuple[int, dict[str, str], str]:
        clock.advance(0.5)
        raise requests.ConnectTimeout("no connection in 0.5 s")

    responses.add_callback("GET", URL, give_up_connecting)
    with (
        ResilientSession(Policy(retries=1, attempt_timeout=10, total_timeout=10)) as session,
        pytest.raises(requests.ConnectTimeout),
    ):
        session.get(URL, timeout=(0.5, 10))
    assert clock.now == 2


def test_the_total_timeout_is_per_hop_on_a_foreign_session(
    responses: responses_library.RequestsMock, foreign: requests.Session, clock: FakeClock
) -> None:
    """On somebody else's session each hop of a redirect has the whole time; so the documentation says."""
    follow_slow_redirects(responses, clock, seconds=45)
    assert foreign.get(f"{URL}0").status_code == 200
    assert clock.now == 90


def follow_slow_redirects(responses: responses_library.RequestsMock, clock: FakeClock, seconds: float) -> None:
    def redirect(request: requests.PreparedRequest) -> tuple[int, dict[str, str], str]:
        clock.advance(seconds)
        return (302, {"Location": f"{URL}1"}, "") if request.path_url == "/0" else (200, {}, "there")

    responses.add_callback("GET", f"{URL}0", redirect)
    responses.add_callback("GET", f"{URL}1", redirect)


def test_a_retry_after_is_waited_for(
    responses: responses_library.RequestsMock, session: ResilientSession, clock: FakeClock, metrics: Metrics
) -> None:
    """The server says when to come back, and that is when the call comes back."""
    responses.get(URL, status=429, headers={"Retry-After": "20"})
    responses.get(URL, status=200)
    assert session.get(URL).status_code == 200
    assert clock.waits == [20]
    assert metrics("backoff_seconds_total", upstream="other", source="retry_after") == 20


def test_a_retry_after_beyond_the_deadline_returns_the_response(
    responses: responses_library.RequestsMock, session: ResilientSession, clock: FakeClock, metrics: Metrics
) -> None:
    """A 429 that asks for an hour is the answer, at once, and counted as a retry that the deadline forbade."""
    responses.get(URL, status=429, headers={"Retry-After": "3600"})
    response = session.get(URL)
    assert (response.status_code, response.headers["Retry-After"]) == (429, "3600")
    assert clock.waits == []
    assert metrics("retries_suppressed_total", upstream="other", reason="deadline") == 1


def test_a_wait_that_takes_too_long_ends_with_the_last_answer(
    responses: responses_library.RequestsMock, clock: FakeClock
) -> None:
    """A process that was suspended in its sleep returns what it had."""
    responses.get(URL, status=503)
    with ResilientSession(wait=lambda _: clock.advance(1000)) as session:
        assert session.get(URL).status_code == 503
    assert len(responses.calls) == 1


# timeout=


@pytest.mark.parametrize(
    ("given", "used"),
    [
        (None, 10.0),
        (3, 3),
        (0.5, 0.5),
        (300, 10.0),
        (float("inf"), 10.0),
        ((3, 5), (3, 5)),
        ((3, None), (3, 10.0)),
        ((None, None), (10.0, 10.0)),
        ((300, 5), (10.0, 5)),
    ],
)
def test_timeout_only_shortens(given: Any, used: Any, sends: list[dict[str, Any]], session: ResilientSession) -> None:
    """timeout= is requests' own, within the policy's; None means the policy's."""
    session.get(URL, timeout=given)
    assert [attempt["timeout"] for attempt in sends] == [used]


def test_a_urllib3_timeout_is_bounded_in_all(sends: list[dict[str, Any]], session: ResilientSession) -> None:
    """A urllib3 Timeout keeps its parts, its total is the shorter of its own and the policy's."""
    mine = Timeout(connect=3, read=300)
    session.get(URL, timeout=mine)
    session.get(URL, timeout=Timeout(total=2))
    session.get(URL, timeout=Timeout(total=200))
    first, second, third = (attempt["timeout"] for attempt in sends)
    assert (first.total, first.connect_timeout) == (10, 3)
    first.start_connect()
    assert first.read_timeout <= 10
    assert (second.total, third.total) == (2, 10)
    assert mine.total is None  # the caller's own object is left as it was


@pytest.mark.parametrize("timeout", [3, Timeout(total=3)])
def test_a_total_in_the_timeout_bounds_each_attempt(
    timeout: Any, responses: responses_library.RequestsMock, session: ResilientSession, clock: FakeClock
) -> None:
    """An attempt that its own timeout= ended is a ReadTimeout, even shortly before the deadline."""

    def slow(request: requests.PreparedRequest) -> tuple[int, dict[str, str], str]:
        clock.advance(3)
        raise requests.ReadTimeout

    responses.add_callback("GET", URL, slow)
    with pytest.raises(requests.ReadTimeout) as raised:
        session.get(URL, timeout=timeout)
    assert not isinstance(raised.value, DeadlineExceeded)
    assert len(responses.calls) == 4


@pytest.mark.parametrize(
    "timeout",
    [0, -1, 0.0, True, "soon", (0, 1), (1, -1), (1,), (1, 2, 3), [1, 2], pytest.param(object(), id="object")],
    ids=repr,
)
def test_a_bad_timeout_raises_what_requests_raises(
    timeout: Any, serve: Serve, session: ResilientSession, clock: FakeClock, metrics: Metrics
) -> None:
    """A timeout that makes no sense is refused with requests' own error and words, before anything is sent."""
    server = serve()
    with requests.Session() as plain, pytest.raises((ValueError, TypeError)) as expected:
        plain.get(server.url, timeout=timeout)
    with pytest.raises(type(expected.value)) as raised:
        session.get(server.url, timeout=timeout)
    assert str(raised.value) == str(expected.value)
    assert (server.requests, clock.waits) == ([], [])
    assert metrics("active_requests", upstream="other") == 0


# Everything else that a requests adapter does


def test_each_attempt_gets_the_callers_arguments(
    responses: responses_library.RequestsMock, session: ResilientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """stream, verify, cert and proxies reach every attempt as they were given."""
    seen = []
    mocked = HTTPAdapter.send

    def send(self: HTTPAdapter, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        seen.append(args)
        return mocked(self, request, *args, **kwargs)

    responses.get(URL, status=503)
    given = {"stream": True, "verify": "/ca.pem", "cert": ("/c", "/k"), "proxies": {"https": "http://proxy.test"}}
    with monkeypatch.context() as patch:
        patch.setattr(HTTPAdapter, "send", send)
        session.get(URL, **given).close()
    assert seen == [(True, 10.0, "/ca.pem", ("/c", "/k"), {"https": "http://proxy.test"})] * 4


def test_verify_accepts_the_authority_it_is_given(serve: Serve, session: ResilientSession) -> None:
    """verify= takes a bundle, as in requests."""
    server = serve(reply(200), context=server_context())
    assert session.get(server.url, verify=str(TLS / "ca.pem")).ok


def test_verify_false_accepts_any_certificate(serve: Serve, session: ResilientSession) -> None:
    """verify=False switches the check off, with urllib3's warning."""
    server = serve(reply(200), context=server_context())
    with pytest.warns(match="Unverified HTTPS request"):
        assert session.get(server.url, verify=False).ok


def test_a_bad_certificate_is_not_retried(serve: Serve, session: ResilientSession, clock: FakeClock) -> None:
    """A certificate that nobody vouches for is an SSLError at once."""
    server = serve(context=server_context())
    with pytest.raises(requests.exceptions.SSLError):
        session.get(server.url)
    assert (clock.waits, server.connections) == ([], 1)


def test_a_client_certificate_is_presented(serve: Serve, session: ResilientSession) -> None:
    """cert= works as in requests, on every attempt."""
    server = serve(reply(503), reply(200), context=server_context(ask_for_client_certificate=True))
    assert session.get(server.url, verify=str(TLS / "ca.pem"), cert=str(TLS / "client.pem")).ok
    assert server.peers == ["client", "client"]


def test_a_missing_authority_is_the_callers_mistake(serve: Serve, session: ResilientSession, clock: FakeClock) -> None:
    """A bundle that is not there raises OSError, as in requests, and is not retried."""
    server = serve(context=server_context())
    with pytest.raises(OSError, match="invalid path"):
        session.get(server.url, verify="/nowhere/ca.pem")
    assert clock.waits == []


def test_pools_are_as_large_as_threads_are_many(serve: Serve, session: ResilientSession) -> None:
    """Threads that share a session each keep their connection: no "pool is full", no reconnecting."""
    threads = 16
    together = threading.Barrier(threads)
    server = serve(*[reply(200, then=Then.KEEP)] * threads * 2)
    failures = []

    def work() -> None:
        try:
            for _ in range(2):
                with session.get(server.url, stream=True) as response:
                    together.wait(5)
                    _ = response.content
                together.wait(5)
        except Exception as exc:  # noqa: BLE001 - the thread would only print it
            failures.append(exc)

    workers = [threading.Thread(target=work) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert failures == []
    assert server.connections == threads <= POOL_CONNECTIONS


def test_pool_options_are_requests_own() -> None:
    """pool_connections, pool_maxsize and pool_block are passed on."""
    adapter = ResilientAdapter(pool_connections=3, pool_maxsize=5, pool_block=True)
    pool = adapter.poolmanager.connection_from_url(URL)
    assert (pool.block, pool.pool.maxsize) == (True, 5)


def test_the_total_timeout_runs_on_a_clock_that_nobody_sets() -> None:
    """Outside of tests the clock is the monotonic one: changing the date of a machine ends no call."""
    assert Runtime().clock is time.monotonic


COPIES: list[Callable[[ResilientAdapter], ResilientAdapter]] = [
    lambda adapter: pickle.loads(pickle.dumps(adapter)),
    copy.deepcopy,
    copy.copy,
]


@pytest.mark.parametrize("duplicate", COPIES, ids=["pickled", "deep copy", "copy"])
def test_adapters_pickle_and_copy(
    duplicate: Callable[[ResilientAdapter], ResilientAdapter],
    responses: responses_library.RequestsMock,
    clock: FakeClock,
) -> None:
    """A copy has the policy of the original, and works."""
    responses.get(URL, status=503)
    adapter = duplicate(ResilientAdapter(Policy(retries=1), pool_maxsize=7))
    with requests.Session() as session:
        session.mount("https://", adapter)
        assert session.get(URL).status_code == 503
    assert clock.waits == [1]
    assert adapter._pool_maxsize == 7


def test_a_body_is_read_from_a_mock_without_one(session: ResilientSession, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand-ins that return a bare Response work."""
    bare = requests.Response()
    bare.status_code = 200
    monkeypatch.setattr(HTTPAdapter, "send", lambda *args, **kwargs: bare)
    assert session.send(requests.Request("GET", URL).prepare()) is bare


def test_a_head_cut_short_is_what_either_way_of_reading_it_raises(serve: Serve, foreign: requests.Session) -> None:
    """Whether a caller expects a ConnectionError or, as for a chunked answer, a ChunkedEncodingError: it is both."""
    heads = [b"HTTP/1.1 200 OK\r\nX-First: 1\r\nX-Sec", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n"]
    foreign.mount("http://", ResilientAdapter(Policy(retries=0)))
    for head in heads:
        server = serve(Reply(head))
        with pytest.raises(HeadTruncated) as raised:
            foreign.get(server.url)
        assert isinstance(raised.value, requests.ConnectionError)
        assert isinstance(raised.value, requests.exceptions.ChunkedEncodingError)
        assert raised.value.request is not None


class PretendedSocket:
    """A socket as some test tools make it: nothing behind it, and an answer in a BytesIO."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer

    def makefile(self, *_: Any, **__: Any) -> io.BytesIO:
        return io.BytesIO(self._answer)

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_, **__: None


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nfine\r\n0\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\nfine",
    ],
    ids=["length", "chunked", "interim"],
)
def test_a_pretended_socket_answers(
    answer: bytes, foreign: requests.Session, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a test tool hands out sockets that read from memory, their answers arrive."""
    monkeypatch.setattr(urllib3.util.connection, "create_connection", lambda *_, **__: PretendedSocket(answer))
    assert foreign.get("http://127.0.0.1:1/").content == b"fine"
    assert clock.waits == []


def test_a_wait_that_is_cut_short_counts_no_retry(serve: Serve, metrics: Metrics) -> None:
    """What is counted as a retry, and as time lost to it, is what happened."""

    def wait(_: float) -> None:
        raise KeyboardInterrupt

    server = serve(reply(503))
    with ResilientSession(wait=wait) as session, pytest.raises(KeyboardInterrupt):
        session.get(server.url)
    assert len(server.requests) == 1
    assert metrics("retries_total", upstream="other", reason="http_5xx") == 0
    assert metrics("backoff_seconds_total", upstream="other", source="computed") == 0


def test_a_wait_that_outlasts_the_call_counts_no_retry(
    responses: responses_library.RequestsMock, clock: FakeClock, metrics: Metrics
) -> None:
    """Nor does one after which no time is left for an attempt."""
    responses.get(URL, status=503)
    with ResilientSession(wait=lambda _: clock.advance(1000)) as session:
        assert session.get(URL).status_code == 503
    assert metrics("retries_total", upstream="other", reason="http_5xx") == 0
    assert metrics("retries_suppressed_total", upstream="other", reason="deadline") == 1


def test_what_was_waited_is_counted_as_it_was(
    responses: responses_library.RequestsMock, clock: FakeClock, metrics: Metrics
) -> None:
    """A wait that took longer than asked for counts with what it took."""
    responses.get(URL, status=503)
    responses.get(URL, status=200)
    with ResilientSession(wait=lambda seconds: clock.advance(seconds + 2)) as session:
        assert session.get(URL).status_code == 200
    assert metrics("retries_total", upstream="other", reason="http_5xx") == 1
    assert metrics("backoff_seconds_total", upstream="other", source="computed") == 3
