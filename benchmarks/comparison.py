# ruff: noqa: T201 - a program that prints tables
"""Compares core.http with other libraries: behavior with misbehaving servers and in an outage, and CPU time of a call.

Takes about ten minutes, loopback only. Needs its own environment, because some libraries are not test dependencies:

    python3.13 -m venv compare
    compare/bin/pip install -r benchmarks/comparison.txt
    compare/bin/python -m benchmarks.comparison
"""

from __future__ import annotations

import gzip
import logging
import statistics
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from benchmarks.contenders import ATTEMPTS, OURS, TOTAL, Call, Contender, installed
from tests.core.http.misbehave import CLOSE, RESET, MisbehavingServer, Reply, Then, reply

FINE = reply(200, b"fine")
HEAD = b"HTTP/1.1 200 OK\r\n"
PATIENCE = 2 * TOTAL
"""Seconds after which a call that has not ended counts as hanging forever."""
OUTAGE = 100
"""Number of calls during the outage."""
CPU_CALLS, CPU_ROUNDS = 20, 200


@dataclass
class Ending:
    """How a call ended, and what the server received."""

    status: int | None = None
    body: bytes = b""
    error: str = ""
    seconds: float = 0.0
    requests: int = 0
    held: bool = False
    gaps: tuple[float, ...] = ()
    let_go: bool = True
    """Whether all connections were closed within a second after the call."""


@dataclass(frozen=True)
class Case:
    name: str
    script: list[Reply]
    good: Callable[[Ending], bool]
    method: str = "GET"


