"""Compares core.http with other libraries during an outage of the upstream.

    python -m benchmarks.outage
    python -m benchmarks.outage --scenario black-hole --scale 10

For all contenders, every time constant is divided by the scale: an attempt timeout of 10 s, a total timeout of 60 s,
backoff of 1, 2 and 4 s, and a breaker that stays open for 15 s (at most 5 min). Printed times are multiplied by the
scale again. The upstreams are local, in a separate process, which also counts the attempts.

It prints measurements and checks none of them: the exit status is 0 (130 after Ctrl-C).
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import logging
import multiprocessing
import os
import random
import signal
import statistics
import sys
import threading
import time
import timeit
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any, TypeAlias

import pybreaker
import requests
import tenacity
from requests.adapters import HTTPAdapter
from rich.console import Console
from rich.table import Table
from urllib3.util import Retry

from core.http import CircuitBreaker, Policy, ResilientSession, RetryBudget, observe
from core.http.engine.circuit_breaker import Breaker
from core.http.events import AttemptStarted, BreakerChanged, BreakerState, Event

THREADS = 8
LONGEST = 300.0
"""Maximum seconds of a run of calls."""
DEFAULT = Policy()
BREAKER = DEFAULT.circuit_breaker or CircuitBreaker()
BUDGET = DEFAULT.retry_budget or RetryBudget()
SHORTEST_WINDOW = 1.0
"""Seconds: the shortest window that a policy accepts, and the width of its buckets."""

SLOWER = 10.0
"""Maximum scale for measurements of calls per second, because the CPU time of a call does not scale."""

Send: TypeAlias = Callable[[str], int | None]
"""A function that makes one call and returns its final status; None: the call ended with an error."""

console = Console(width=120, highlight=False)


# The upstreams, in a separate process.


@dataclass(frozen=True)
class Script:
    """The responses of an upstream: `statuses`, repeated. If there are none, it never responds."""

    statuses: tuple[int, ...] = ()
    latency: float = 0.0


SILENT = Script()
HEALTHY = Script((200,))


class _Upstream:
    def __init__(self) -> None:
        self.server: asyncio.Server | None = None
        self.requests = 0
        self.play(SILENT)

    def play(self, script: Script) -> None:
        self.script = script
        self.statuses = itertools.cycle(script.statuses)


class _Protocol(asyncio.Protocol):
    def __init__(self, upstream: _Upstream) -> None:
        self._upstream = upstream
        self._received = b""

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        *heads, self._received = (self._received + data).split(b"\r\n\r\n")
        for _ in heads:
            self._upstream.requests += 1
            script = self._upstream.script
            if script.statuses:
                status = next(self._upstream.statuses)
                answer = f"HTTP/1.1 {status} Scripted\r\nContent-Length: 2\r\n\r\nok".encode()
                asyncio.get_running_loop().call_later(script.latency, self._transport.write, answer)


def _serve(control: Connection) -> None:
    asyncio.run(_Control(control).run())


class _Control:
    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self._upstreams: dict[int, _Upstream] = {}

    async def run(self) -> None:
        while True:
            try:
                name, *args = await asyncio.to_thread(self._pipe.recv)
            except EOFError:
                return
            self._pipe.send(await getattr(self, name)(*args))

    async def listen(self, script: Script) -> int:
        upstream = _Upstream()
        upstream.play(script)
        loop = asyncio.get_running_loop()
        upstream.server = await loop.create_server(lambda: _Protocol(upstream), "127.0.0.1", 0, backlog=512)
        port: int = upstream.server.sockets[0].getsockname()[1]
        self._upstreams[port] = upstream
        return port

    async def play(self, port: int, script: Script) -> None:
        self._upstreams[port].play(script)

    async def requests(self, port: int) -> int:
        return self._upstreams[port].requests


class Servers:
    """Controls the upstreams from this process. Thread-safe."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self._lock = threading.Lock()

    def _ask(self, *command: Any) -> Any:
        with self._lock:
            self._pipe.send(command)
            return self._pipe.recv()

    def listen(self, script: Script) -> int:
        """Open an upstream. Returns its port."""
        port: int = self._ask("listen", script)
        return port

    def play(self, port: int, script: Script) -> None:
        """Use `script` for further requests; earlier requests without a response never get one."""
        self._ask("play", port, script)

    def requests(self, port: int) -> int:
        """Return the number of requests that have arrived."""
        count: int = self._ask("requests", port)
        return count


