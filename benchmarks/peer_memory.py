"""Compares the memory of sessions and calls with requests. Loopback only, several minutes.

    python -m benchmarks.peer_memory

Prints the memory of each of 200 sessions that have made one call, and the growth of the process after 100,000 calls
of one session.
"""

from __future__ import annotations

import argparse
import gc
import multiprocessing
import os
import resource
from pathlib import Path
from typing import Any

import requests
from rich.console import Console
from rich.table import Table

from benchmarks.peer_clients import one_after_the_other
from benchmarks.peers import started
from core.http import ResilientSession
from tests.core.http.hostile.scenarios import CA

SESSIONS = 200
CALLS = 100_000
FIRST = 2_000
"""Number of calls after which caches no longer grow."""
MADE: dict[str, type[requests.Session]] = {
    "requests.Session": requests.Session,
    "ResilientSession": ResilientSession,
}


def resident() -> float:
    """Return the resident memory of this process, in KiB."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 1024


def measure(told: Any, made: type[requests.Session], url: str, calls: int) -> None:
    """Run in the process that makes the calls."""
    kept = [made() for _ in range(3)]
    for session in kept:
        session.get(url)
    before = resident()
    kept += [made() for _ in range(SESSIONS)]
    for session in kept[3:]:
        session.get(url)
    each = (resident() - before) / SESSIONS
    one_after_the_other(kept[0].get, url, FIRST)
    before = resident()
    one_after_the_other(kept[0].get, url, calls)
    told.send((each, resident() - before))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=CALLS)
    calls = parser.parse_args().calls
    url = started(None, tls=True) + "/2k"
    os.environ["REQUESTS_CA_BUNDLE"] = CA
    table = Table("", "KiB a session", f"KiB more after {calls:,} calls", title="Memory, https")
    for name, made in MADE.items():
        mine, theirs = multiprocessing.Pipe()
        process = multiprocessing.get_context("fork").Process(target=measure, args=(theirs, made, url, calls))
        process.start()
        each, more = mine.recv()
        process.join()
        table.add_row(name, f"{each:.0f}", f"{more:.0f}")
    Console(width=120, highlight=False).print(table)


if __name__ == "__main__":
    main()
