"""Measures by how much attempts of the httpx drivers exceed their deadline, and how long they block the event loop.

    python -m benchmarks.httpx_deadline                # httpx and httpx2, idle and busy, about three minutes
    python -m benchmarks.httpx_deadline --help

The servers run in a separate process, and so does each measurement. Memory is the growth of its peak memory. Lag is
the longest delay of a task that wakes up every 5 ms.
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import importlib
import json
import logging
import multiprocessing
import resource
import statistics
import subprocess
import sys
import threading
import time
import zlib
from contextlib import ExitStack
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.deadline import ANSWERS, CHUNKED, HANDSHAKES, HEAD, busy_thread, dead_addresses, drip, hanging_names
from core.http import Policy
from tests.core.http.hostile.scenarios import CA, certificate
from tests.core.http.misbehave import MisbehavingServer, Reply, Then

TICK = 0.005
"""Seconds between two wake-ups of the task that measures the event loop's lag."""
PAGE = b"x" * 65536


def flood(data: bytes, again: bytes) -> Reply:
    return Reply(data, Then.CLOSE, again)


def packed(coding: str, data: bytes) -> bytes:
    return HEAD + f"Content-Encoding: {coding}\r\n\r\n".encode() + data


MORE_ANSWERS = {
    "floods chunks": flood(CHUNKED, b"10000\r\n" + PAGE + b"\r\n"),
    "floods tiny chunks": flood(CHUNKED, b"1\r\nx\r\n" * 10_000),
    "floods chunk extensions": flood(CHUNKED, b"1;" + b"e" * 500 + b"\r\nx\r\n"),
    "floods interim responses": flood(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 500),
    "floods a gzip bomb": flood(packed("gzip", b""), gzip.compress(bytes(2**24))),
    "floods gzip members": flood(packed("gzip", b""), gzip.compress(b"") * 1_000),
    "floods a deflate bomb": flood(packed("deflate", b""), zlib.compress(bytes(2**24))),
    "drips a gzip body": drip(packed("gzip", gzip.compress(b"x" * 99)[:10]), b"\0"),
    "drips a 404": drip(b"HTTP/1.1 404 Not Found\r\nContent-Length: 9999\r\n\r\n", b"x"),
    "drips a reason": drip(b"HTTP/1.1 200 ", b"A"),
    "drips one header": drip(HEAD + b"X: ", b"1"),
    "drips a folded header": drip(HEAD + b"X: 1\r\n", b" 2\r\n"),
    "drips a large chunk": drip(CHUNKED + b"fffff\r\n", b"x"),
    "drips chunk extensions": drip(CHUNKED + b"1;", b"e"),
    "hangs in the head": Reply(HEAD + b"X: 1\r\n", Then.HOLD),
    "hangs in the body": Reply(HEAD + b"Content-Length: 999\r\n\r\nhalf", Then.HOLD),
    "hangs in a chunk": Reply(CHUNKED + b"5\r\nab", Then.HOLD),
}
EVERY_ANSWER = {**ANSWERS, **MORE_ANSWERS}
LOCAL = ("DNS hangs", "addresses dead")
UPLOAD = "upload not read"


def serve(told: Any, times: int) -> None:
    """Run one server for each scenario, and send their URLs through the pipe `told`."""
    urls, tls = {}, certificate()
    with ExitStack() as stack:
        for context, mark in ((None, ""), (tls, " (TLS)")):
            for name, answer in EVERY_ANSWER.items():
                urls[name + mark] = stack.enter_context(MisbehavingServer([answer] * times, context=context)).url
        for name, greeting in HANDSHAKES.items():
            server = MisbehavingServer(greetings=[greeting] * times, context=tls)
            urls[name] = stack.enter_context(server).url
        urls[UPLOAD] = stack.enter_context(MisbehavingServer(welcome=Reply(b"", Then.IGNORE))).url
        told.send(urls)
        threading.Event().wait()