def _cut_gzip() -> Reply:
    data = gzip.compress(b"fine" * 1000)
    half = data[: len(data) // 2]
    head = HEAD + b"Content-Encoding: gzip\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    return Reply(head + b"%x\r\n%s\r\n0\r\n\r\n" % (len(half), half))


def _fine(ending: Ending) -> bool:
    return (ending.status, ending.body, ending.requests) == (200, b"fine", 2)


def _in_time(ending: Ending) -> bool:
    return not ending.held and ending.seconds <= TOTAL + 0.5 and ending.status != 200


BOMB = gzip.compress(b"\0" * 2**24)
DRIP_BODY = Reply(HEAD + b"Content-Length: 99999\r\n\r\n", Then.HOLD, b"x", 0.05)
DRIP_HEAD = Reply(HEAD, Then.HOLD, b"X: 1\r\n", 0.05)
CASES = [
    Case("503, then 200: retried", [reply(503), FINE], _fine),
    Case("connection reset, then 200: retried", [RESET, FINE], _fine),
    Case("connection closed without a response, then 200: retried", [CLOSE, FINE], _fine),
    Case("truncated headers, then 200: retried", [Reply(HEAD + b"Content-Ty"), FINE], _fine),
    Case("truncated body, then 200: retried", [reply(200, b"fi", length=4), FINE], _fine),
    Case("truncated gzip data in complete chunks, then 200: retried", [_cut_gzip(), FINE], _fine),
    Case(
        "503 four times: the caller gets the 503", [reply(503)] * 9, lambda e: (e.status, e.requests) == (503, ATTEMPTS)
    ),
    Case("404: not retried", [reply(404)] * 9, lambda e: (e.status, e.requests) == (404, 1)),
    Case("503 to a POST: not retried", [reply(503)] * 9, lambda e: (e.status, e.requests) == (503, 1), "POST"),
    Case(
        "Retry-After of 2 s: obeyed",
        [reply(503, b"", "Retry-After: 2"), FINE],
        lambda e: _fine(e) and e.gaps[0] >= 1.9,
    ),
    Case(
        f"Retry-After of an hour: ends within {TOTAL:g} s",
        [reply(503, b"", "Retry-After: 3600"), FINE],
        lambda e: not e.held and e.requests == 1,
    ),
    Case(f"body one byte at a time: ends within {TOTAL:g} s", [DRIP_BODY] * 9, _in_time),
    Case("the same: the connection is closed", [DRIP_BODY] * 9, lambda e: not e.held and e.let_go),
    Case(f"headers one line at a time: ends within {TOTAL:g} s", [DRIP_HEAD] * 9, _in_time),
    Case(
        "16 KiB that decompress to 16 MiB: rejected",
        [reply(200, BOMB, "Content-Encoding: gzip")] * 9,
        lambda e: not e.held and e.status is None and e.requests == 1,
    ),
]


def run(contender: Contender, case: Case) -> Ending:
    """Make one call with a new client to a new server."""
    ending, arrivals = Ending(), []  # type: tuple[Ending, list[float]]
    with MisbehavingServer(list(case.script), on_request=lambda: arrivals.append(time.monotonic())) as server:
        call, url = contender.make(), server.url

        def work() -> None:
            began = time.monotonic()
            try:
                ending.status, ending.body = call(case.method, url)
            except Exception as exc:  # noqa: BLE001 - the error is the result
                ending.error = type(exc).__name__
            ending.seconds = time.monotonic() - began

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        thread.join(PATIENCE)
        ending.held = thread.is_alive()
        latest = time.monotonic() + 1
        while server._open and time.monotonic() < latest:  # noqa: SLF001 - a class of this repository
            time.sleep(0.01)
        ending.let_go = not server._open  # noqa: SLF001 - of our own server
        ending.requests = len(server.requests)
        ending.gaps = tuple(after - before for before, after in pairwise(arrivals))
    return ending


def print_cases(contenders: list[tuple[Contender, str]]) -> None:
    print("\nBehavior with a misbehaving server: x = the expected behavior")
    for case in CASES:
        print(f"\n{case.name}")
        for contender, _ in contenders:
            if case.method == "POST" and not contender.posts:
                print(f"  {contender.name:16} -")
                continue
            found = run(contender, case)
            how = "held" if found.held else found.error or str(found.status)
            good = "x" if case.good(found) else " "
            seconds = "" if found.held else f", {found.seconds:.1f} s"
            print(f"  {contender.name:16} {good}  {how}, {found.requests} requests{seconds}")


def print_outage(contenders: list[tuple[Contender, str]]) -> None:
    print(f"\nRequests per call, in {OUTAGE} sequential calls to a server that responds with 503 immediately")
    for contender, _ in contenders:
        with MisbehavingServer(
            routes={"": reply(503, then=Then.KEEP), "bucket/key": reply(503, then=Then.KEEP)}
        ) as server:
            call = contender.make()
            for _ in range(OUTAGE):
                with suppress(Exception):  # an open circuit breaker raises
                    call("GET", server.url)
            print(f"  {contender.name:16} {len(server.requests) / OUTAGE:.2f}", flush=True)


# CPU time of a call. The server is another process, so all CPU time of this process is the client's.


def serve() -> None:
    keep = reply(200, b"x" * 2000, then=Then.KEEP)
    with MisbehavingServer(routes={"": keep, "bucket/key": keep}) as server:
        print(server.url, flush=True)
        sys.stdin.read()


def cpu(call: Call, url: str) -> float:
    began = time.process_time()
    for _ in range(CPU_CALLS):
        call("GET", url)
    return (time.process_time() - began) / CPU_CALLS * 1e6


def print_cost(contenders: list[tuple[Contender, str]]) -> None:
    print(f"\nCPU per call, 2 kB, reused connection: median of {CPU_ROUNDS} alternating rounds of {CPU_CALLS} calls")
    command = [sys.executable, "-m", "benchmarks.comparison", "serve"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:  # noqa: S603 - our own
        url = server.stdout.readline().strip() if server.stdout else ""
        calls = {contender.name: contender.make() for contender, _ in contenders}
        for call in calls.values():
            cpu(call, url)  # warm up
        rounds = [{name: cpu(call, url) for name, call in calls.items()} for _ in range(CPU_ROUNDS)]
        server.communicate()
    for name in calls:
        ratio = statistics.median(each[name] / each["requests"] for each in rounds)
        print(f"  {name:16} {statistics.median(each[name] for each in rounds):6.0f} µs  {ratio:.2f} times requests")


def main(arguments: list[str]) -> int:
    if arguments == ["serve"]:
        serve()
        return 0
    warnings.simplefilter("ignore")
    logging.disable()  # most calls fail and would be logged
    contenders = installed()
    print("Compared:", ", ".join(f"{contender.name} {version}" for contender, version in contenders))
    print(f"Python {sys.version.split()[0]}")
    parts: dict[str, Callable[[list[tuple[Contender, str]]], Any]] = {
        "cases": print_cases,
        "outage": print_outage,
        "cost": print_cost,
    }
    for name in arguments or parts:
        parts[name](contenders)
    return 0 if OURS in [contender for contender, _ in contenders] else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