@contextmanager
def servers() -> Iterator[Servers]:
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(there,), daemon=True)
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # inherited, so that Ctrl-C ends only this process
    try:
        process.start()
    finally:
        signal.signal(signal.SIGINT, before)
    there.close()
    try:
        yield Servers(here)
    finally:
        process.terminate()  # also ends the calls that still wait for a response
        process.join(5)


# The contenders.


@dataclass(frozen=True)
class Contender:
    name: str
    make: Callable[[float], Send]
    """A function that takes the scale and returns a function that makes a call."""


def policy(scale: float) -> Policy:
    """Return the default policy with all times divided by `scale`."""
    return Policy(
        backoff=DEFAULT.backoff / scale,
        backoff_max=DEFAULT.backoff_max / scale,
        attempt_timeout=DEFAULT.attempt_timeout / scale,
        total_timeout=DEFAULT.total_timeout / scale,
        circuit_breaker=CircuitBreaker(
            window=max(BREAKER.window / scale, SHORTEST_WINDOW),
            open_for=BREAKER.open_for / scale,
            open_max=BREAKER.open_max / scale,
        ),
        retry_budget=RetryBudget(window=max(BUDGET.window / scale, SHORTEST_WINDOW)),
    )


def _sender(session: requests.Session, **how: Any) -> Send:
    def send(url: str) -> int | None:
        try:
            return session.get(url, **how).status_code
        except requests.RequestException:
            return None

    return send


def resilient(scale: float) -> Send:
    return _sender(ResilientSession(policy=policy(scale)))


def resilient_by_clock(scale: float) -> Send:
    """Return the same as `resilient`, but with a faster clock, so that the windows are scaled too.

    It has a custom `wait`, which cannot be woken.
    """
    session = ResilientSession(
        clock=lambda: time.monotonic() * scale,
        wait=lambda seconds: time.sleep(seconds / scale),
    )
    return _sender(session, timeout=DEFAULT.attempt_timeout / scale)


def plain(scale: float) -> Send:
    return _sender(requests.Session(), timeout=DEFAULT.attempt_timeout / scale)


def with_retry(scale: float) -> Send:
    retry = Retry(
        DEFAULT.retries,
        backoff_factor=DEFAULT.backoff / scale,
        backoff_max=DEFAULT.backoff_max / scale,
        status_forcelist=DEFAULT.retry_statuses,
        raise_on_status=False,
    )
    session = requests.Session()
    session.mount("http://", HTTPAdapter(max_retries=retry))
    return _sender(session, timeout=DEFAULT.attempt_timeout / scale)


class _Transient(requests.RequestException):
    """A response with a status that is retried."""


def _attempt(scale: float) -> Callable[[str], int]:
    session = requests.Session()

    def attempt(url: str) -> int:
        response = session.get(url, timeout=DEFAULT.attempt_timeout / scale)
        if response.status_code in DEFAULT.retry_statuses:
            raise _Transient(response=response)
        return response.status_code

    return attempt


def _retrying(attempt: Callable[[str], int], scale: float) -> Send:
    retrying = tenacity.retry(
        retry=tenacity.retry_if_exception_type((requests.ConnectionError, requests.Timeout, _Transient)),
        stop=tenacity.stop_after_attempt(DEFAULT.retries + 1)
        | tenacity.stop_after_delay(DEFAULT.total_timeout / scale),
        wait=tenacity.wait_exponential(multiplier=DEFAULT.backoff / scale, max=DEFAULT.backoff_max / scale),
        reraise=True,
    )(attempt)

    def send(url: str) -> int | None:
        try:
            return retrying(url)
        except _Transient as exc:
            return None if exc.response is None else exc.response.status_code
        except (requests.RequestException, pybreaker.CircuitBreakerError):
            return None

    return send


def with_tenacity(scale: float) -> Send:
    return _retrying(_attempt(scale), scale)


class _Openings(pybreaker.CircuitBreakerListener):
    def __init__(self) -> None:
        self.count = 0

    def state_change(self, _breaker: Any, _before: Any, after: Any) -> None:
        self.count += after.name == "open"


