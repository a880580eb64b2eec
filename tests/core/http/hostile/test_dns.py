"""Names that do not exist, resolvers that hang, and hosts of which some addresses, or all, are dead."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests

from core.http import Policy, ResilientSession, process, registry
from core.http.events import Event
from core.http.outcome import Reason
from core.http.testing import FakeClock
from core.http.wire import resolver
from core.http.wire.requests_exceptions import AttemptConnectTimeout
from tests.core.http.conftest import Serve
from tests.core.http.hostile.conftest import Answers
from tests.core.http.hostile.scenarios import ALIVE, FINE, HASTY, PATIENT, ended, methods, session_for
from tests.core.http.misbehave import MisbehavingServer

BlackHole = Callable[[], tuple[str, int]]


@pytest.fixture
def hanging() -> Iterator[Callable[[], OSError]]:
    """Return a look-up that hangs until the test is over."""
    over = threading.Event()

    def look_up() -> OSError:
        over.wait(60)
        return socket.gaierror(socket.EAI_AGAIN, "at last")

    yield look_up
    over.set()


@pytest.fixture(autouse=True)
def _fresh_resolvers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give each test threads of its own, as those that a test leaves hanging are lost to the next one."""
    monkeypatch.setattr(resolver, "configured_hosts", resolver.Resolver(threads=32))
    monkeypatch.setattr(resolver, "other_hosts", resolver.Resolver(threads=8))


def address_of(server: MisbehavingServer) -> tuple[str, int]:
    host, _, port = server.netloc.partition(":")
    return host, int(port)


def time_out(session: ResilientSession, number: int) -> None:
    """Ask for a name that hangs."""
    with pytest.raises(requests.ConnectTimeout):
        session.get(f"http://hanging{number}.test/")


@methods
@pytest.mark.parametrize(
    ("answer", "reason", "transient"),
    [
        (socket.gaierror(socket.EAI_NONAME, "no such name"), Reason.DNS, False),
        (socket.gaierror(socket.EAI_NODATA, "no address"), Reason.DNS, False),
        (socket.gaierror(socket.EAI_FAIL, "for good"), Reason.DNS, False),
        (socket.gaierror(socket.EAI_AGAIN, "for now"), Reason.DNS, True),
        ([], Reason.CONNECT, True),
        (OSError("no resolver"), Reason.CONNECT, True),
    ],
    ids=["no such name", "no address", "failure", "temporary failure", "empty answer", "system error"],
)
def test_a_look_up_that_fails(
    answer: Any, reason: Reason, transient: bool, method: str, names: Answers, serve: Serve, events: list[Event]
) -> None:
    """An unknown name fails at once; transient failures are retried with every method, because nothing was sent."""
    names["host.test"] = answer
    server = serve(FINE)
    with session_for(PATIENT) as session:
        with pytest.raises(requests.ConnectionError):
            session.request(method, "http://host.test/")
        outcome = ended(events).attempts[-1].outcome
        assert (outcome.reason, outcome.transient, outcome.sent) == (reason, transient, False)
        assert len(ended(events).attempts) == (2 if transient else 1)
        names["host.test"] = [address_of(server)]
        assert session.get("http://host.test/").content == b"fine"


def test_any_error_of_a_look_up(names: Answers, serve: Serve) -> None:
    """An error that is no OSError is a RequestException too, and the look-up's thread is free again."""
    names["odd.test"] = UnicodeError("label too long")
    names["host.test"] = [address_of(serve(FINE))]
    with session_for(1.0, retries=0) as session:
        for _ in range(10):
            with pytest.raises(requests.RequestException):
                session.get("http://odd.test/")
        assert session.get("http://host.test/").content == b"fine"


@methods
def test_a_look_up_that_hangs(
    method: str, names: Answers, hanging: Callable[[], OSError], serve: Serve, events: list[Event]
) -> None:
    """A look-up that takes too long is a ConnectTimeout in stage dns, tried again for every method."""
    names["hanging.test"] = hanging
    began = time.monotonic()
    with session_for(HASTY) as session:
        with pytest.raises(AttemptConnectTimeout) as raised:
            session.request(method, "http://hanging.test/")
        assert time.monotonic() - began < 2 * HASTY + ALIVE
        assert (raised.value.reached, raised.value.received) == ("dns", 0)
        assert [attempt.outcome.sent for attempt in ended(events).attempts] == [False, False]
        assert session.get(serve(FINE, FINE).url).content == b"fine"


