"""Concurrency and pace: the slots and turns that a call holds and releases."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from typing import Any

import pytest
import requests
import responses as responses_library
from requests.adapters import HTTPAdapter

from core.http import (
    Policy,
    ResilientSession,
    adapter,
    process,
    registry,
)
from core.http.engine import concurrency_and_pacing
from core.http.engine.call import Call
from core.http.testing import FakeClock
from tests.core.http.conftest import Metrics, Serve
from tests.core.http.misbehave import Then, reply

URL = "https://example.org/"


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


def test_an_error_during_a_wait_ends_the_call(serve: Serve) -> None:
    """A worker that receives a signal during a wait ends its call."""
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


def test_threads_take_turns_at_the_server(serve: Serve, clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nine threads, three slots: never more than three at the server, all get there, in order, each woken once."""
    monkeypatch.setattr(concurrency_and_pacing, "POLL_SLOT", 60)  # no call continues without being woken
    process.use(runtime=registry.Runtime(clock=clock))  # the clock does not advance; the wait is real
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
    """With a custom `wait`, a call checks for a slot ten times a second."""
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
    assert clock.waits == [concurrency_and_pacing.POLL_SLOT] * 3


def test_a_wait_of_ones_own_is_cut_short_when_a_slot_comes(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the real clock it is called when the turn has come, with nothing left to wait, for it may end the call."""
    monkeypatch.setattr(concurrency_and_pacing, "POLL_SLOT", 60)
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


def test_a_thread_that_is_woken_checks_once_a_second(
    serve: Serve, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many threads that wait for a slot cost little, because each checks only once a second."""
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
    assert waits == [concurrency_and_pacing.POLL_ANYWAY]


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