@dataclass
class WithPybreaker:
    """A call with tenacity around pybreaker, so that the breaker counts retries, and an open breaker ends the call."""

    openings: _Openings = field(default_factory=_Openings)

    def make(self, scale: float) -> Send:
        breaker = pybreaker.CircuitBreaker(
            fail_max=BREAKER.failures_in_a_row,
            reset_timeout=BREAKER.open_for / scale,
            listeners=[self.openings],
        )
        attempt = _attempt(scale)
        return _retrying(lambda url: breaker.call(attempt, url), scale)


OURS = Contender("core.http", resilient)
OURS_BY_CLOCK = Contender("core.http", resilient_by_clock)
PLAIN = Contender("plain requests", plain)
RETRY = Contender("urllib3 Retry", with_retry)
TENACITY = Contender("tenacity", with_tenacity)
PYBREAKER = "pybreaker + tenacity"


# Driving them.


@dataclass
class Ride:
    """The result of a run of calls."""

    seconds: float
    answers: list[int | None]

    @property
    def share_answered(self) -> float:
        return sum(status is not None and status < 500 for status in self.answers) / max(len(self.answers), 1)


class DaemonThreads:
    """Daemon threads that all run the same function. Joining them can be interrupted."""

    def __init__(self, work: Callable[[], object], size: int = THREADS) -> None:
        self._threads = [threading.Thread(target=work, daemon=True) for _ in range(size)]
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        for thread in self._threads:
            thread.join()


def drive(send: Send, port: int, calls: int, *, per_second: float | None = None, threads: int = THREADS) -> Ride:
    """Make `calls` calls from several threads, without pauses or at an even rate."""
    url = f"http://127.0.0.1:{port}/"
    numbers = itertools.count()
    answers: list[int | None] = []
    start = time.perf_counter()

    def work() -> None:
        while (number := next(numbers)) < calls and time.perf_counter() < start + LONGEST:
            if per_second is not None:
                time.sleep(max(start + number / per_second - time.perf_counter(), 0))
            answers.append(send(url))

    DaemonThreads(work, threads).join()
    return Ride(time.perf_counter() - start, answers)


def first_success(send: Send, port: int, pause: float, threads: int = THREADS) -> float | None:
    """Repeat calls until one succeeds. Returns the time of the success; None if it took too long."""
    url = f"http://127.0.0.1:{port}/"
    limit = time.perf_counter() + LONGEST
    succeeded: list[float] = []

    def work() -> None:
        while not succeeded and time.perf_counter() < limit:
            if send(url) == 200:
                succeeded.append(time.perf_counter())
            else:
                time.sleep(pause)

    DaemonThreads(work, threads).join()
    return min(succeeded, default=None)


def at_once(jobs: Sequence[Callable[[], object]]) -> None:
    """Run `jobs`, which should mostly wait, concurrently."""
    running = [DaemonThreads(job, 1) for job in jobs]
    for each in running:
        each.join()


@dataclass
class Witness:
    """An observer of the process's registry, which receives the events of all sessions' upstreams."""

    cool_downs: dict[str, list[float]] = field(default_factory=dict)
    """For each host and opening of its breaker: the seconds from the start of the failed probe to the next probe."""
    probed: dict[str, float] = field(default_factory=dict)
    """For each host: the time of the last attempt after its breaker had opened."""

    def __call__(self, event: Event) -> None:
        host = event.target.host if isinstance(event, BreakerChanged | AttemptStarted) else ""
        if isinstance(event, BreakerChanged) and event.state is BreakerState.OPEN:
            now = time.perf_counter()
            self.cool_downs.setdefault(host, []).append(event.seconds + now - self.probed.get(host, now))
        elif isinstance(event, AttemptStarted) and host in self.cool_downs:
            self.probed[host] = time.perf_counter()

    def of(self, port: int) -> list[float]:
        return self.cool_downs.get(f"127.0.0.1:{port}", [])

    def has_probed(self, port: int) -> bool:
        return f"127.0.0.1:{port}" in self.probed


@contextmanager
def witness() -> Iterator[Witness]:
    seen = Witness()
    with observe(seen):
        yield seen