@pytest.mark.parametrize("many", [4, 8, 20])
def test_unknown_names_that_hang_delay_no_named_upstream(
    many: int, names: Answers, hanging: Callable[[], OSError], serve: Serve, clock: FakeClock
) -> None:
    """While look-ups of users' hosts hang, a named upstream is looked up at once, in threads of its own."""
    looking = threading.Semaphore(0)

    def look_up() -> OSError:
        looking.release()
        return hanging()

    config = registry.Config(
        default=Policy(retries=0, attempt_timeout=2.0),
        upstreams={"healthy": Policy(retries=0)},
        hosts={"healthy.test": "healthy"},
    )
    process.use(lambda: process.ProcessRegistry(config))
    names.update({f"hanging{number}.test": look_up for number in range(many)})
    names["healthy.test"] = [address_of(serve(FINE))]
    with ResilientSession() as session:
        before = threading.active_count()
        callers = [threading.Thread(target=time_out, args=(session, number)) for number in range(many)]
        for caller in callers:
            caller.start()
        for _ in range(min(many, 8)):
            assert looking.acquire(timeout=ALIVE)
        began = time.monotonic()
        assert session.get("http://healthy.test/").content == b"fine"
        assert time.monotonic() - began < 1.0  # its own look-up only; the others are still at theirs
        assert threading.active_count() - before <= many + 8 + 2  # callers, look-ups, the healthy server
        for caller in callers:
            caller.join(ALIVE)


def test_four_names_that_hang_delay_no_other_unknown_name(
    names: Answers, hanging: Callable[[], OSError], serve: Serve
) -> None:
    """After four hanging look-ups, the next unknown name is looked up at once."""
    names["healthy.test"] = [address_of(serve(FINE))]
    with session_for(0.05, retries=0) as hasty, session_for(PATIENT, retries=0) as session:
        for number in range(4):
            names[f"hanging{number}.test"] = hanging
            with pytest.raises(requests.ConnectTimeout):
                hasty.get(f"http://hanging{number}.test/")
        began = time.monotonic()
        assert session.get("http://healthy.test/").content == b"fine"
        assert time.monotonic() - began < PATIENT / 2


def test_callers_of_one_hanging_name_share_a_look_up(names: Answers, hanging: Callable[[], OSError]) -> None:
    """A name whose look-up hangs uses one thread, for any number of callers."""
    looked_up = []

    def look_up() -> OSError:
        looked_up.append(1)
        return hanging()

    names["hanging.test"] = look_up
    with session_for(0.02, retries=0) as session:
        for _ in range(20):
            with pytest.raises(requests.ConnectTimeout):
                session.get("http://hanging.test/")
    assert len(looked_up) == 1


def test_the_end_of_the_process_waits_for_no_look_up() -> None:
    """A hanging look-up does not keep the process from ending."""
    code = """
import socket, threading
socket.getaddrinfo = lambda *args, **kwargs: threading.Event().wait()
import requests
from core.http import Policy, ResilientSession
session = ResilientSession(Policy(retries=0, attempt_timeout=0.2))
session.trust_env = False
try:
    session.get("http://hanging.test/")
except requests.ConnectTimeout:
    print("timed out")
"""
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
    assert child.stdout == "timed out\n"


# Addresses


@pytest.mark.parametrize("dead", [1, 5])
def test_addresses_that_refuse(dead: int, names: Answers, closed_port: str, serve: Serve) -> None:
    """If an address refuses the connection, the next one is tried."""
    host, _, port = closed_port.partition(":")
    names["host.test"] = [(host, int(port))] * dead + [address_of(serve(FINE))]
    with session_for(PATIENT, retries=0) as session:
        assert session.get("http://host.test/").content == b"fine"


def test_all_addresses_refuse(names: Answers, closed_port: str, events: list[Event], serve: Serve) -> None:
    """If all addresses refuse the connection, the call is retried as with one address, and nothing was sent."""
    host, _, port = closed_port.partition(":")
    names["host.test"] = [(host, int(port))] * 5
    with session_for(PATIENT) as session:
        with pytest.raises(requests.ConnectionError):
            session.post("http://host.test/")
        assert len(ended(events).attempts) == 2
        assert session.get(serve(FINE).url).content == b"fine"


def test_a_first_address_that_is_dead(names: Answers, black_hole: BlackHole, serve: Serve) -> None:
    """An address that does not answer gets a share of the time, and the next one gets the rest."""
    names["host.test"] = [black_hole(), address_of(serve(FINE))]
    with session_for(2.0, retries=0) as session:
        assert session.get("http://host.test/").content == b"fine"


@methods
@pytest.mark.parametrize("dead", [1, 5])
def test_dead_addresses(
    dead: int, method: str, names: Answers, black_hole: BlackHole, events: list[Event], serve: Serve
) -> None:
    """With any number of dead addresses, an attempt ends in time with a ConnectTimeout in stage connect."""
    names["host.test"] = [black_hole() for _ in range(dead)]
    began = time.monotonic()
    with session_for(HASTY) as session:
        with pytest.raises(AttemptConnectTimeout) as raised:
            session.request(method, "http://host.test/")
        assert time.monotonic() - began < 2 * HASTY + ALIVE
        assert (raised.value.reached, raised.value.received) == ("connect", 0)
        assert [attempt.outcome.sent for attempt in ended(events).attempts] == [False, False]
        assert session.get(serve(FINE, FINE).url).content == b"fine"
