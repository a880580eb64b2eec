"""Recording rules: the series that Prometheus computes in advance. Alerts use their names.

All windows are here, in brackets, so that a test can shorten them without changing the alerts. The name of a series
contains its window.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import chain

_OURS = 'upstream!="other"'
"""Excludes `other`, the servers that are not configured. One of them is always down, and operators cannot repair it.
Besides, each has its own breaker: a sum would not show whether one breaker opened six times or six opened once."""
_CALLS = f"outbound_http_calls_total{{{_OURS}}}"
_BAD = f'outbound_http_calls_total{{outcome=~"failure|rejected", {_OURS}}}'
_DURATIONS = "sum by (upstream, le) (rate(outbound_http_attempt_duration_seconds_bucket[15m]))"
_ACTIVE = "sum by (upstream, role) (outbound_http_active_requests)"
_LIMIT = "sum by (upstream, role) (outbound_http_concurrency_limit)"
_REMAINING = "upstream_partition_resource:outbound_http_ratelimit_remaining:min"
_RESET = "upstream_partition_resource:outbound_http_ratelimit_reset_timestamp_seconds:max"
_NOT_OVER = "(outbound_http_ratelimit_reset_timestamp_seconds > time())"
"""Excludes quotas that became full again after a role last received their values."""


def _count(metric: str, window: str, by: str = "upstream") -> str:
    """Return an expression for the number of events. It is rounded, because `increase()` estimates: 5.02 means 5."""
    return f"round(sum by ({by}) (increase({metric}[{window}])))"


def _calls(*windows: str) -> Iterator[tuple[str, str]]:
    """Return the rules for all calls, bad calls, and the share of bad calls, which is absent if there were no calls."""
    for window in windows:
        calls = f"upstream:outbound_http_calls:increase{window}"
        bad = f"upstream:outbound_http_calls_bad:increase{window}"
        yield calls, _count(_CALLS, window)
        yield bad, _count(_BAD, window)
        yield f"upstream:outbound_http_calls_bad:ratio{window}", f"{bad} / ({calls} > 0)"


_FAST = (
    ("upstream_reason:outbound_http_calls_bad:increase1h", _count(_BAD, "1h", by="upstream, reason")),
    (
        "upstream:outbound_http_calls_out_of_time:increase30m",
        _count('outbound_http_calls_total{reason="deadline_exceeded"}', "30m"),
    ),
    ("upstream:outbound_http_fallbacks:increase1h", _count("outbound_http_fallbacks_total", "1h")),
    ("upstream:outbound_http_attempts:increase10m", _count("outbound_http_attempts_total", "10m")),
    ("upstream:outbound_http_attempts:increase15m", _count("outbound_http_attempts_total", "15m")),
    (
        "upstream:outbound_http_attempt_duration_seconds:p95_15m",
        f"histogram_quantile(0.95, {_DURATIONS}) >= 0",  # NaN without attempts
    ),
    ("upstream:outbound_http_retries:increase10m", _count("outbound_http_retries_total", "10m")),
    (
        "upstream:outbound_http_retries_over_budget:increase10m",
        _count('outbound_http_retries_suppressed_total{reason="budget_exhausted"}', "10m"),
    ),
    (
        "upstream:outbound_http_breaker_openings:increase1h",
        _count(f'outbound_http_breaker_transitions_total{{state="open", {_OURS}}}', "1h"),
    ),
    (
        "upstream:outbound_http_breaker_closings:increase1h",
        _count(f'outbound_http_breaker_transitions_total{{state="closed", {_OURS}}}', "1h"),
    ),
    ("upstream_role:outbound_http_concurrency:ratio", f"{_ACTIVE} / ({_LIMIT} > 0)"),
    (
        "upstream_partition_resource:outbound_http_ratelimit_limit:max",
        f"max by (upstream, partition, resource) (outbound_http_ratelimit_limit and {_NOT_OVER})",
    ),
    (_REMAINING, f"min by (upstream, partition, resource) (outbound_http_ratelimit_remaining and {_NOT_OVER})"),
    (_RESET, f"max by (upstream, partition, resource) {_NOT_OVER}"),
    ("upstream_partition_resource:outbound_http_ratelimit_remaining:deriv10m", f"deriv({_REMAINING}[10m])"),
    (
        "upstream_partition_resource:outbound_http_ratelimit_reset_timestamp_seconds:spread10m",
        f"max_over_time({_RESET}[10m]) - min_over_time({_RESET}[10m])",
    ),
)
_SLOW = (
    (
        "command:batch_job_runs_failed:increase1d",
        _count('batch_job_runs_total{outcome="failure"}', "1d", by="command"),
    ),
    (
        "command:batch_job_items_tried:increase1d",
        _count('batch_job_items_total{outcome=~"success|failure"}', "1d", by="command"),
    ),
    (
        "command:batch_job_items_failed:increase1d",
        _count('batch_job_items_total{outcome="failure"}', "1d", by="command"),
    ),
)
RULES: dict[str, dict[str, str]] = {
    "outbound_http": dict(chain(_calls("5m", "15m", "30m", "1h", "2h"), _FAST)),
    "long_windows": dict(chain(_calls("6h", "1d", "3d"), _SLOW)),
}
"""Expressions by name, by group. An expression may use the earlier expressions of its group."""

SLOW_INTERVAL = "2m"
"""Interval between evaluations of the long windows. Each evaluation reads millions of samples. The interval must be
shorter than the 5 m for which Prometheus looks back for the last value."""

_RECORDED = {name: expression for rules in RULES.values() for name, expression in rules.items()}
_NAME = re.compile(r"\b\w+:\w+:\w+\b(\[\w+)?")


def inlined(expression: str) -> str:
    """Return `expression` with the expressions of recorded series in place of their names."""

    def replace(found: re.Match[str]) -> str:
        name, _, window = found[0].partition("[")
        return f"({inlined(_RECORDED[name])})" + (f"[{window}:" if window else "")

    return _NAME.sub(replace, expression)
