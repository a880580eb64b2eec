"""What Prometheus is told of jobs."""

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
    """Its counters are there at zero, for increase() to see the first run; and it says since when it waits."""
    jobs.know("tidy", 3600.0)
    assert [value(metrics, "runs_total", outcome=o) for o in ("success", "failure", "interrupted")] == [0, 0, 0]
    assert [value(metrics, "items_total", outcome=o) for o in ("success", "failure", "skipped")] == [0, 0, 0]
    assert value(metrics, "registered_timestamp_seconds") == 1_000_000.0
    assert value(metrics, "expected_interval_seconds") == 3600.0
    assert value(metrics, "running") == 0


def test_of_one_that_nobody_expects_no_interval_is_told(jobs: BatchJobs, metrics: CollectorRegistry) -> None:
    """Nobody is woken for it."""
    jobs.know("tidy")
    assert value(metrics, "expected_interval_seconds") is None


def test_a_run_that_ends_well(jobs: BatchJobs, metrics: CollectorRegistry, times: Times) -> None:
    """When it began, when it ended, how long it took, what it did."""
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
def test_how_it_is_left_says_how_it_went(
    jobs: BatchJobs, metrics: CollectorRegistry, end: BaseException, outcome: str
) -> None:
    """By the exit status of the command; what ended it passes through."""
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
    """A child whose directory is full, or gone, does its work, and says that nobody hears of it."""

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "the file system is nearly full")

    monkeypatch.setattr(jobs.last_start, "labels", full)
    monkeypatch.setattr(jobs.runs, "labels", full)
    monkeypatch.setattr(jobs.items, "labels", full)
    with jobs.run("tidy") as run:
        run.items({"success": 1})
    assert "nearly full" in caplog.text


def test_an_interval_is_that_of_processes_alive(jobs: BatchJobs) -> None:
    """A job that nobody expects any more woke people for ever: what those before had set stayed."""
    assert jobs.expected_interval._multiprocess_mode == "livemostrecent"
