"""Name look-ups in threads, with any result."""

from __future__ import annotations

import errno
import logging
import socket
import threading
from functools import partial
from queue import SimpleQueue
from types import SimpleNamespace
from typing import Any

import pytest
import requests

from core.http import Policy, ResilientSession
from core.http.events import AttemptEnded, Event
from core.http.outcome import Reason
from core.http.testing import FakeClock
from core.http.wire import resolver as resolver_module
from core.http.wire.resolver import LookUp, Resolver
from tests.core.http.conftest import Serve
from tests.core.http.misbehave import reply


@pytest.fixture
def no_threads(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Make starting look-up threads fail, as in a process at its limit of threads, until ``undo()``."""

    def refuse(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(resolver_module, "_thread", SimpleNamespace(start_new_thread=refuse))
    return monkeypatch


def test_without_a_thread_the_look_up_fails_for_now(
    no_threads: pytest.MonkeyPatch, session: ResilientSession, clock: FakeClock, events: list[Event]
) -> None:
    """If no look-up thread can be started, the call is retried, and does not count as a failure of the upstream."""
    with pytest.raises(requests.ConnectionError):
        session.get("http://localhost:1/")
    assert clock.waits == [1, 2, 4]
    outcomes = [event.outcome for event in events if isinstance(event, AttemptEnded) and event.outcome]
    assert len(outcomes) == 4
    assert {(each.reason, each.transient, each.sent) for each in outcomes} == {(Reason.OTHER, True, False)}


def test_with_threads_again_names_are_looked_up_again(no_threads: pytest.MonkeyPatch, serve: Serve) -> None:
    """Look-ups that found no thread do not block later ones."""
    server = serve(reply(200, b"fine"))
    url = server.url.replace("127.0.0.1", "localhost")
    session = ResilientSession(Policy(circuit_breaker=None))
    for _ in range(10):  # as many as there are threads, and more
        with pytest.raises(requests.ConnectionError):
            session.get(url)
    no_threads.undo()
    assert session.get(url).content == b"fine"


def test_a_look_up_without_a_thread_leaves_nothing_behind(no_threads: pytest.MonkeyPatch) -> None:
    """After a look-up without a thread, the same name can be looked up again at once."""
    resolver = Resolver(threads=1)
    for _ in range(3):
        with pytest.raises(OSError, match="can't start new thread") as raised:
            resolver.resolve("localhost", 80, 5)
        assert raised.value.errno == errno.EAGAIN
    no_threads.undo()
    assert resolver.resolve("localhost", 80, 5)


@pytest.mark.parametrize("error", [RuntimeError("blocked"), ValueError("odd"), UnicodeError("odd"), KeyError("odd")])
def test_a_look_up_after_any_error_works(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    """Any error of a replaced getaddrinfo fails only its own look-up."""
    resolver = Resolver(threads=1)

    def getaddrinfo(host: str, *_: Any) -> Any:
        if host == "odd.example":
            raise error
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 80))]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    for _ in range(3):
        with pytest.raises(OSError, match=type(error).__name__):
            resolver.resolve("odd.example", 80, 5)
    assert resolver.resolve("good.example", 80, 5)[0][4] == ("127.0.0.1", 80)


def test_any_error_of_a_look_up_is_a_request_exception(
    session: ResilientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Errors of tools that forbid the network are ConnectionErrors for the caller."""

    def getaddrinfo(*_: Any) -> None:
        raise RuntimeError("no network here")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    with pytest.raises(requests.ConnectionError):
        session.get("http://odd.example/")


def test_an_error_that_takes_other_arguments_is_a_request_exception(
    session: ResilientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An OSError of a class with other arguments is a ConnectionError too."""

    class ForbiddenError(OSError):
        def __init__(self, *, host: str) -> None:
            super().__init__(f"{host} is not to be looked up")

    def getaddrinfo(host: str, *_: Any) -> None:
        raise ForbiddenError(host=host)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    with pytest.raises(requests.ConnectionError):
        session.get("http://odd.example/")


def test_a_waiter_sleeps_until_it_is_woken(monkeypatch: pytest.MonkeyPatch) -> None:
    """A caller that waits for an answer uses no processor time, and looks after the threads every quarter second."""
    waits: list[float | None] = []
    asleep = threading.Event()

    class Mailbox(SimpleQueue[None]):
        def get(self, block: bool = True, timeout: float | None = None) -> None:
            waits.append(timeout)
            asleep.set()
            return super().get(block, timeout)

    def getaddrinfo(*_: Any) -> Any:
        asleep.wait(10)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 80))]

    monkeypatch.setattr(resolver_module, "SimpleQueue", Mailbox)
    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    assert Resolver(threads=1).resolve("slow.example", 80, 60)
    assert set(waits) == {0.25}


def test_who_waits_is_woken() -> None:
    """Each waiter is called once, when the look-up is done: drivers for event loops wait for nothing else."""
    look_up, woken = LookUp(("localhost", 80)), list[str]()
    for name in ("first", "second"):
        look_up.notify(partial(woken.append, name))
    assert woken == []
    look_up.run()
    assert (woken, look_up.done) == (["first", "second"], True)
    look_up.run()
    look_up.fail(OSError("too late"))
    assert look_up.result()
    assert woken == ["first", "second"]


@pytest.mark.parametrize(
    ("number", "expected"),
    [(errno.EMFILE, errno.EMFILE), (errno.ENFILE, errno.ENFILE), (errno.EACCES, socket.EAI_NONAME)],
)
def test_a_lack_of_descriptors_is_no_missing_name(monkeypatch: pytest.MonkeyPatch, number: int, expected: int) -> None:
    """Without a free file descriptor, the C library says that the name does not exist: the error says the cause."""

    def getaddrinfo(*_: Any) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "no such name")

    def no_file(*_: Any) -> int:
        raise OSError(number, "not now")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    monkeypatch.setattr(resolver_module, "os", SimpleNamespace(open=no_file, close=None, devnull="", O_RDONLY=0))
    look_up = LookUp(("missing.example", 80))
    look_up.run()
    with pytest.raises(OSError) as raised:
        look_up.result()
    assert raised.value.errno == expected


def test_each_who_waits_gets_an_error_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads that share a look-up get separate exceptions, because each adds its own traceback to it."""
    resolver, asked = Resolver(threads=1), []
    all_there = threading.Barrier(4)
    ask = resolver._ask
    waits: list[Any] = []

    def ask_and_tell(key: tuple[str, int]) -> Any:
        waits.append(ask(key))
        threading.Thread(target=all_there.wait, args=(10,)).start()
        return waits[-1]

    monkeypatch.setattr(resolver, "_ask", ask_and_tell)

    def getaddrinfo(host: str, *_: Any) -> None:
        asked.append(host)
        all_there.wait(10)
        raise socket.gaierror(socket.EAI_NONAME, "no such name")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    errors: list[OSError] = []

    def resolve() -> None:
        with pytest.raises(socket.gaierror, match="no such name") as raised:
            resolver.resolve("missing.example", 80, 10)
        errors.append(raised.value)

    threads = [threading.Thread(target=resolve) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert asked == ["missing.example"]
    assert len({id(error) for error in errors}) == 3
    assert {error.errno for error in errors} == {socket.EAI_NONAME}


def test_a_failed_look_up_is_logged_as_such(
    session: ResilientSession, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The log distinguishes an unknown name from a server that cannot be reached."""

    def getaddrinfo(*_: Any) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "no such name")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    with pytest.raises(requests.ConnectionError):
        session.get("http://missing.example/")
    [line] = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert "failed: dns" in line
    assert "dns (gaierror)" in line
