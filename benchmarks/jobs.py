"""Runs the update job, in threads and with Celery, against simulated servers: for `benchmarks.update_job`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg

from tests.servers.celery import worker
from tests.servers.common import wait_until
from tests.servers.postgresql import PostgreSQL
from tests.servers.program import Program
from tests.upstreams.server import Upstreams, serving
from tests.upstreams.world import World

SHARES = {"github": 0.6, "gitlab": 0.2, "bitbucket": 0.1, "codeberg": 0.1}
LATENCY = 0.05
PROCESSES = 4
"""Processes of each Celery worker."""
_TICKS = os.sysconf("SC_CLK_TCK")
_FILL = """
import django, json, sys
django.setup()
from django.core.management import call_command
from package.models import Category, Package
call_command("migrate", verbosity=0)
category = Category.objects.create(title="App", slug="app")
Package.objects.bulk_create([Package(category=category, **row) for row in json.load(sys.stdin)], batch_size=500)
"""


@dataclass
class Taken:
    """The measurements of a run: times in seconds, memory in MiB."""

    packages: int
    workers: str
    seconds: float
    cpu: float
    memory: float
    database: float
    requests: dict[str, int]
    statements: int = 0
    """Number of SQL statements; 0: they were not counted."""
    outcomes: dict[str, dict[str, int]] = field(default_factory=dict)


class Bench:
    """A set of packages, the simulated upstreams, and the databases that contain the packages."""

    def __init__(self, packages: int, upstreams: Upstreams, folder: Path, limit: int) -> None:
        self.packages = packages
        self.upstreams = upstreams
        self._folder = folder
        self._limit = limit
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
        self._runs = 0

    def threads(self, workers: int, **environment: str) -> Taken:
        """Refresh all packages once, in threads, with a new SQLite database."""
        self._runs += 1
        ready = self._filled(f"sqlite:///{self._folder}/{self._runs}.sqlite3", environment)
        read, write = os.pipe()
        command = [sys.executable, "-m", "benchmarks.measured", "update_packages", "--all", "--json"]
        started = time.perf_counter()
        done = subprocess.run(  # noqa: S603 - a command of this repository
            [*command, f"--workers={workers}"],
            env={**ready, "BENCHMARK_FD": str(write)},
            pass_fds=[write],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            check=False,
        )
        seconds = time.perf_counter() - started
        os.close(write)
        with os.fdopen(read) as pipe:
            told = json.loads(pipe.read())
        return Taken(
            packages=self.packages,
            workers=str(workers),
            seconds=seconds,
            requests=self._requests,
            outcomes=json.loads(done.stdout)["sources"],
            **told,
        )

    def celery(self, workers: int, server: PostgreSQL, broker: str) -> Taken:
        """Refresh all packages once, with `workers` Celery workers and a new database on `server`."""
        self._runs += 1
        with psycopg.connect(server.url, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE run{self._runs}".encode())
        url = f"{server.url.rpartition('/')[0]}/run{self._runs}"
        ready = self._filled(url, {"CELERY_BROKER_URL": broker})
        log = [self._folder / f"{self._runs}-{number}.log" for number in range(workers)]
        fleet = [worker(ready, path, concurrency=PROCESSES, name=path.stem) for path in log]
        try:
            for each in fleet:
                wait_until(lambda each=each: " ready." in each.said, 60, "a worker is ready")
            cpu = _cpu(fleet)
            started = time.perf_counter()
            command = [sys.executable, "manage.py", "update_packages", "--all", "--celery", "--json"]
            quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
            subprocess.run(command, env=ready, check=True, **quiet)  # noqa: S603 - as above
            seconds = time.perf_counter() - started
            cpu, memory = _cpu(fleet) - cpu, _memory(fleet)
        finally:
            for each in fleet:
                each.kill()
        name = f"Celery {workers} x {PROCESSES}"
        return Taken(self.packages, name, seconds, cpu, memory, _database_seconds(url), self._requests)

    def bound(self, taken: Taken) -> float:
        """Return the minimum seconds of the run that the limits allow."""
        return max(taken.requests.values()) * LATENCY / self._limit

    def _filled(self, url: str, environment: Mapping[str, str]) -> dict[str, str]:
        """Create a database with packages that were never refreshed. Returns the environment for using it."""
        ready = {**self._environment, **environment, "DATABASE_URL": url}
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
        subprocess.run([sys.executable, "-c", _FILL], env=ready, input=json.dumps(rows), text=True, check=True)  # noqa: S603 - as above
        self.upstreams.clear()
        return ready

    @property
    def _requests(self) -> dict[str, int]:
        return {each: len(getattr(self.upstreams, each).requests) for each in ("pypi", "pypistats", *SHARES)}


@contextmanager
def bench(packages: int, limit: int) -> Iterator[Bench]:
    """Start the upstreams for a number of packages, and yield a `Bench` for them."""
    with (
        serving(World(packages, shares=SHARES), latency=LATENCY, remember=False) as upstreams,
        tempfile.TemporaryDirectory() as folder,
    ):
        upstreams.github.quota = upstreams.gitlab.quota = None
        upstreams.github.pending = 0
        yield Bench(packages, upstreams, Path(folder), limit)


def _cpu(fleet: list[Program]) -> float:
    """Return the CPU seconds of the processes of `fleet`."""
    stats = [(process / "stat").read_text().rpartition(")")[2].split() for process in _processes(fleet)]
    return sum(int(ticks) for stat in stats for ticks in stat[11:15]) / _TICKS


def _memory(fleet: list[Program]) -> float:
    """Return the MiB of the processes of `fleet`, with shared memory counted once."""
    rollups = [(process / "smaps_rollup").read_text() for process in _processes(fleet)]
    lines = [line for text in rollups for line in text.splitlines() if line.startswith("Pss:")]
    return sum(int(line.split()[1]) for line in lines) / 1024


def _processes(fleet: list[Program]) -> list[Path]:
    groups = {str(each.group) for each in fleet}
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if fields[2] in groups:
            found.append(stat.parent)
    return found


def _database_seconds(url: str) -> float:
    """Return the seconds that the server has spent on queries of the database."""
    query = "SELECT active_time FROM pg_stat_database WHERE datname = current_database()"
    with psycopg.connect(url) as connection:
        wait_until(lambda: connection.execute(query).fetchone() not in (None, (0.0,)), 30, "there are statistics")
        connection.execute("SELECT pg_stat_clear_snapshot()")
        row = connection.execute(query).fetchone()
    return float(row[0]) / 1000 if row else 0.0
