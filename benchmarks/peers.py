"""Compares the client's CPU time of a call with requests. Loopback only, about two minutes.

    python -m benchmarks.peers
    python -m benchmarks.peers --help

Other clients are included if they are installed:

    pip install tenacity httpx httpx2 aiohttp httpware "clientwright[requests]" pycurl

niquests replaces urllib3 with a fork that core.http rejects, so it needs its own environment:

    python -m venv elsewhere && elsewhere/bin/pip install niquests
    python -m benchmarks.peers --niquests elsewhere/bin/python

The client is pinned to one core and the server to another. The clients are measured in short, alternating rounds. The
table shows the median of the rounds' ratios to `requests.Session` (`requests.get` for `http.get`), and the ratio of the
fastest rounds. Metrics and logs are on, as by default.
"""

from __future__ import annotations

import argparse
import gzip
import json
import multiprocessing
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from rich.console import Console
from rich.table import Table
from urllib3.util import Retry

from benchmarks.peer_clients import Get, Times, installed, one_after_the_other, with_json
from core import http
from core.http import ResilientSession
from tests.core.http.hostile.scenarios import CA, certificate

HEAD = (
    "HTTP/1.1 200 OK\r\nServer: nginx\r\nDate: {date}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n"
    'Connection: keep-alive\r\nETag: "abc"\r\nAccept-Ranges: bytes\r\n{more}\r\n'
)
SLOW = "/slow"
LATENCY = 0.01
"""Seconds before the server responds to requests for `SLOW`."""
THREADS = 32