def peak() -> float:
    """Return the peak memory of this process, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


async def watch(lags: list[float]) -> None:
    while True:
        expected = time.monotonic() + TICK
        await asyncio.sleep(TICK)
        lags.append(time.monotonic() - expected)


async def attempt(client: Any, url: str, upload: bytes, errors: Any) -> float:
    """Return the seconds of an attempt that fails at its deadline or earlier."""
    began = time.monotonic()
    try:
        await client.post(url, content=upload) if upload else await client.get(url)
    except errors.HTTPError:
        return time.monotonic() - began
    raise SystemExit(f"{url}: expected an error, got a response")


async def run(library: str, urls: dict[str, str], seconds: float, times: int) -> dict[str, Any]:
    driver, errors = importlib.import_module(f"core.http.{library}"), importlib.import_module(library)
    policy = Policy(retries=0, attempt_timeout=seconds, circuit_breaker=None)
    upload = bytes(2**25)
    over: dict[str, list[float]] = {}
    lags: list[float] = []
    worst_lags: dict[str, float] = {}
    async with driver.AsyncResilientClient(policy, verify=CA, trust_env=False) as client:
        await attempt(client, urls["hangs"], b"", errors)  # warm up: do not measure the setup
        began_with = peak()
        watching = asyncio.create_task(watch(lags))
        for name in (*urls, *LOCAL):
            with ExitStack() as stack:
                url = urls.get(name, "")
                if not url:
                    faked = hanging_names() if name == LOCAL[0] else dead_addresses(5)
                    url = f"http://{stack.enter_context(faked)}/"
                await asyncio.sleep(2 * TICK)  # the setup of the scenario may have blocked the loop
                lags.clear()
                taken = [await attempt(client, url, upload if name == UPLOAD else b"", errors) for _ in range(times)]
                over[name] = [(each - seconds) * 1000 for each in taken]
            worst_lags[name] = max(lags) * 1000
        watching.cancel()
    return {"over": over, "lags": worst_lags, "memory": peak() - began_with}


def measure(library: str, urls: str, seconds: str, times: str, busy: str) -> None:
    """Make and measure the calls. Runs in a separate process."""
    logging.disable()  # all calls fail and would be logged
    with ExitStack() as stack:
        if busy == "True":
            stack.enter_context(busy_thread())
        found = asyncio.run(run(library, json.loads(urls), float(seconds), int(times)))
    print(json.dumps(found))  # noqa: T201 - read by the parent


def worst(values: dict[str, float]) -> str:
    name = max(values, key=values.__getitem__)
    return f"{values[name]:.0f} ({name})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=0.2, help="deadline of an attempt (default: %(default)s)")
    parser.add_argument("--times", type=int, default=3, help="attempts for each scenario (default: %(default)s)")
    given = parser.parse_args()
    here, there = multiprocessing.Pipe()
    server = multiprocessing.get_context("fork").Process(target=serve, args=(there, (given.times + 1) * 4), daemon=True)
    server.start()
    urls = here.recv()
    table = Table("", "p50", "p95", "worst, ms", "lag at worst, ms", "MiB")
    table.title = (
        f"Overshoot of {len(urls) + len(LOCAL)} misbehaviors, {given.times} attempts of {given.seconds} s each"
    )
    for library in ("httpx", "httpx2"):
        for busy in (False, True):
            arguments = (library, json.dumps(urls), str(given.seconds), str(given.times), str(busy))
            command = [sys.executable, "-c", f"from benchmarks import httpx_deadline as m; m.measure{arguments!r}"]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)  # noqa: S603 - a function of this module
            found = json.loads(done.stdout)
            every = [each for taken in found["over"].values() for each in taken]
            cuts = statistics.quantiles(every, n=20, method="inclusive")
            table.add_row(
                f"{library}, {'with a busy thread' if busy else 'idle'}",
                f"{statistics.median(every):.1f}",
                f"{cuts[18]:.1f}",
                worst({name: max(taken) for name, taken in found["over"].items()}),
                worst(found["lags"]),
                f"{found['memory']:.0f}",
            )
    server.terminate()
    Console(width=140, highlight=False).print(table)


if __name__ == "__main__":
    main()
