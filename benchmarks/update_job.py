"""What the update of all packages takes: throughput, CPU, memory, database, requests.

    python -m benchmarks.update_job                       # 1, 8 and 32 workers over 500 packages
    python -m benchmarks.update_job --growth 500 5000     # 32 workers over so many
    python -m benchmarks.update_job --outage 5000         # PyPI black-holed, and PyPI switched off

The upstreams are stand-ins in this process, which answer after 50 ms; each is asked by so many at once as --limit
says. The share of the bound is that of the throughput which these limits allow: of the upstream that takes longest,
requests x latency / limit. Each run is a process of its own with a new SQLite database.

It measures and does not judge: it ends with 0, whatever it finds (with 130 after Ctrl-C).
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.upstreams.faults import BlackHole
from tests.upstreams.server import Upstreams, serving
from tests.upstreams.world import World

SHARES = {"github": 0.6, "gitlab": 0.2, "bitbucket": 0.1, "codeberg": 0.1}
LATENCY = 0.05
console = Console(width=140, highlight=False)


@dataclass
class Taken:
    """What a run took."""

    packages: int
    workers: str
    seconds: float
    cpu: float
    memory: float
    database: float
    statements: int
    requests: dict[str, int]
    outcomes: dict[str, dict[str, int]]


class Bench:
    """A world, its upstreams, and databases that know it."""

    def __init__(self, packages: int, upstreams: Upstreams, folder: Path, limit: int) -> None:
        self.packages = packages
        self.upstreams = upstreams
        self._limit = limit
        self._empty = folder / "empty.sqlite3"
        self._database = folder / "run.sqlite3"
        self._environment = {
            **os.environ,
            **upstreams.environment,
            "BENCHMARK_LIMIT": str(limit),
            "DEBUG": "false",
            "DJANGO_SETTINGS_MODULE": "benchmarks.settings",
            "GITHUB_TOKEN": "benchmark",
            "LOG_LEVEL": "ERROR",
            "NO_PROXY": "127.0.0.1",
            "SECRET_KEY": "benchmark",
        }
        self._fill()

    def run(self, workers: int, *options: str, environment: dict[str, str] | None = None) -> Taken:
        """Refresh everything once, in a new database."""
        for suffix in ("", "-wal", "-shm"):
            Path(f"{self._database}{suffix}").unlink(missing_ok=True)
        shutil.copy(self._empty, self._database)
        self.upstreams.clear()
        read, write = os.pipe()
        command = [sys.executable, "-m", "benchmarks.measured", "update_packages", "--all", "--json"]
        started = time.perf_counter()
        done = subprocess.run(  # noqa: S603 - a command of our own
            [*command, f"--workers={workers}", *options],
            env={**self._environment, **self._url(self._database), "BENCHMARK_FD": str(write), **(environment or {})},
            pass_fds=[write],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            check=False,
        )
        seconds = time.perf_counter() - started
        os.close(write)
        with os.fdopen(read) as pipe:
            told = json.loads(pipe.read())
        summary = json.loads(done.stdout)
        return Taken(
            self.packages,
            str(workers),
            seconds,
            told["cpu"],
            told["memory"],
            told["database"],
            told["statements"],
            {each: len(getattr(self.upstreams, each).requests) for each in ("pypi", "pypistats", *SHARES)},
            summary["sources"],
        )

    def bound(self, taken: Taken) -> float:
        """Seconds that the limits make the run take at least."""
        return max(taken.requests.values()) * LATENCY / self._limit

    def _fill(self) -> None:
        rows = [
            {
                "title": fake.title,
                "slug": fake.slug,
                "pypi_url": fake.pypi,
                "repo_url": self.upstreams.repo_url(fake) if fake.kind else "",
                "repo_host": fake.kind,
            }
            for fake in self.upstreams.world.packages
        ]
        code = (
            "import django, json, sys; django.setup()\n"
            "from django.core.management import call_command; call_command('migrate', verbosity=0)\n"
            "from package.models import Category, Package\n"
            "category = Category.objects.create(title='App', slug='app')\n"
            "packages = [Package(category=category, **row) for row in json.load(sys.stdin)]\n"
            "Package.objects.bulk_create(packages, batch_size=500)\n"
            "from django.db import connection; connection.cursor().execute('PRAGMA wal_checkpoint(TRUNCATE)')\n"
        )
        environment = {**self._environment, **self._url(self._empty)}
        command = [sys.executable, "-c", code]
        subprocess.run(command, env=environment, input=json.dumps(rows), text=True, check=True)  # noqa: S603 - as above

    def _url(self, path: Path) -> dict[str, str]:
        return {"DATABASE_URL": f"sqlite:///{path}"}


@contextmanager
def bench(packages: int, limit: int) -> Iterator[Bench]:
    with (
        serving(World(packages, shares=SHARES), latency=LATENCY, remember=False) as upstreams,
        tempfile.TemporaryDirectory() as folder,
    ):
        upstreams.github.quota = upstreams.gitlab.quota = None
        upstreams.github.pending = 0
        yield Bench(packages, upstreams, Path(folder), limit)


def compare(packages: int, workers: Sequence[int], limit: int) -> None:
    table = new_table(f"{packages} packages, {limit} at once to each upstream, {LATENCY * 1000:.0f} ms")
    with bench(packages, limit) as made:
        for number in workers:
            add(table, made, made.run(number))
    console.print(table)


def grow(sizes: Sequence[int], limit: int) -> None:
    table = new_table(f"32 workers, {limit} at once to each upstream, {LATENCY * 1000:.0f} ms")
    for packages in sizes:
        with bench(packages, limit) as made:
            add(table, made, made.run(32))
    console.print(table)


def outage(packages: int, limit: int) -> None:
    table = Table("PyPI", "seconds", "requests to PyPI", "pypi", title=f"{packages} packages, 32 workers")

    def add_row(name: str, taken: Taken) -> None:
        outcomes = ", ".join(f"{number} {outcome}" for outcome, number in taken.outcomes["pypi"].items() if number)
        table.add_row(name, f"{taken.seconds:.1f}", str(taken.requests["pypi"]), outcomes)

    with bench(packages, limit) as made:
        off = made.run(32, environment={"PYPI_URL": "http://127.0.0.1:9"})
        add_row("switched off", off)
        made.upstreams.pypi.fault = BlackHole()
        hole = made.run(32)
        add_row("black hole", hole)
        heals = threading.Timer(off.seconds / 3, setattr, (made.upstreams.pypi, "fault", None))
        made.upstreams.pypi.fault = BlackHole()
        heals.start()
        add_row(f"black hole for {off.seconds / 3:.0f} s", made.run(32))
    console.print(table)
    console.print(f"A black hole takes {hole.seconds - off.seconds:.1f} s longer than PyPI switched off.")


def new_table(title: str) -> Table:
    columns = ("packages", "workers", "seconds", "packages/s", "of the bound", "CPU ms/package", "memory MiB")
    return Table(*columns, "database ms/package", "requests", title=title)


def add(table: Table, made: Bench, taken: Taken) -> None:
    table.add_row(
        str(taken.packages),
        taken.workers,
        f"{taken.seconds:.1f}",
        f"{taken.packages / taken.seconds:.1f}",
        f"{made.bound(taken) / taken.seconds:.0%}",
        f"{1000 * taken.cpu / taken.packages:.1f}",
        f"{taken.memory:.0f}",
        f"{1000 * taken.database / taken.packages:.1f} ({taken.statements / taken.packages:.1f} statements)",
        ", ".join(f"{name} {number}" for name, number in taken.requests.items()),
    )
    console.print(f"{taken.packages} packages, {taken.workers} workers: {taken.seconds:.1f} s")


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.update_job",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--packages", type=int, default=500, metavar="N", help="default: %(default)s")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 8, 32], metavar="N", help="default: 1 8 32")
    parser.add_argument("--limit", type=int, default=8, metavar="N", help="default: %(default)s")
    parser.add_argument("--growth", type=int, nargs="+", metavar="N", help="so many packages, one after the other")
    parser.add_argument("--outage", type=int, metavar="N", help="so many packages while PyPI is a black hole")
    args = parser.parse_args()
    if args.outage:
        outage(args.outage, args.limit)
    elif args.growth:
        grow(args.growth, args.limit)
    else:
        compare(args.packages, args.workers, args.limit)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