def document(size: int) -> bytes:
    rows = [{"id": number, "name": f"package-{number}", "active": True} for number in range(size // 53)]
    return json.dumps(rows).encode()


def answers() -> dict[str, bytes]:
    date = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime())
    found = {}
    for name, body in {
        "2k": document(2_000),
        "100k": document(100_000),
        "gzip": gzip.compress(document(600_000)),
    }.items():
        more = "Content-Encoding: gzip\r\n" if name == "gzip" else ""
        found[f"/{name}"] = HEAD.format(date=date, length=len(body), more=more).encode() + body
    found[SLOW] = found["/2k"]
    return found


def serve(told: Any, core: int | None, tls: bool) -> None:
    """Run the server until its process is terminated."""
    pin(core)
    pages, context = answers(), certificate() if tls else None

    def talk(connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if context is not None:
            connection = context.wrap_socket(connection, server_side=True)
        received = b""
        while data := connection.recv(65536):
            received += data
            while b"\r\n\r\n" in received:
                head, _, received = received.partition(b"\r\n\r\n")
                path = head.split(b" ", 2)[1].decode()
                if path == SLOW:
                    time.sleep(LATENCY)
                connection.sendall(pages[path])

    listener = socket.create_server(("127.0.0.1", 0), backlog=128)
    told.send(listener.getsockname()[1])
    while True:
        threading.Thread(target=talk, args=(listener.accept()[0],), daemon=True).start()


def pin(core: int | None) -> None:
    if core is not None:
        os.sched_setaffinity(0, {core})


def started(core: int | None, *, tls: bool) -> str:
    here, there = multiprocessing.Pipe()
    multiprocessing.get_context("fork").Process(target=serve, args=(there, core, tls), daemon=True).start()
    return f"{'https' if tls else 'http'}://127.0.0.1:{here.recv()}"


def retrying() -> requests.Session:
    session = requests.Session()
    for prefix in ("http://", "https://"):
        session.mount(
            prefix, HTTPAdapter(max_retries=Retry(3, backoff_factor=1, status_forcelist=(500, 502, 503, 504)))
        )
    return session


def sessions() -> dict[str, Get]:
    made = {
        "requests.Session": requests.Session(),
        "with urllib3.Retry": retrying(),
        "ResilientSession": ResilientSession(),
    }
    return {**{name: session.get for name, session in made.items()}, **installed(CA)}


def closing() -> dict[str, Get]:
    """Return functions that open a new TLS connection for each call; the session's TLS contexts are reused."""
    made = {"requests.Session": requests.Session(), "ResilientSession": ResilientSession()}

    def get_and_close(session: requests.Session, url: str) -> requests.Response:
        response = session.get(url)
        session.close()
        return response

    return {name: partial(get_and_close, session) for name, session in made.items()}


def functions() -> dict[str, Get]:
    return {"requests.get": requests.get, "http.get": http.get}


def pooled() -> dict[str, Get]:
    plain, ours = requests.Session(), ResilientSession()
    plain.mount("http://", HTTPAdapter(pool_maxsize=THREADS))
    return {"requests.Session": plain.get, "ResilientSession": ours.get}


def many_threads(get: Get, url: str, calls: int) -> Times:
    def work() -> None:
        for _ in range(calls):
            _ = get(url).content

    threads = [threading.Thread(target=work) for _ in range(THREADS)]
    began, cpu = time.perf_counter(), time.process_time()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.process_time() - cpu, time.perf_counter() - began


Way = Callable[[Get, str, int], Times]
Peer = Callable[[Way, str, int], Times]
CASES: dict[str, tuple[str, bool, Callable[[], dict[str, Get]], Way, int]] = {
    "2 KB, http": ("/2k", False, sessions, one_after_the_other, 100),
    "2 KB, https": ("/2k", True, sessions, one_after_the_other, 100),
    "100 KB, http": ("/100k", False, sessions, one_after_the_other, 40),
    "100 KB, https": ("/100k", True, sessions, one_after_the_other, 40),
    "600 KB gzip JSON, http": ("/gzip", False, sessions, with_json, 6),
    "2 KB, new TLS connections": ("/2k", True, closing, one_after_the_other, 4),
    "2 KB, http.get": ("/2k", False, functions, one_after_the_other, 60),
    f"2 KB after {LATENCY * 1000:.0f} ms, {THREADS} threads": (SLOW, False, pooled, many_threads, 8),
}
"""Path, TLS, clients (the first is the baseline), function that makes the calls, calls in a round."""


def here(get: Get) -> Peer:
    return lambda way, url, calls: way(get, url, calls)


@contextmanager
def elsewhere(python: str | None) -> Iterator[dict[str, Peer]]:
    """Yield a function that makes calls with niquests in a process of that Python, by name and version."""
    if python is None:
        yield {}
        return
    command = [python, "-m", "benchmarks.peer_clients", "niquests", CA]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603 - of this package
        asked, told = process.stdin, process.stdout
        if asked is None or told is None:
            raise RuntimeError("the process has no pipes for input and output")

        def call(way: Way, url: str, calls: int) -> Times:
            print(way.__name__, calls, url, file=asked, flush=True)
            cpu, clock = json.loads(told.readline())
            return cpu, clock

        yield {told.readline().strip(): call}
        asked.close()


def measure(names: list[str], rounds: int, niquests: str | None) -> None:
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_setaffinity") else [None]
    urls = {tls: started(cores[-1], tls=tls) for tls in (False, True)}
    pin(cores[0])
    os.environ["REQUESTS_CA_BUNDLE"] = CA
    table = Table(
        "",
        "client",
        "CPU, median",
        "CPU, least",
        "µs a call",
        "throughput",
        title="Ratios to requests, in the same run",
    )
    for name in names:
        page, tls, clients, way, calls = CASES[name]
        url = urls[tls] + page
        with elsewhere(niquests if clients is sessions else None) as more:
            peers = {**{peer: here(get) for peer, get in clients().items()}, **more}
            for call in peers.values():
                call(way, url, 2)
            taken: dict[str, list[Times]] = {peer: [] for peer in peers}
            for _ in range(rounds):
                for peer, call in peers.items():
                    taken[peer].append(call(way, url, calls))
        base = next(iter(taken.values()))
        each = calls * (THREADS if way is many_threads else 1)
        for peer, times in taken.items():
            cpu, least = [t[0] for t in times], min(times)[0]
            ratio = statistics.median(t[0] / b[0] for t, b in zip(times, base, strict=True))
            speed = statistics.median(b[1] / t[1] for t, b in zip(times, base, strict=True))
            micros = statistics.median(cpu) / each * 1e6
            row = (f"{ratio:.2f}", f"{least / min(base)[0]:.2f}", f"{micros:.0f}", f"{speed:.2f}")
            table.add_row(name, peer, *row)
    Console(width=120, highlight=False).print(table)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--only", help="only cases whose name contains this text")
    parser.add_argument("--multiprocess", action="store_true", help="store metrics in files, for several processes")
    parser.add_argument("--niquests", metavar="PYTHON", help="a Python executable with niquests installed")
    given = parser.parse_args()
    if given.multiprocess and "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        with (
            tempfile.TemporaryDirectory() as directory
        ):  # in another process, because the variable is read before the first metric is created
            command = [sys.executable, "-m", "benchmarks.peers", *sys.argv[1:]]
            return subprocess.call(command, env={**os.environ, "PROMETHEUS_MULTIPROC_DIR": directory})  # noqa: S603 - our own command
    measure([name for name in CASES if given.only is None or given.only in name], given.rounds, given.niquests)
    return 0


if __name__ == "__main__":
    sys.exit(main())
