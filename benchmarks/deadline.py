# ruff: noqa: T201 - a program that prints tables
"""Measures by how much attempts exceed their deadline, and the CPU time of enforcing it. Loopback only.

python -m benchmarks.deadline            # all measurements, about a minute and a half
python -m benchmarks.deadline --help
"""

from __future__ import annotations

import argparse
import logging
import socket
import statistics
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import requests
import urllib3.connectionpool
from requests.adapters import HTTPAdapter

from core.http import Policy, ResilientSession
from tests.core.http.hostile.scenarios import CA, certificate
from tests.core.http.misbehave import HOLD, MisbehavingServer, Reply, Then, reply

HEAD = b"HTTP/1.1 200 OK\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
DRIPS = 0.002
"""Seconds between the pieces of a response that is sent slowly. They are much less than the measured overshoot."""
URLLIB3S = {"http": urllib3.connectionpool.HTTPConnectionPool, "https": urllib3.connectionpool.HTTPSConnectionPool}


def drip(data: bytes, drop: bytes) -> Reply:
    return Reply(data, Then.HOLD, drop, DRIPS)


ANSWERS = {
    "hangs": HOLD,
    "drips status line": drip(b"HTTP/1.1 200 ", b"O"),
    "drips headers": drip(HEAD, b"X: 1\r\n" * 1),
    "drips interim responses": drip(b"", b"HTTP/1.1 102 Processing\r\n\r\n"),
    "drips body": drip(HEAD + b"Content-Length: 99999\r\n\r\n", b"x"),
    "drips chunk size": drip(CHUNKED, b"0"),
    "drips chunks": drip(CHUNKED, b"1\r\nx\r\n"),
    "drips trailers": drip(CHUNKED + b"0\r\n", b"X: 1\r\n"),
    "drips a 503": drip(b"HTTP/1.1 503 Busy\r\n\r\n", b"x"),
    "drips a redirect": drip(b"HTTP/1.1 302 Found\r\nLocation: /\r\n\r\n", b"x"),
    "floods body": Reply(HEAD + b"\r\n", Then.CLOSE, b"x" * 65536),
}
HANDSHAKES = {
    "handshake hangs": Reply(b"", Then.DRAIN),
    "handshake drips": drip(b"\x16\x03\x03\x3f\xff\x02\0\x3f\xfb\x03\x03", b"\0"),
}
ROWS = (*ANSWERS, *(f"{name} (TLS)" for name in ANSWERS), *HANDSHAKES, "upload not read", "DNS hangs", "addresses dead")


def session_with(policy: Policy) -> ResilientSession:
    session = ResilientSession(policy)
    session.trust_env, session.verify = False, CA
    return session


# Overshoot


def overshoot(name: str, seconds: float, times: int) -> list[float]:
    """Run `times` attempts until their deadline. Returns the milliseconds by which each exceeded it."""
    policy = Policy(retries=0, attempt_timeout=seconds, max_response_bytes=None, circuit_breaker=None)
    taken = []
    with ExitStack() as stack:
        call = stack.enter_context(prepared(name, times, session_with(policy)))
        for _ in range(times):
            began = time.monotonic()
            try:
                call()
            except requests.Timeout:
                taken.append((time.monotonic() - began - seconds) * 1000)
            except requests.RequestException as exc:
                raise SystemExit(f"{name}: expected a timeout, got {exc!r}") from exc
    return taken


@contextmanager
def prepared(name: str, times: int, session: ResilientSession) -> Iterator[Callable[[], object]]:
    """Start the server of a scenario, and yield a function that calls it."""
    with session:
        if name == "DNS hangs":
            with hanging_names() as host:
                yield lambda: session.get(f"http://{host}/")
        elif name == "addresses dead":
            with dead_addresses(5) as host:
                yield lambda: session.get(f"http://{host}/")
        elif name == "upload not read":
            with MisbehavingServer(welcome=Reply(b"", Then.IGNORE)) as server:
                body = b"0" * 2**25
                yield lambda: session.post(server.url, data=body)
        elif name in HANDSHAKES:
            with MisbehavingServer(greetings=[HANDSHAKES[name]] * times, context=certificate()) as server:
                yield lambda: session.get(server.url)
        else:
            answer, tls = ANSWERS[name.removesuffix(" (TLS)")], name.endswith("(TLS)")
            with MisbehavingServer([answer] * times, context=certificate() if tls else None) as server:
                yield lambda: session.get(server.url)


@contextmanager
def hanging_names() -> Iterator[str]:
    over, real = threading.Event(), socket.getaddrinfo

    def hang(*_: Any, **__: Any) -> Any:
        over.wait()
        raise socket.gaierror(socket.EAI_AGAIN, "the simulated hang is over")

    socket.getaddrinfo = hang
    yield "hanging.test"
    socket.getaddrinfo = real
    over.set()


