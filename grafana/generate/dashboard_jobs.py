"""The rows Batch and Meta of the dashboard: whether the jobs run, and whether the metrics are reliable."""

from __future__ import annotations

from grafana_foundation_sdk.builders.stat import Panel as Stat

from grafana.generate.dashboard_panels import GREY, Column, Row, Steps, runbooks, stat, table, timeseries
from grafana.generate.dashboard_queries import per_minute

_EXPECTED = "max by (command) (batch_job_expected_interval_seconds > 0)"
_SUCCESS = "max by (command) (batch_job_last_success_timestamp_seconds > 0)"
_SINCE = f"(time() - ({_SUCCESS} or min by (command) (batch_job_registered_timestamp_seconds > 0)))"
_STALE = 1.5
"""Number of expected intervals without a success after which the alert BatchJobStale fires."""


def stale_jobs() -> Stat:
    return stat(
        "Jobs overdue",
        "Commands without a success for 1.5 times their expected interval. The row Batch shows which. "
        + runbooks("BatchJobStale"),
        f"sum({_SINCE} > bool {_STALE:g} * {_EXPECTED})",
        "short",
        [(None, GREY), (0, "green"), (1, "red")],
        empty="set EXPECTED_JOBS",
    )


def batch() -> Row:
    failed = 'sum by (command) (increase(batch_job_runs_total{outcome="failure"}[24h]))'
    return Row(
        "Batch",
        table(
            "Commands",
            "Red in the last column: overdue. " + runbooks("BatchJobStale", "BatchJobFailed", "BatchJobDied"),
            "command",
            [
                Column("Running", "sum by (command) (batch_job_running)", "none"),
                Column("Since last success", f"time() - {_SUCCESS}", "s", "never"),
                Column("Duration", "max by (command) (batch_job_last_duration_seconds)", "s"),
                Column("Failed runs, 24 h", f"round({failed})", "none", "", _from(1, 2)),
                Column("Expected every", _EXPECTED, "s", "not set"),
                Column("Share of interval", f"{_SINCE} / {_EXPECTED}", "percentunit", "", _from(1, _STALE)),
            ],
            empty="no registered job",
            width=14,
        ),
        timeseries(
            "Items a minute",
            "Items that the commands processed, by outcome. They are counted at the end of a run. "
            + runbooks("BatchJobItemErrorsHigh"),
            {"{{command}} {{outcome}}": per_minute("batch_job_items_total", "command", "outcome")},
            "short",
            empty="no registered job",
            width=10,
            stacked=True,
            most=1,
            colors={".* success|none ?": "green", ".* skipped": "blue", ".* failure": "red"},
        ),
    )


def meta() -> Row:
    return Row(
        "Meta",
        timeseries(
            "Scrape duration",
            "Time that the site takes to answer a scrape. Above the line, PROMETHEUS_MULTIPROC_DIR contains too many "
            "files. At 0, or with gaps, do not trust this dashboard. " + runbooks("MetricsTargetDown"),
            {"{{instance}}": 'scrape_duration_seconds{job="site"}'},
            "s",
            empty="not scraped: is the job called site?",
            width=12,
            limits=[(None, "green"), (0.5, "orange")],
        ),
        timeseries(
            "Series",
            "Number of series that the site exports. It grows with upstreams and roles of processes, not with packages "
            "or users: a steep rise is a bug. " + runbooks("MetricsAbsent"),
            {"{{instance}}": 'scrape_samples_scraped{job="site"}'},
            "short",
            empty="not scraped: is the job called site?",
            width=12,
        ),
    )


def _from(orange: float, red: float) -> Steps:
    return [(None, "transparent"), (orange, "orange"), (red, "red")]
