"""The driver for requests, against servers that misbehave."""

from __future__ import annotations

import copy
import io
import pickle
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
import requests
import responses as responses_library
import urllib3.util.connection
from requests.adapters import HTTPAdapter

from core.http import (
    Policy,
    ResilientAdapter,
    ResilientSession,
)
from core.http.adapter import POOL_CONNECTIONS
from core.http.registry import Runtime
from core.http.testing import FakeClock
from core.http.wire.requests_exceptions import HeadTruncated
from tests.core.http.conftest import Metrics, Serve
from tests.core.http.misbehave import TLS, Reply, Then, reply, server_context

URL = "https://example.org/"


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
    """An unknown certificate raises SSLError at once."""
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


def test_the_total_timeout_runs_on_the_monotonic_clock() -> None:
    """Outside of tests, the clock is the monotonic one, so a change of the machine's date ends no call."""
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
    """Mocks that return a bare Response work."""
    bare = requests.Response()
    bare.status_code = 200
    monkeypatch.setattr(HTTPAdapter, "send", lambda *args, **kwargs: bare)
    assert session.send(requests.Request("GET", URL).prepare()) is bare


def test_a_truncated_head_is_both_errors_of_requests(serve: Serve, foreign: requests.Session) -> None:
    """A truncated head raises an error that is both a ConnectionError and a ChunkedEncodingError."""
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
    """Answers from the in-memory sockets of test tools arrive."""
    monkeypatch.setattr(urllib3.util.connection, "create_connection", lambda *_, **__: PretendedSocket(answer))
    assert foreign.get("http://127.0.0.1:1/").content == b"fine"
    assert clock.waits == []


def test_a_wait_that_is_cut_short_counts_no_retry(serve: Serve, metrics: Metrics) -> None:
    """A wait that ends early does not count as a retry, and counts with the time waited."""

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
    """A wait that leaves no time for an attempt does not count as a retry."""
    responses.get(URL, status=503)
    with ResilientSession(wait=lambda _: clock.advance(1000)) as session:
        assert session.get(URL).status_code == 503
    assert metrics("retries_total", upstream="other", reason="http_5xx") == 0
    assert metrics("retries_suppressed_total", upstream="other", reason="deadline") == 1


def test_a_wait_is_counted_with_its_real_length(
    responses: responses_library.RequestsMock, clock: FakeClock, metrics: Metrics
) -> None:
    """A wait that took longer than planned counts with its real length."""
    responses.get(URL, status=503)
    responses.get(URL, status=200)
    with ResilientSession(wait=lambda seconds: clock.advance(seconds + 2)) as session:
        assert session.get(URL).status_code == 200
    assert metrics("retries_total", upstream="other", reason="http_5xx") == 1
    assert metrics("backoff_seconds_total", upstream="other", source="computed") == 3
