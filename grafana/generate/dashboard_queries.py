"""Building blocks of the dashboard's expressions.

All match labels with `=~`. A process that exports only its own metrics has no label `role`, which `.*` also matches.
"""

from __future__ import annotations

SLO = 0.99
"""The objective: the share of an upstream's calls that are answered, over 30 days. A 404 counts as answered."""

BAD = "failure|rejected"
SENT = "success|client_error|failure"
"""Excludes rejected calls. They end at once, so an outage would look fast."""


CONFIGURED = 'upstream!="other"'
"""Excludes the servers that users named: one of them is always down."""


def http(metric: str, *matchers: str, **labels: str) -> str:
    """Select a metric of the upstreams and roles that the user chose above the panels."""
    chosen = {"upstream": "$upstream", "role": "$role", **labels}
    every = [*(f'{name}=~"{value}"' for name, value in chosen.items()), *matchers]
    return f"outbound_http_{metric}{{{', '.join(every)}}}"


def rate(selected: str, *by: str, window: str = "$__rate_interval") -> str:
    """Count events per second, by labels."""
    return f"{_sum(by)} (rate({selected}[{window}]))"


def increase(selected: str, *by: str, window: str) -> str:
    """Count events, by labels."""
    return f"{_sum(by)} (increase({selected}[{window}]))"


def latest(selected: str, *by: str) -> str:
    """Add up gauges, by labels."""
    return f"{_sum(by)} ({selected})"


def share(part: str, whole: str) -> str:
    """Divide. If the whole is zero, the result has no series, and no NaN."""
    return f"{part} / ({whole} > 0)"


def quantile(q: float, histogram: str, *by: str, window: str = "$__rate_interval") -> str:
    """Estimate a quantile. Without observations, the result has no series, and no NaN."""
    return f"histogram_quantile({q:g}, {rate(histogram, 'le', *by, window=window)}) >= 0"


def per_minute(selected: str, label: str, *labels: str) -> str:
    """Count events per minute, by labels. A line `none` at zero says that there were no events in the time shown.

    Label values without events are left out, because a legend with 17 zeros hides the value that matters. The panel is
    never empty, because an empty panel looks the same as missing metrics.
    """
    shown = f"increase({selected}[$__range] @ end())"
    return (
        f"60 * {rate(selected, label, *labels)} and {_sum((label, *labels))} ({shown}) > 0"
        f' or label_replace(sum ({shown}) == 0, "{label}", "none", "", "")'
    )


def _sum(by: tuple[str, ...]) -> str:
    return f"sum by ({', '.join(by)})" if by else "sum"
