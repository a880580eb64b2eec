"""What Prometheus works out in advance. Alerts are made of these names, and so may be panels.

All windows are here, in brackets, so that a test can shorten them and leave the alerts as they are. A name tells the
window that is meant.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import chain

_OURS = 'upstream!="other"'
"""`other` are servers that users named: one of them is always down, and nobody here can mend it. Each has a breaker of
its own: six that open once are none that opens six times."""
_CALLS = f"outbound_http_calls_total{{{_OURS}}}"
_BAD = f'outbound_http_calls_total{{outcome=~"failure|rejected", {_OURS}}}'
_DURATIONS = "sum by (upstream, le) (rate(outbound_http_attempt_duration_seconds_bucket[15m]))"
_ACTIVE = "sum by (upstream, role) (outbound_http_active_requests)"
_LIMIT = "sum by (upstream, role) (outbound_http_concurrency_limit)"
_REMAINING = "upstream_partition_resource:outbound_http_ratelimit_remaining:min"
_RESET = "upstream_partition_resource:outbound_http_ratelimit_reset_timestamp_seconds:max"
_NOT_OVER = "(outbound_http_ratelimit_reset_timestamp_seconds > time())"
"""What a role saw of a quota that has been renewed since says nothing."""


def _count(metric: str, window: str, by: str = "upstream") -> str:
    """Count what happened. Whole numbers: `increase()` estimates, and its 5.02 is not more than five."""
    return f"round(sum by ({by}) (increase({metric}[{window}])))"


def _calls(*windows: str) -> Iterator[tuple[str, str]]:
    """All calls, those that were not answered, and their share, which is absent where there were no calls."""
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
        f"histogram_quantile(0.95, {_DURATIONS}) >= 0",  # where there are none, it is NaN
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
"""Expressions by name, by group. In a group each may use those before it."""

SLOW_INTERVAL = "2m"
"""How often the long windows are worked out: each time it takes millions of samples. Prometheus looks back 5 m for the
last value, so it must be less than that."""

_RECORDED = {name: expression for rules in RULES.values() for name, expression in rules.items()}
_NAME = re.compile(r"\b\w+:\w+:\w+\b(\[\w+)?")


def inlined(expression: str) -> str:
    """Put what was recorded in the place of its name, for those who have no recording rules."""

    def replace(found: re.Match[str]) -> str:
        name, _, window = found[0].partition("[")
        return f"({inlined(_RECORDED[name])})" + (f"[{window}:" if window else "")

    return _NAME.sub(replace, expression)
