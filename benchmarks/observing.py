"""Measures the CPU time of events and metrics in a call, and of a scrape. Loopback only, about half a minute.

    python -m benchmarks.observing

Measures the same calls with and without observers (metrics, log and news), in alternating rounds. The calls run only
the engine and send nothing. Each kind of metric storage is measured in a separate process, because prometheus_client
chooses the kind before the first metric is created.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import fields
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from rich.console import Console
from rich.table import Table

from core.http import Policy
from core.http.engine.call import Call
from core.http.engine.upstream import Upstream
from core.http.events import Target
from core.http.multiprocess import Collector, ProcessRole, take_part
from core.http.origin import origin_of
from core.http.outcome import Outcome, Result
from core.http.process import ProcessRegistry
from core.http.registry import Config, Registry

CALLS = 2_000
ROUNDS = 40
"""The fastest round is shown, as in timeit, because other programs slow down the other rounds."""
PROCESSES = 16
SCRAPES = 15
NAMES = ("pypi", "pypistats", "github", "gitlab", "bitbucket", "codeberg")
"""The upstreams of the site."""

console = Console(width=120, highlight=False)


def registry(*, observed: bool) -> Registry:
    config = Config(upstreams=dict.fromkeys(NAMES, Policy()), hosts={f"{name}.test": name for name in NAMES})
    return ProcessRegistry(config, observers=None if observed else ())


def upstream(*, observed: bool) -> Upstream:
    return registry(observed=observed).upstream(origin_of("https://pypi.test/"))


def seconds_per_call(calls: Upstream) -> float:
    """Return the CPU seconds per call, for sequential calls that succeed immediately with 200."""
    target, fine = Target("GET", "https", "pypi.test", "/pypi/django/json"), Outcome(Result.SUCCESS, status=200)
    began = time.process_time()
    for _ in range(CALLS):
        call = Call(calls, target)
        call.begin()
        call.end(fine)
    return (time.process_time() - began) / CALLS


def seconds_for_events() -> float:
    """Return the CPU seconds for creating the events of one such call, which the engine does even without observers."""
    seen: list[Any] = []
    calls = upstream(observed=False)
    calls.observe = seen.append
    call = Call(calls, Target("GET", "https", "pypi.test", "/pypi/django/json"))
    call.begin()
    call.end(Outcome(Result.SUCCESS, status=200))
    kinds = [(type(event), [getattr(event, field.name) for field in fields(event)]) for event in seen]
    began = time.process_time()
    for _ in range(CALLS):
        for kind, values in kinds:
            kind(*values)
    return (time.process_time() - began) / CALLS


def measure() -> None:
    """Print the seconds per call without and with observers. Runs in a separate process."""
    take_part(ProcessRole("web"))
    bare, observed = upstream(observed=False), upstream(observed=True)
    rounds = [(seconds_per_call(bare), seconds_per_call(observed), seconds_for_events()) for _ in range(ROUNDS)]
    print(*map(min, zip(*rounds, strict=True)))  # noqa: T201 - read by the parent


def live() -> None:
    """Run as a process that is scraped, until standard input is closed."""
    take_part(ProcessRole("web"))
    seconds_per_call(upstream(observed=True))
    print("ready", flush=True)  # noqa: T201 - as above
    sys.stdin.read()


def child(what: str, directory: str = "") -> subprocess.Popen[str]:
    environment = {name: value for name, value in os.environ.items() if name != "PROMETHEUS_MULTIPROC_DIR"}
    if directory:
        environment["PROMETHEUS_MULTIPROC_DIR"] = directory
    command = [sys.executable, "-c", f"from benchmarks import observing; observing.{what}()"]
    return subprocess.Popen(  # noqa: S603 - a function of this module
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def per_call(directory: str = "") -> list[float]:
    with child("measure", directory) as process:
        return [float(seconds) for seconds in process.communicate()[0].split()]


def scrapes(processes: int) -> tuple[list[float], int, int]:
    """Return the CPU milliseconds of each scrape of `processes` processes, and the numbers of samples and files."""
    with tempfile.TemporaryDirectory() as directory, ExitStack() as stack:
        for _ in range(processes):
            process = stack.enter_context(child("live", directory))
            if process.stdout:
                process.stdout.readline()
        metrics = CollectorRegistry()
        metrics.register(Collector(Path(directory)))
        took = []
        for _ in range(SCRAPES):
            began = time.process_time()
            text = generate_latest(metrics)
            took.append((time.process_time() - began) * 1000)
        lines = sum(not line.startswith(b"#") for line in text.splitlines())
        return took, lines, len(list(Path(directory).glob("*.db")))


def main() -> None:
    columns = ("metrics are stored", "µs per call without observers", "with", "events", "events and observers")
    table = Table(*columns, title="A successful call")
    with tempfile.TemporaryDirectory() as directory:
        for name, where in (("in one process", ""), ("by several processes", directory)):
            bare, observed, events = per_call(where)
            cells = (bare, observed, events, observed - bare + events)
            table.add_row(name, *(f"{seconds * 1e6:.1f}" for seconds in cells))
    console.print(table)
    table = Table("processes", "ms, median", "ms, worst", "samples", "files", title="A scrape")
    for processes in (1, PROCESSES):
        took, samples, files = scrapes(processes)
        row = (processes, f"{statistics.median(took):.1f}", f"{max(took):.1f}", samples, files)
        table.add_row(*map(str, row))
    console.print(table)


if __name__ == "__main__":
    main()