@contextmanager
def dead_addresses(count: int) -> Iterator[str]:
    """Yield a name whose addresses accept no connection, because their backlogs are full."""
    real = socket.getaddrinfo
    with ExitStack() as stack:
        addresses = []
        for _ in range(count):
            listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
            addresses.append(listener.getsockname())
            full = False
            while not full:
                filler = stack.enter_context(socket.socket())
                filler.settimeout(0.05)
                full = filler.connect_ex(addresses[-1]) != 0
        socket.getaddrinfo = lambda *_, **__: [(socket.AF_INET, socket.SOCK_STREAM, 6, "", one) for one in addresses]
        yield "dead.test"
        socket.getaddrinfo = real


@contextmanager
def busy_thread() -> Iterator[None]:
    """Run Python code in another thread, so that it holds the GIL as much as possible."""
    over = threading.Event()

    def compute() -> None:
        while not over.is_set():
            sum(range(1000))

    thread = threading.Thread(target=compute, daemon=True)
    thread.start()
    yield
    over.set()
    thread.join()


def print_overshoot(seconds: float, times: int, *, busy: bool) -> None:
    print(f"\nOvershoot in ms, {'with a busy thread' if busy else 'idle'}: {times} attempts of {seconds} s each")
    print(f"{'':34}{'p50':>8}{'p95':>8}{'max':>8}")
    everything = []
    with ExitStack() as stack:
        if busy:
            stack.enter_context(busy_thread())
        for name in ROWS:
            taken = overshoot(name, seconds, times)
            everything += taken
            print_row(name, taken)
    print_row("all", everything)


def print_row(name: str, values: list[float]) -> None:
    cuts = statistics.quantiles(values, n=20, method="inclusive")
    print(f"{name:34}{statistics.median(values):8.1f}{cuts[18]:8.1f}{max(values):8.1f}")


# Cost


def plain_pools(session: ResilientSession) -> ResilientSession:
    """Disable the deadlines of a session's sockets, and nothing else."""
    for adapter in session.adapters.values():
        if isinstance(adapter, HTTPAdapter):
            adapter.poolmanager.pool_classes_by_scheme = URLLIB3S
    return session


def cpu_per_call(call: Callable[[], object], calls: int) -> float:
    """Return the µs of CPU time per call in this thread, without the threads of the servers."""
    before = time.thread_time()
    for _ in range(calls):
        call()
    return (time.thread_time() - before) / calls * 1e6


def compare(
    first: Callable[[], object], second: Callable[[], object], calls: int, rounds: int
) -> tuple[float, float, float]:
    """Measure both in alternating rounds. Returns their medians, and the median of the ratios of first to second."""
    cpu_per_call(first, calls)
    cpu_per_call(second, calls)
    pairs = []
    for number in range(rounds):
        if number % 2:
            pairs.append((cpu_per_call(first, calls), cpu_per_call(second, calls)))
        else:
            pairs.append((cpu_per_call(second, calls), cpu_per_call(first, calls))[::-1])
    ones, others = zip(*pairs, strict=True)
    return statistics.median(ones), statistics.median(others), statistics.median(a / b for a, b in pairs)


def print_cost(calls: int, rounds: int) -> None:
    print(f"\nCPU of a call in µs, median of {rounds} alternating rounds of {calls} calls")
    print(f"{'':34}{'this':>8}{'other':>8}{'ratio':>8}")
    keep = reply(200, b"x" * 2000, then=Then.KEEP)
    policy = Policy(attempt_timeout=60.0, total_timeout=60.0, circuit_breaker=None)
    for scheme in ("http", "https"):
        context = certificate() if scheme == "https" else None
        with MisbehavingServer(routes={"": keep}, context=context) as server:
            with session_with(policy) as ours, plain_pools(session_with(policy)) as bare:
                measured = compare(lambda: ours.get(server.url), lambda: bare.get(server.url), calls, rounds)
            print(f"{f'{scheme}: with, without deadline':34}" + "{:8.0f}{:8.0f}{:8.3f}".format(*measured))
    with MisbehavingServer(routes={"": reply(200, b"x" * 2000)}, context=certificate()) as server:
        with session_with(policy) as ours, requests.Session() as plain:
            plain.trust_env = False
            # Loads the system's certificate authorities. None of them has signed the server's certificate.
            get = {"verify": True}

            def new(session: requests.Session) -> None:
                try:
                    session.get(server.url, **get)
                except requests.exceptions.SSLError:
                    return
                raise SystemExit("the system's certificate authorities trust the tests' certificate: remove it there")

            measured = compare(lambda: new(ours), lambda: new(plain), max(calls // 20, 5), rounds)
        print(f"{'new TLS connection: this, requests':34}" + "{:8.0f}{:8.0f}{:8.3f}".format(*measured))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.deadline", description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=0.2, help="deadline of an attempt (default: %(default)s)")
    parser.add_argument("--times", type=int, default=6, help="attempts for each scenario (default: %(default)s)")
    parser.add_argument("--calls", type=int, default=200, help="calls in a round (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=11, help="rounds (default: %(default)s)")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable()  # all calls fail and would be logged
    print_cost(given.calls, given.rounds)
    for busy in (False, True):
        print_overshoot(given.seconds, max(given.times, 2), busy=busy)


if __name__ == "__main__":
    main()
