"""The Prometheus metrics of batch jobs."""

from __future__ import annotations

import errno
import signal

import pytest
from prometheus_client import CollectorRegistry

from core.http.django.batch_job_metrics import BatchJobs


class Times:
    """A wall clock and a stopwatch that a test turns on."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def wall(self) -> float:
        return self.now

    def clock(self) -> float:
        return self.now - 999_000.0


@pytest.fixture
def times() -> Times:
    return Times()


@pytest.fixture
def metrics() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def jobs(metrics: CollectorRegistry, times: Times) -> BatchJobs:
    return BatchJobs(metrics, wall=times.wall, clock=times.clock)


def value(metrics: CollectorRegistry, name: str, **labels: str) -> float | None:
    return metrics.get_sample_value(f"batch_job_{name}", {"command": "tidy", **labels})


def test_a_job_is_known_before_it_first_runs(jobs: BatchJobs, metrics: CollectorRegistry) -> None:
    """The counters of a job exist with 0 before its first run, so that increase() counts it, with a start time."""
    jobs.know("tidy", 3600.0)
    assert [value(metrics, "runs_total", outcome=o) for o in ("success", "failure", "interrupted")] == [0, 0, 0]
    assert [value(metrics, "items_total", outcome=o) for o in ("success", "failure", "skipped")] == [0, 0, 0]
    assert value(metrics, "registered_timestamp_seconds") == 1_000_000.0
    assert value(metrics, "expected_interval_seconds") == 3600.0
    assert value(metrics, "running") == 0


def test_no_interval_for_a_job_without_a_schedule(jobs: BatchJobs, metrics: CollectorRegistry) -> None:
    """A job without a schedule has no interval, so no alert fires for it."""
    jobs.know("tidy")
    assert value(metrics, "expected_interval_seconds") is None


def test_a_run_that_ends_well(jobs: BatchJobs, metrics: CollectorRegistry, times: Times) -> None:
    """A successful run sets its start, its end, its duration and its items."""
    with jobs.run("tidy") as run:
        assert value(metrics, "running") == 1
        assert value(metrics, "last_start_timestamp_seconds") == 1_000_000.0
        run.items({"success": 7, "failure": 2})
        times.now += 90.0
    assert value(metrics, "runs_total", outcome="success") == 1
    assert value(metrics, "items_total", outcome="success") == 7
    assert value(metrics, "items_total", outcome="failure") == 2
    assert value(metrics, "last_end_timestamp_seconds") == 1_000_090.0
    assert value(metrics, "last_success_timestamp_seconds") == 1_000_090.0
    assert value(metrics, "last_duration_seconds") == 90.0
    assert value(metrics, "running") == 0


@pytest.mark.parametrize(
    ("end", "outcome"),
    [
        (SystemExit(0), "success"),
        (SystemExit(None), "success"),
        (SystemExit(1), "failure"),
        (SystemExit("no such thing"), "failure"),
        (ValueError("a defect"), "failure"),
        (SystemExit(128 + signal.SIGTERM), "interrupted"),
        (KeyboardInterrupt(), "interrupted"),
    ],
    ids=repr,
)
def test_the_exit_status_sets_the_outcome(
    jobs: BatchJobs, metrics: CollectorRegistry, end: BaseException, outcome: str
) -> None:
    """The outcome of a run follows from the exit status; the exception that ended it is raised."""
    with pytest.raises(type(end)), jobs.run("tidy"):
        raise end
    assert value(metrics, "runs_total", outcome=outcome) == 1
    assert value(metrics, "last_end_timestamp_seconds") == 1_000_000.0
    assert value(metrics, "running") == 0
    assert (value(metrics, "last_success_timestamp_seconds") == 1_000_000.0) == (outcome == "success")


def test_two_runs_at_once(jobs: BatchJobs, metrics: CollectorRegistry) -> None:
    """Threads, or one within the other."""
    with jobs.run("tidy"), jobs.run("tidy"):
        assert value(metrics, "running") == 2
    assert value(metrics, "running") == 0
    assert value(metrics, "runs_total", outcome="success") == 2


def test_no_job_fails_for_its_metrics(
    jobs: BatchJobs, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """If the metrics directory is full or missing, the job runs and logs that its metrics are lost."""

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "the file system is nearly full")

    monkeypatch.setattr(jobs.last_start, "labels", full)
    monkeypatch.setattr(jobs.runs, "labels", full)
    monkeypatch.setattr(jobs.items, "labels", full)
    with jobs.run("tidy") as run:
        run.items({"success": 1})
    assert "nearly full" in caplog.text


def test_an_interval_is_that_of_processes_alive(jobs: BatchJobs) -> None:
    """The interval is that of running processes, so a job that was unscheduled fires no alert."""
    assert jobs.expected_interval._multiprocess_mode == "livemostrecent"
