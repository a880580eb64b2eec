"""Runs a management command and reports its CPU time, memory and database time: for `benchmarks.update_job`."""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Callable
from typing import Any

import django
from django.core.management import call_command
from django.db import connection


class Watch:
    """Measures the total duration of the functions that it calls."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.times = 0

    def __call__(self, execute: Callable[..., Any], *args: Any) -> Any:
        started = time.perf_counter()
        try:
            return execute(*args)
        finally:
            self.seconds += time.perf_counter() - started
            self.times += 1


def main() -> int:
    django.setup()
    connection.ensure_connection()
    watch, status = Watch(), 0
    commit = connection.connection.commit
    connection._commit = lambda: watch(commit)  # type: ignore[method-assign]  # noqa: SLF001 - Django has no hook for commits
    try:
        with connection.execute_wrapper(watch):
            call_command(*sys.argv[1:])
    except SystemExit as exc:
        status = int(exc.code or 0)
    usage = resource.getrusage(resource.RUSAGE_SELF)
    told = {
        "cpu": usage.ru_utime + usage.ru_stime,
        "memory": usage.ru_maxrss / 1024,
        "database": watch.seconds,
        "statements": watch.times,
    }
    os.write(int(os.environ["BENCHMARK_FD"]), json.dumps(told).encode())
    return status


if __name__ == "__main__":
    sys.exit(main())