def table(title: str, *columns: str, note: str = "") -> Table:
    made = Table(title=title, title_justify="left", title_style="bold", caption=note or None, caption_justify="left")
    for number, column in enumerate(columns):
        made.add_column(column, justify="right" if number else "left")
    return made


def show(made: Table) -> None:
    console.print(made)
    console.print()


# The scenarios.


@dataclass
class BlackHole:
    """The result of one contender, in unscaled seconds."""

    attempts: int = 0
    ride: Ride = field(default_factory=lambda: Ride(0, []))
    recovery: float | None = None
    cool_down: float = 0.0
    """The breaker's cool-down at the first success; 0: no breaker."""


def black_hole(upstreams: Servers, scale: float) -> None:
    """Make 200 calls to an upstream that accepts connections but never responds, then let it recover."""
    calls = 200
    contenders = [OURS, RETRY, TENACITY, Contender(PYBREAKER, WithPybreaker().make)]
    found = {contender.name: BlackHole() for contender in contenders}

    def suffer(contender: Contender) -> None:
        port = upstreams.listen(SILENT)
        send = contender.make(scale)
        drive(send, upstreams.listen(HEALTHY), THREADS)  # warm up
        result = found[contender.name]
        result.ride = drive(send, port, calls)
        result.attempts = upstreams.requests(port)
        healed = time.perf_counter()
        upstreams.play(port, HEALTHY)
        success = first_success(send, port, pause=1 / scale)
        result.recovery = None if success is None else success - healed

    suffer(OURS)
    at_once([lambda contender=contender: suffer(contender) for contender in contenders[1:]])  # type: ignore[misc]
    reference = found[RETRY.name].ride.seconds
    made = table(
        f"1  Black hole: {calls} calls, {THREADS} threads, scale {scale:g}",
        *("", "attempts per call", "total time", "of Retry's", "first success after recovery"),
        note="Target of core.http: at most 0.1 attempts per call, at most 1/50 of Retry's time, first success at most "
        f"one cool-down ({BREAKER.open_for:g} s) after the recovery.{_windows(scale)}",
    )
    for name, result in found.items():
        seconds = result.ride.seconds
        made.add_row(
            name,
            f"{result.attempts / calls:.3f}",
            f"{seconds * scale:.1f} s{'' if len(result.ride.answers) == calls else ' (cut off)'}",
            f"1/{reference / seconds:.1f}",
            _seconds(result.recovery, scale),
        )
    show(made)
    _one_thread(upstreams, scale)
    _healing(upstreams, scale)


def _one_thread(upstreams: Servers, scale: float) -> None:
    """Compare a job of one thread, whose attempts each take the full 10 s, with the same job with plain requests."""
    plainly = Contender("requests, timeout=10", plain)
    runs = [(contender, calls) for calls in (30, 300) for contender in (OURS, plainly)]
    found: dict[tuple[str, int], BlackHole] = {}

    def suffer(contender: Contender, calls: int, seen: Witness) -> None:
        port = upstreams.listen(SILENT)
        send = contender.make(scale)
        result = found[contender.name, calls] = BlackHole()
        result.ride = drive(send, port, calls, threads=1)
        result.attempts = upstreams.requests(port)
        healed = time.perf_counter()
        upstreams.play(port, HEALTHY)
        success = first_success(send, port, pause=1 / scale, threads=1)
        result.recovery = None if success is None else success - healed
        result.cool_down = _last(seen.of(port), scale)

    with witness() as seen:
        at_once([lambda contender=contender, calls=calls: suffer(contender, calls, seen) for contender, calls in runs])  # type: ignore[misc]
    made = table(
        f"   One thread, scale {scale:g}",
        *(
            "",
            "calls",
            "attempts",
            "total time",
            "cool-down at recovery",
            "first success after recovery",
            "in cool-downs",
        ),
        note="Target of core.http: no longer than plain requests; at most one cool-down after the recovery. The thread "
        "calls once a second, which adds up to one second.",
    )
    for (name, calls), result in sorted(found.items(), key=lambda item: item[0][1]):
        seconds = result.ride.seconds * scale
        cut = "" if len(result.ride.answers) == calls else " (cut off)"
        has_breaker = result.cool_down > 0
        cool_down = f"{result.cool_down:.0f} s" if has_breaker else ""
        ratio = _ratio(result.recovery, result.cool_down, scale) if has_breaker else ""
        recovery = _seconds(result.recovery, scale)
        made.add_row(name, str(calls), str(result.attempts), f"{seconds:.0f} s{cut}", cool_down, recovery, ratio)
    show(made)


