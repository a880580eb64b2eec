"""Measures the effect of sharing upstream state between processes, and the delays of calls when Redis fails.

    python -m benchmarks.shared

Uses real processes, a real Redis server (`redis-server` must be installed) and real time, loopback only. Takes about
two minutes. It prints measurements and checks none of them.
"""

from __future__ import annotations

import random
import statistics
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack

from rich.console import Console
from rich.table import Table

from tests.core.http.misbehave import MisbehavingServer, Reply, reply
from tests.servers.fleet import Called, Member
from tests.servers.redis import RedisServer, running_redis

RATES = (1, 5, 20, 100, 0)
"""Calls per second of the second process; 0: sequential calls without a pause."""
RUNS = 8
CALLS = 150
FINE = {"first": reply(200), "second": reply(200)}
DOWN = {"first": reply(503), "second": reply(503)}
REFUSED = "CircuitOpen"

console = Console(width=120, highlight=False)


class Witness(list[bytes]):
    """The requests that a server has received, with their times."""

    def __init__(self) -> None:
        super().__init__()
        self.times: list[tuple[float, bytes]] = []

    def append(self, request: bytes) -> None:
        self.times.append((time.monotonic(), request))
        super().append(request)

    def to(self, path: str, since: float) -> int:
        return sum(when > since and request.startswith(f"GET {path} ".encode()) for when, request in self.times)


def attempts_of_the_second(rate: int) -> tuple[int, float]:
    """Measure a second process after the breaker of the first process has opened.

    Returns the number of its attempts, and the seconds until the last attempt.
    """
    seen, refused_at = Witness(), [0.0]
    with running_redis() as redis, MisbehavingServer(routes=FINE, requests=seen) as upstream, ExitStack() as stack:
        first, second = (stack.enter_context(Member(redis.url, upstream.netloc, retries=0)) for _ in range(2))
        first.get("/first")
        second.get("/second")

        def call_on() -> None:
            while second.get("/second").outcome != REFUSED:
                time.sleep(1 / rate if rate else 0)
            refused_at[0] = time.monotonic()

        caller = threading.Thread(target=call_on)
        caller.start()
        time.sleep(random.random())  # noqa: S311 - so that the phase between the two processes' exchanges varies
        upstream.routes = {**DOWN, "second": reply(200)}  # otherwise the breaker of the second process might open first
        while first.state() != "open":
            first.get("/first")
        found = time.monotonic()
        upstream.routes = DOWN
        caller.join()
        return seen.to("/second", found), refused_at[0] - found


def how_soon() -> None:
    made = Table(
        "calls per second of the second process",
        "attempts after the first's breaker opened",
        "seconds until its calls are rejected",
        title=f"1  Two processes, one Redis, {RUNS} runs each: median (worst)",
        caption="Target: at most 2 attempts. Retries are off: each call is an attempt.",
    )
    for rate in RATES:
        runs = [attempts_of_the_second(rate) for _ in range(RUNS)]
        attempts, seconds = zip(*runs, strict=True)
        made.add_row(
            str(rate or "sequential"),
            f"{statistics.median(attempts):g} ({max(attempts)})",
            f"{statistics.median(seconds):.3f} ({max(seconds):.3f})",
        )
    console.print(made)


def calls_through(trouble: Callable[[RedisServer], object] | None, routes: dict[str, Reply]) -> list[Called]:
    """Make calls, one fifth of them before `trouble` is called."""
    breaker = {"failures_in_a_row": 2, "open_for": 0.2, "open_max": 0.2}
    with running_redis() as redis, MisbehavingServer(routes=FINE) as upstream:
        url = redis.url if trouble else None
        with Member(url, upstream.netloc, retries=0, circuit_breaker=breaker) as member:
            member.get("/first")
            upstream.routes = routes
            called = []
            for number in range(CALLS):
                if trouble and number == CALLS // 5:
                    trouble(redis)
                called.append(member.get("/first"))
                time.sleep(0.03)
            return called


def delays() -> None:
    made = Table(
        *("Redis", "upstream", "calls", "sent", "p50", "p95", "longest"),
        title=f"2  Seconds per call, {CALLS} calls, 30 ms apart",
        caption="Down: responds with 503; the breaker opens after 2 failures, for 0.2 s, so there are many probes. "
        "Target: no call takes 0.2 s longer than without Redis.",
    )
    troubles: dict[str, Callable[[RedisServer], object] | None] = {
        "none": None,
        "up": lambda _: None,
        "stopped during the run": RedisServer.suspend,
        "killed during the run": RedisServer.kill,
    }
    for name, trouble in troubles.items():
        for state, routes in (("up", FINE), ("down", DOWN)):
            called = calls_through(trouble, routes)
            seconds = sorted(call.seconds for call in called)
            made.add_row(
                *(name, state, str(len(called)), str(sum(call.outcome != REFUSED for call in called))),
                *(f"{seconds[min(int(len(seconds) * part), len(seconds) - 1)]:.4f}" for part in (0.5, 0.95, 1)),
            )
    console.print(made)


def main() -> int:
    how_soon()
    delays()
    return 0


if __name__ == "__main__":
    sys.exit(main())
