"""Prometheus metrics of management commands and scheduled tasks. docs/metrics.md documents them.

    with batch_job_metrics.jobs().run("update_packages") as run:
        ...
        run.items({"success": 300})

A job may end before the next scrape. So its metrics need PROMETHEUS_MULTIPROC_DIR, with which they are kept in files:
see the package `multiprocess`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any, Literal, TypeAlias, get_args

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge

from ..log import logger
from ..observers import prometheus

RUNS = ("success", "failure", "interrupted")
ItemOutcome: TypeAlias = Literal["success", "failure", "skipped"]
ITEMS: tuple[ItemOutcome, ...] = get_args(ItemOutcome)
_BY_SIGNAL = 128
"""An exit status above this means, as in shells, that a signal ended the command: 128 plus the number of the signal."""


class BatchJobs:
    """The metrics of all jobs, in one registry."""

    def __init__(
        self,
        registry: CollectorRegistry,
        *,
        wall: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"batch_job_{name}", text, ("command", *labels), registry=registry)

        def gauge(name: str, text: str, mode: Any = "mostrecent") -> Gauge:
            return Gauge(f"batch_job_{name}", text, ("command",), registry=registry, multiprocess_mode=mode)

        self._wall = wall
        self._clock = clock
        self._known: set[str] = set()
        self.runs = counter("runs", "Finished runs, by outcome.", "outcome")
        self.items = counter("items", "Items that runs processed, by outcome.", "outcome")
        self.last_start = gauge("last_start_timestamp_seconds", "Start of the last run.")
        self.last_end = gauge("last_end_timestamp_seconds", "End of the last run.")
        self.last_success = gauge("last_success_timestamp_seconds", "End of the last successful run.")
        self.last_duration = gauge("last_duration_seconds", "Duration of the last run.")
        self.registered = gauge("registered_timestamp_seconds", "When the job was first registered.", "min")
        self.expected_interval = gauge("expected_interval_seconds", "Expected success interval.", "livemostrecent")
        self.running = gauge("running", "Runs in progress.", "livesum")

    def know(self, command: str, every: float | None = None) -> None:
        """Create the series of a job at zero, so that `increase()` counts its first run.

        :param every: seconds within which a run is expected to succeed; None: no expectation.
        """
        if command not in self._known:
            self._known.add(command)
            for outcome in RUNS:
                self.runs.labels(command, outcome)
            for outcome in ITEMS:
                self.items.labels(command, outcome)
            self.registered.labels(command).set(self._wall())
            self.running.labels(command).set(0)
        if every is not None:
            self.expected_interval.labels(command).set(every)

    @contextmanager
    def run(self, command: str) -> Iterator[Run]:
        """Measure a run of `command`, which lasts until the end of the block.

        The outcome is "failure" if the block raises; "interrupted" for KeyboardInterrupt and for SystemExit with a
        status above 128.
        """
        started = self._clock()
        with _unfailing():
            prometheus.renew()
            self.know(command)
            self.last_start.labels(command).set(self._wall())
            self.running.labels(command).inc()
        outcome = "success"
        try:
            yield Run(self, command)
        except BaseException as exc:
            outcome = _outcome_of(exc)
            raise
        finally:
            with _unfailing():
                now = self._wall()
                self.runs.labels(command, outcome).inc()
                self.last_duration.labels(command).set(self._clock() - started)
                self.last_end.labels(command).set(now)
                if outcome == "success":
                    self.last_success.labels(command).set(now)
                self.running.labels(command).dec()


class Run:
    """A run in progress."""

    def __init__(self, jobs: BatchJobs, command: str) -> None:
        self._jobs = jobs
        self._command = command

    def items(self, counts: Mapping[ItemOutcome, int]) -> None:
        """Add to the numbers of items that runs processed, by outcome."""
        with _unfailing():
            for outcome, count in counts.items():
                self._jobs.items.labels(self._command, outcome).inc(count)


@contextmanager
def _unfailing() -> Iterator[None]:
    """Log an OSError of the block instead of raising it: a job must not fail because its metrics cannot be written."""
    try:
        yield
    except OSError as exc:
        logger.error("Job metrics could not be written: %s", exc)


def _outcome_of(exc: BaseException) -> str:
    if isinstance(exc, KeyboardInterrupt):
        return "interrupted"
    if isinstance(exc, SystemExit):
        if not exc.code:
            return "success"
        return "interrupted" if isinstance(exc.code, int) and exc.code > _BY_SIGNAL else "failure"
    return "failure"


@cache
def jobs() -> BatchJobs:
    """Return the batch job metrics of this process."""
    return BatchJobs(REGISTRY)