def _windows(scale: float) -> str:
    kept = [
        f"the {name}'s window is {SHORTEST_WINDOW:g} s (equivalent to {SHORTEST_WINDOW * scale:g} s, not {window:g} s)"
        for name, window in (("breaker", BREAKER.window), ("budget", BUDGET.window))
        if window / scale < SHORTEST_WINDOW
    ]
    buckets = f" Windows consist of buckets of {SHORTEST_WINDOW:g} s, which do not scale"
    return f"{buckets}; at this scale {' and '.join(kept)}." if kept else f"{buckets}."


def _healing(upstreams: Servers, scale: float) -> None:
    """Measure the time until calls succeed again, by the state of the breaker when the upstream recovers."""
    moments: dict[str, tuple[Callable[[Witness, int], bool], float]] = {
        "just opened": (lambda seen, port: len(seen.of(port)) == 1, 0),
        "open, half of the cool-down over": (lambda seen, port: len(seen.of(port)) == 1, BREAKER.open_for / 2),
        "half-open, first probe hangs": (lambda seen, port: seen.has_probed(port), 2),
        "just opened again": (lambda seen, port: len(seen.of(port)) == 2, 0),
    }
    rows: dict[str, tuple[float | None, float]] = {}

    def heal(name: str, seen: Witness) -> None:
        is_time, delay = moments[name]
        port = upstreams.listen(SILENT)
        healed: list[float] = []

        def cure() -> None:
            limit = time.perf_counter() + LONGEST
            while not is_time(seen, port) and time.perf_counter() < limit:
                time.sleep(0.001)
            time.sleep(delay / scale)
            healed.append(time.perf_counter())
            upstreams.play(port, HEALTHY)

        curing = DaemonThreads(cure, 1)
        success = first_success(OURS.make(scale), port, pause=1 / scale)
        curing.join()
        rows[name] = (None if success is None else success - healed[0], _last(seen.of(port), scale))

    with witness() as seen:
        at_once([lambda name=name: heal(name, seen) for name in moments])  # type: ignore[misc]
    made = table(
        "   core.http, by the state of the breaker when the upstream recovers",
        *("breaker", "cool-down before success", "first success after recovery", "in cool-downs"),
        note=f"Target: at most one cool-down. {THREADS} threads call once a second, which adds up to one second.",
    )
    for name in moments:
        seconds, cool_down = rows[name]
        made.add_row(name, f"{cool_down:.0f} s", _seconds(seconds, scale), _ratio(seconds, cool_down, scale))
    show(made)


def _last(cool_downs: list[float], scale: float) -> float:
    return cool_downs[-1] * scale if cool_downs else 0.0


def _ratio(seconds: float | None, cool_down: float, scale: float) -> str:
    return "never" if seconds is None or not cool_down else f"{seconds * scale / cool_down:.2f}"


def brown_out_script() -> Script:
    """Return a script in which half of the statuses are 503, shuffled in blocks of twenty, never ten in a row."""
    chance = random.Random(4)  # noqa: S311 - the same sequence each time
    statuses = [status for _ in range(50) for status in chance.sample([200, 503] * 10, 20)]
    longest = max(len(list(run)) for status, run in itertools.groupby(statuses * 2) if status == 503)
    if longest >= BREAKER.failures_in_a_row:
        raise RuntimeError(f"the sequence has {longest} failures in a row: choose another seed")
    return Script(tuple(statuses), latency=0.001)


