"""Measures the update of all packages: throughput, CPU, memory, database, requests.

    python -m benchmarks.update_job                         # 1, 8 and 32 threads, over 500 packages
    python -m benchmarks.update_job --workers 32 --packages 5000 --limit 4
    python -m benchmarks.update_job --workers 32 --packages 500 5000 50000
    python -m benchmarks.update_job --celery 1 2 4          # Celery workers with four processes each
    python -m benchmarks.update_job --outage --packages 5000

The upstreams are simulated in this process and respond after 50 ms. --limit is the maximum number of concurrent
requests to each of them (without effect for Celery, whose processes make one call at a time). "Of the bound" is the
share of the maximum throughput: the slowest upstream needs at least requests x latency / limit seconds. Each run with
threads is a process with its own SQLite database. Celery uses PostgreSQL and Redis servers that are started here.

It prints measurements and checks none of them: the exit status is 0 (130 after Ctrl-C).
"""

from __future__ import annotations

import argparse
import sys
import threading
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from benchmarks.jobs import LATENCY, Bench, Taken, bench
from tests.servers.postgresql import running_postgresql
from tests.servers.redis import running_redis
from tests.upstreams.faults import BlackHole

console = Console(width=140, highlight=False)


def threads(sizes: Sequence[int], workers: Sequence[int], limit: int) -> None:
    table = new_table(f"Threads, at most {limit} concurrent requests to each upstream")
    for packages in sizes:
        with bench(packages, limit) as made:
            for number in workers:
                add(table, made.threads(number), made)
    console.print(table)


def celery(sizes: Sequence[int], workers: Sequence[int], limit: int) -> None:
    table = new_table("Celery")
    with running_postgresql(connections=100) as server, running_redis() as broker:
        for packages in sizes:
            with bench(packages, limit) as made:
                for number in workers:
                    add(table, made.celery(number, server, broker.url))
    console.print(table)


def outage(packages: int, limit: int) -> None:
    table = Table("PyPI", "seconds", "requests to PyPI", "pypi", title=f"{packages} packages, 32 workers")

    def add_row(name: str, taken: Taken) -> None:
        outcomes = ", ".join(f"{number} {outcome}" for outcome, number in taken.outcomes["pypi"].items() if number)
        table.add_row(name, f"{taken.seconds:.1f}", str(taken.requests["pypi"]), outcomes)
        console.print(f"{name}: {taken.seconds:.1f} s")

    with bench(packages, limit) as made:
        off = made.threads(32, PYPI_URL="http://127.0.0.1:9")
        add_row("switched off", off)
        made.upstreams.pypi.fault = BlackHole()
        hole = made.threads(32)
        add_row("black hole", hole)
        made.upstreams.pypi.fault = BlackHole()
        threading.Timer(off.seconds / 3, setattr, (made.upstreams.pypi, "fault", None)).start()
        add_row(f"black hole for {off.seconds / 3:.0f} s", made.threads(32))
    console.print(table)
    console.print(f"With the black hole, the run took {hole.seconds - off.seconds:.1f} s longer than with PyPI off.")


def new_table(title: str) -> Table:
    columns = ("packages", "workers", "seconds", "packages/s", "of the bound", "CPU ms/package", "memory MiB")
    return Table(*columns, "database ms/package", "requests", title=f"{title}, {LATENCY * 1000:.0f} ms latency")


def add(table: Table, taken: Taken, made: Bench | None = None) -> None:
    statements = f" ({taken.statements / taken.packages:.1f} statements)" if taken.statements else ""
    table.add_row(
        str(taken.packages),
        taken.workers,
        f"{taken.seconds:.1f}",
        f"{taken.packages / taken.seconds:.1f}",
        f"{made.bound(taken) / taken.seconds:.0%}" if made else "",
        f"{1000 * taken.cpu / taken.packages:.1f}",
        f"{taken.memory:.0f}",
        f"{1000 * taken.database / taken.packages:.1f}{statements}",
        ", ".join(f"{name} {number}" for name, number in taken.requests.items()),
    )
    console.print(f"{taken.packages} packages, {taken.workers}: {taken.seconds:.1f} s")


def main() -> int:
    shape = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="python -m benchmarks.update_job", description=__doc__, formatter_class=shape)
    parser.add_argument("--packages", type=int, nargs="+", default=[500], metavar="N", help="default: 500")
    parser.add_argument("--limit", type=int, default=8, metavar="N", help="default: %(default)s")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--workers", type=int, nargs="+", default=[1, 8, 32], metavar="N", help="default: 1 8 32")
    what.add_argument("--celery", type=int, nargs="+", metavar="N", help="run N Celery workers instead of threads")
    what.add_argument("--outage", action="store_true", help="run while PyPI accepts connections but never responds")
    args = parser.parse_args()
    if args.outage:
        outage(args.packages[0], args.limit)
    elif args.celery:
        celery(args.packages, args.celery, args.limit)
    else:
        threads(args.packages, args.workers, args.limit)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
