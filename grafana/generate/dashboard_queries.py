"""Building blocks of the expressions of the dashboard.

All expressions match labels with `=~`. A process that exports only its own metrics has no label `role`, which `.*` also
matches.
"""

from __future__ import annotations

SLO = 0.99
"""The objective: the share of the calls to an upstream that succeed over 30 days. A 404 counts as a success."""

BAD = "failure|rejected"
SENT = "success|client_error|failure"
"""Excludes rejected calls. They end immediately, so with them the upstream would look fast during an outage."""


CONFIGURED = 'upstream!="other"'
"""Excludes servers that are not configured, because one of them is always down."""


def http(metric: str, *matchers: str, **labels: str) -> str:
    """Return a selector of a metric, for the upstreams and roles that the user has chosen above the panels."""
    chosen = {"upstream": "$upstream", "role": "$role", **labels}
    every = [*(f'{name}=~"{value}"' for name, value in chosen.items()), *matchers]
    return f"outbound_http_{metric}{{{', '.join(every)}}}"


def rate(selected: str, *by: str, window: str = "$__rate_interval") -> str:
    """Return an expression for the number of events per second, by labels."""
    return f"{_sum(by)} (rate({selected}[{window}]))"


def increase(selected: str, *by: str, window: str) -> str:
    """Return an expression for the number of events, by labels."""
    return f"{_sum(by)} (increase({selected}[{window}]))"


def latest(selected: str, *by: str) -> str:
    """Return an expression for the sum of gauges, by labels."""
    return f"{_sum(by)} ({selected})"


def share(part: str, whole: str) -> str:
    """Return an expression for `part` divided by `whole`. If `whole` is zero, the result has no series (and no NaN)."""
    return f"{part} / ({whole} > 0)"


def quantile(q: float, histogram: str, *by: str, window: str = "$__rate_interval") -> str:
    """Return an expression for a quantile. Without observations, the result has no series (and no NaN)."""
    return f"histogram_quantile({q:g}, {rate(histogram, 'le', *by, window=window)}) >= 0"


def per_minute(selected: str, label: str, *labels: str) -> str:
    """Return an expression for the number of events per minute, by labels.

    If there were no events in the time shown, the result is a line `none` at zero, because an empty panel would look
    the same as missing metrics. Label values without events are left out, because a legend with 17 zeros would hide the
    important value.
    """
    shown = f"increase({selected}[$__range] @ end())"
    return (
        f"60 * {rate(selected, label, *labels)} and {_sum((label, *labels))} ({shown}) > 0"
        f' or label_replace(sum ({shown}) == 0, "{label}", "none", "", "")'
    )


def _sum(by: tuple[str, ...]) -> str:
    return f"sum by ({', '.join(by)})" if by else "sum"