def brown_out(upstreams: Servers, scale: float) -> None:
    """Call an upstream that responds with 503 to half of the attempts, and measure the budget's effect by call rate."""
    calls, threads = 1500, 4 * THREADS
    scale = min(scale, SLOWER)
    listener = WithPybreaker()
    contenders = [OURS_BY_CLOCK, RETRY, TENACITY, Contender(PYBREAKER, listener.make)]
    rows: dict[str, tuple[str, ...]] = {}

    def suffer(contender: Contender, seen: Witness) -> None:
        port = upstreams.listen(brown_out_script())
        ride = drive(contender.make(scale), port, calls, threads=threads)
        openings = {OURS_BY_CLOCK.name: str(len(seen.of(port))), PYBREAKER: str(listener.openings.count)}
        rows[contender.name] = (
            f"{upstreams.requests(port) / len(ride.answers):.3f}",
            openings.get(contender.name, "-"),
            f"{ride.share_answered:.1%}",
            f"{ride.seconds * scale:.0f} s",
            f"{len(ride.answers) / ride.seconds / scale:.1f}",
        )

    with witness() as seen:
        suffer(OURS_BY_CLOCK, seen)
        at_once([lambda contender=contender: suffer(contender, seen) for contender in contenders[1:]])  # type: ignore[misc]
    made = table(
        f"2  Brown-out: half of the responses are 503, {calls} calls, {threads} threads, scale {scale:g}",
        *("", "attempts per call", "breaker opened", "successful calls", "total time", "calls per second"),
        note="Target of core.http: at most 1.3 attempts per call, the breaker stays closed. Half of the attempts fail: "
        "with 1.3 per call, at most 65 % of the calls succeed. core.http's clock is faster here, so its windows scale.",
    )
    for contender in contenders:
        made.add_row(contender.name, *rows[contender.name])
    show(made)
    _by_rate(upstreams, scale)


def _by_rate(upstreams: Servers, scale: float) -> None:
    rates = (1, 2, 5, 10, 25)
    seconds = 40
    rows: dict[int, tuple[str, ...]] = {}

    def suffer(rate: int, seen: Witness) -> None:
        port = upstreams.listen(brown_out_script())
        ride = drive(OURS_BY_CLOCK.make(scale), port, rate * seconds, per_second=rate * scale, threads=32)
        rows[rate] = (
            str(len(ride.answers)),
            f"{upstreams.requests(port) / len(ride.answers):.3f}",
            f"{_allowed(rate * seconds, seconds):.3f}",
            str(len(seen.of(port))),
            f"{ride.share_answered:.1%}",
        )

    with witness() as seen:
        at_once([lambda rate=rate: suffer(rate, seen) for rate in rates])  # type: ignore[misc]
    made = table(
        f"   core.http, by the rate of calls, {seconds} s each, scale {scale:g}",
        *("calls per second", "calls", "attempts per call", "budget allows", "breaker opened", "successful calls"),
        note=f"The budget allows {BUDGET.ratio:.0%} of the attempts to be retries, and {BUDGET.minimum} more in "
        f"{BUDGET.window:g} s: 1.25 attempts per call and 12.5 in 10 s. So the target of 1.3 applies from 25 calls per "
        "second on; below 2 per second, the budget allows nearly all retries.",
    )
    for rate in rates:
        made.add_row(str(rate), *rows[rate])
    show(made)


def _allowed(calls: int, seconds: float) -> float:
    """Return the attempts per call that the default budget allows if half of the attempts fail."""
    wanted = sum(0.5**number for number in range(DEFAULT.retries + 1))
    extra = BUDGET.minimum * seconds / BUDGET.window
    return min(wanted, (calls + extra) / (1 - BUDGET.ratio) / calls)


def not_found(upstreams: Servers, scale: float) -> None:
    """Make 10,000 calls to an upstream that responds with 99 % 404 and 1 % 500."""
    calls = 10_000
    chance = random.Random(4)  # noqa: S311 - the same sequence each time
    script = Script(tuple(status for _ in range(10) for status in chance.sample([404] * 99 + [500], 100)))
    listener = WithPybreaker()
    made = table(
        f"3  99 % 404, 1 % 500: {calls} calls, {THREADS} threads, scale {scale:g}",
        *("", "calls made", "attempts per call", "breaker opened", "calls per second, as measured"),
        note="Target of core.http: the breaker never opens. urllib3 Retry and tenacity have no breaker.",
    )
    with witness() as seen:
        for contender in (OURS, Contender(PYBREAKER, listener.make)):
            port = upstreams.listen(script)
            ride = drive(contender.make(scale), port, calls)
            openings = len(seen.of(port)) if contender is OURS else listener.openings.count
            made.add_row(
                contender.name,
                str(len(ride.answers)),
                f"{upstreams.requests(port) / len(ride.answers):.3f}",
                str(openings),
                f"{len(ride.answers) / ride.seconds:.0f}",
            )
    show(made)


