"""Ctrl-C ends a call at once, in any of its waits."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from core.http import Policy, ResilientSession, process
from core.http.events import AttemptEnded, CallEnded, Event, RetryScheduled
from tests.core.http.conftest import Serve
from tests.core.http.hostile.conftest import Answers
from tests.core.http.hostile.scenarios import ALIVE, CA, FINE, certificate
from tests.core.http.misbehave import HOLD, Reply, Then, reply

LONG = 60.0
"""Seconds that the call would wait without the interrupt."""
POLICY = Policy(retries=1, backoff=LONG, backoff_max=LONG, attempt_timeout=LONG, total_timeout=10 * LONG)


@pytest.fixture
def interrupt() -> Iterator[Callable[[], object]]:
    """Return a function that interrupts the main thread, from another one, until that has noticed.

    A signal that arrives between two system calls is handled after the second one only; hence the repetition.
    """
    handled, started = threading.Event(), threading.Event()

    def handler(*_: object) -> None:
        if not handled.is_set():
            handled.set()
            raise KeyboardInterrupt

    def pound() -> None:
        started.wait(LONG)
        while not handled.wait(0.02):
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    before = signal.signal(signal.SIGINT, handler)
    thread = threading.Thread(target=pound, daemon=True)
    thread.start()
    yield started.set
    handled.set()
    started.set()
    thread.join(ALIVE)
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("stage", ["dns", "tls", "headers", "a drip", "body", "backoff", "stream"])
def test_an_interrupt(stage: str, interrupt: Callable[[], object], serve: Serve, names: Answers) -> None:
    """KeyboardInterrupt leaves the call at once, the attempt is closed, and the next call is unharmed."""
    over, seen = threading.Event(), list[Event]()

    def hang() -> OSError:
        interrupt()
        over.wait(LONG)
        return socket.gaierror(socket.EAI_AGAIN, "at last")

    def observe(event: Event) -> None:
        seen.append(event)
        if isinstance(event, RetryScheduled):
            interrupt()

    names["hanging.test"] = hang
    half = Reply(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf", Then.HOLD)
    does = {
        "headers": HOLD,
        "a drip": Reply(b"HTTP/1.1 200 ", Then.HOLD, b"O", 0.02),
        "body": half,
        "stream": half,
        "backoff": reply(503),
    }
    server = serve(
        *([does[stage]] if stage in does else []),
        FINE,
        greetings=[Reply(b"", Then.DRAIN)] * (stage == "tls"),
        context=certificate() if stage == "tls" else None,
        on_request=interrupt if stage in {"headers", "a drip", "body", "stream"} else None,
        on_connect=interrupt if stage == "tls" else None,
    )
    process.use(lambda: process.ProcessRegistry(observers=(observe,)))
    began = time.monotonic()
    with ResilientSession(POLICY, clock=time.monotonic, wait=time.sleep) as session:
        session.trust_env, session.verify = False, CA
        with pytest.raises(KeyboardInterrupt):
            session.get("http://hanging.test/" if stage == "dns" else server.url, stream=stage == "stream").content  # noqa: B018 - reads the body
        assert time.monotonic() - began < LONG / 2
        assert isinstance(seen[-1], {"backoff": RetryScheduled, "stream": CallEnded}.get(stage, AttemptEnded))
        over.set()
        assert session.get(server.url).content == b"fine"


@pytest.mark.parametrize("what", [[], ["--calls"]], ids=["raises", "makes a call"])
def test_signal_handlers_leak_nothing(what: list[str]) -> None:
    """Signal handlers at any line leak no slots, deadlines, connections, look-up threads, turns or metrics."""
    # In a process of its own: coverage has locks too, and would deadlock.
    command = [sys.executable, "-m", "tests.core.http.hostile.interrupted", "500", *what]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told.pop("seconds") < ALIVE
    assert told.pop("look-ups") <= 8
    assert told == {
        "answered": True,
        "failed": [],
        "slots": 0,
        "breaker": "closed",
        "turn taken": False,
        "in flight": 0,
    }
