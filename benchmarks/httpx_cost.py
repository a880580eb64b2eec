"""Compares the httpx drivers with plain clients: CPU time, and calls to a server that never responds. Loopback only.

    python -m benchmarks.httpx_cost            # about two minutes
    python -m benchmarks.httpx_cost --help

The CPU time is the client's. The client is pinned to one core, the server to another. The clients are measured in
short, alternating rounds. The tables show the median of the rounds' ratios to the plain client.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import logging
import os
import socket
import ssl
import statistics
import time
from contextlib import suppress
from dataclasses import replace
from itertools import product
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.peers import pin, started
from core import http
from core.http import Policy
from core.http.events import AttemptStarted
from tests.core.http.hostile.scenarios import CA

LIBRARIES = ("httpx", "httpx2")
CALLS = 200
"""Number of calls in a round."""
BLACK_HOLE = 200
AT_ONCE = 100
console = Console(width=120, highlight=False)


async def cpu(client: Any, url: str, at_once: int) -> float:
    """Return the CPU seconds of a call."""

    async def work() -> None:
        for _ in range(CALLS // at_once):
            await client.get(url)

    before = time.process_time()
    if at_once == 1:
        await work()
    else:
        await asyncio.gather(*(work() for _ in range(at_once)))
    return (time.process_time() - before) / CALLS


async def print_cost(url: str, rounds: int) -> None:
    table = Table("", "at once", "µs a call, plain", "core.http", "ratio", title="CPU of a call, 2 KB over TLS")
    context = ssl.create_default_context(cafile=CA)
    for name in LIBRARIES:
        library, driver = importlib.import_module(name), importlib.import_module(f"core.http.{name}")
        for at_once in (1, AT_ONCE):
            async with (
                library.AsyncClient(verify=context) as plain,
                driver.AsyncResilientClient(verify=context) as ours,
            ):
                for client in (plain, ours):
                    await cpu(client, url, at_once)
                pairs = [(await cpu(plain, url, at_once), await cpu(ours, url, at_once)) for _ in range(rounds)]
            base, mine = (statistics.median(times) * 1e6 for times in zip(*pairs, strict=True))
            ratio = statistics.median(ours_took / plain_took for plain_took, ours_took in pairs)
            table.add_row(name, str(at_once), f"{base:.0f}", f"{mine:.0f}", f"{ratio:.2f}")
    console.print(table)


async def once(kind: Any, url: str) -> float:
    """Create a client, make one call and close it; return the CPU seconds."""
    before = time.process_time()
    async with kind() as client:
        await client.get(url)
    return time.process_time() - before


async def print_clients(url: str, rounds: int) -> None:
    table = Table("", "ms, plain", "core.http", "ratio", title="CPU time with a new client for each call")
    for name in LIBRARIES:
        kinds = (
            importlib.import_module(name).AsyncClient,
            importlib.import_module(f"core.http.{name}").AsyncResilientClient,
        )
        pairs = [[await once(kind, url) for kind in kinds] for _ in range(rounds + 1)][1:]
        base, mine = (statistics.median(times) * 1000 for times in zip(*pairs, strict=True))
        table.add_row(name, f"{base:.1f}", f"{mine:.1f}", f"{mine / base:.2f}")
    console.print(table)


async def print_black_hole(seconds: float) -> None:
    """Call a server that never responds, with the default policy except for its timeouts."""
    policy = Policy(attempt_timeout=seconds, total_timeout=9 * seconds)
    table = Table(
        "",
        "max_concurrency",
        "attempts a call",
        "s",
        title=f"A server that never responds: {BLACK_HOLE} calls, {AT_ONCE} at once",
    )
    for name, limit in product(LIBRARIES, (None, 10)):
        errors, driver = importlib.import_module(name).HTTPError, importlib.import_module(f"core.http.{name}")
        attempts = 0

        def count(event: object) -> None:
            nonlocal attempts
            attempts += isinstance(event, AttemptStarted)

        with socket.create_server(("127.0.0.1", 0), backlog=2 * BLACK_HOLE) as server, http.observe(count):
            url = f"http://127.0.0.1:{server.getsockname()[1]}/"
            left = list(range(BLACK_HOLE))
            began = time.monotonic()
            async with driver.AsyncResilientClient(replace(policy, max_concurrency=limit)) as client:

                async def work(client: Any, errors: Any, url: str, left: list[int]) -> None:
                    while left:
                        left.pop()
                        with suppress(errors):
                            await client.get(url)

                await asyncio.gather(*(work(client, errors, url, left) for _ in range(AT_ONCE)))
            table.add_row(name, str(limit), f"{attempts / BLACK_HOLE:.2f}", f"{time.monotonic() - began:.1f}")
    console.print(table)


async def measure(rounds: int, seconds: float) -> None:
    cores = sorted(os.sched_getaffinity(0))
    secure, plain = (started(cores[-1], tls=tls) + "/2k" for tls in (True, False))
    pin(cores[0])
    await print_cost(secure, rounds)
    await print_clients(plain, rounds)
    await print_black_hole(seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--seconds", type=float, default=1.0, help="attempt timeout for the server that never responds")
    given = parser.parse_args()
    logging.disable()  # calls fail and would be logged
    asyncio.run(measure(given.rounds, given.seconds))


if __name__ == "__main__":
    main()