def healthy(upstreams: Servers, _scale: float) -> None:
    """Call an upstream that responds after 10 ms, in rounds that alternate between the contenders."""
    rounds, calls = 41, 160
    contenders = [PLAIN, OURS, RETRY, TENACITY, Contender(PYBREAKER, WithPybreaker().make)]
    port = upstreams.listen(Script((200,), latency=0.01))
    sends = {contender.name: contender.make(1) for contender in contenders}
    measured: dict[str, list[float]] = {name: [] for name in sends}
    for send in sends.values():
        drive(send, port, 2 * THREADS)  # open the connections
    for number in range(rounds):
        order = [
            name for name in sends if name in {PLAIN.name, OURS.name} or number % 3 == 0
        ]  # the others in every third round
        if number % 2:
            order.reverse()
        for name in order:
            count = calls // THREADS if name == PYBREAKER else calls  # pybreaker allows one thread at a time
            measured[name].append(count / drive(sends[name], port, count).seconds)
    made = table(
        f"4  Healthy upstream: 10 ms latency, {THREADS} threads, {rounds} alternating rounds of {calls} calls",
        *("", "calls per second", "of plain requests", "lowest to highest round"),
        note="Medians; the last three run in every third round. Target of core.http: at least 0.97 of plain requests.",
    )
    for name, speeds in measured.items():
        bases = measured[PLAIN.name] if len(speeds) == rounds else measured[PLAIN.name][::3]
        ratios = [speed / base for speed, base in zip(speeds, bases, strict=True)]
        made.add_row(
            name,
            f"{statistics.median(speeds):.0f}",
            f"{statistics.median(ratios):.3f}",
            f"{min(ratios):.3f} to {max(ratios):.3f}",
        )
    show(made)


def closed_check(_upstreams: Servers, _scale: float) -> None:
    """Measure the time that a closed breaker takes to allow an attempt."""
    ours = Breaker(CircuitBreaker())
    peer = pybreaker.CircuitBreaker()
    made = table(
        "5  Check of a closed breaker, no scale",
        *("", "median", "lowest", "highest"),
        note="Target of core.http: under 1 µs. pybreaker's time includes a call of a function that does nothing.",
    )
    checks: dict[str, Callable[[], object]] = {
        "core.http: Breaker.acquire": lambda: ours.acquire(1.0, 10.0),
        "pybreaker: CircuitBreaker.call": lambda: peer.call(int),
        "an empty function, for comparison": lambda: None,
    }
    for name, check in checks.items():
        number = 20_000
        times = [1e6 * total / number for total in timeit.repeat(check, number=number, repeat=15)]
        made.add_row(name, f"{statistics.median(times):.3f} µs", f"{min(times):.3f} µs", f"{max(times):.3f} µs")
    show(made)


def _seconds(measured: float | None, scale: float) -> str:
    return "never" if measured is None else f"{measured * scale:.1f} s"


SCENARIOS: dict[str, Callable[[Servers, float], None]] = {
    "black-hole": black_hole,
    "brown-out": brown_out,
    "not-found": not_found,
    "healthy": healthy,
    "closed-check": closed_check,
}


def _scale(text: str) -> float:
    value = float(text)
    if not 1 <= value <= 100:
        raise argparse.ArgumentTypeError("must be from 1 to 100")
    return value


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.outage",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--scenario", action="append", choices=SCENARIOS, help="can be repeated; default: all scenarios"
    )
    parser.add_argument(
        "--scale", type=_scale, default=25.0, metavar="S", help="divisor of all times (1 to 100; default: %(default)g)"
    )
    args = parser.parse_args()
    os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1"
    logging.getLogger().addHandler(logging.NullHandler())  # otherwise each failing call would write to stderr
    try:
        with servers() as upstreams:
            for name in args.scenario or SCENARIOS:
                SCENARIOS[name](upstreams, args.scale)
    except KeyboardInterrupt:
        console.print("Stopped.")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
