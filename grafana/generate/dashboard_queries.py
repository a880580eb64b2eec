"""The parts that the dashboard's expressions are made of.

All match labels with `=~`. Where one process tells of itself alone there is no label `role`: `.*` matches that too.
"""

from __future__ import annotations

SLO = 0.99
"""The share of an upstream's calls that shall be answered, over 30 days. A 404 is an answer; no answer is none."""

BAD = "failure|rejected"
SENT = "success|client_error|failure"
"""A rejected call is over at once: with them an outage would look fast."""


CONFIGURED = 'upstream!="other"'
"""Not the servers of strangers: one of these is always down."""


def http(metric: str, *matchers: str, **labels: str) -> str:
    """Select a metric of the upstreams and roles that are chosen above the panels."""
    chosen = {"upstream": "$upstream", "role": "$role", **labels}
    every = [*(f'{name}=~"{value}"' for name, value in chosen.items()), *matchers]
    return f"outbound_http_{metric}{{{', '.join(every)}}}"


def rate(selected: str, *by: str, window: str = "$__rate_interval") -> str:
    """Count what happens in a second, by labels."""
    return f"{_sum(by)} (rate({selected}[{window}]))"


def increase(selected: str, *by: str, window: str) -> str:
    """Count what happened, by labels."""
    return f"{_sum(by)} (increase({selected}[{window}]))"


def latest(selected: str, *by: str) -> str:
    """Add up gauges, by labels."""
    return f"{_sum(by)} ({selected})"


def share(part: str, whole: str) -> str:
    """Divide. Where there is no whole there is no share, and no NaN either."""
    return f"{part} / ({whole} > 0)"


def quantile(q: float, histogram: str, *by: str, window: str = "$__rate_interval") -> str:
    """Estimate a quantile. Where nothing was observed there is none, and no NaN either."""
    return f"histogram_quantile({q:g}, {rate(histogram, 'le', *by, window=window)}) >= 0"


def per_minute(selected: str, label: str, *labels: str) -> str:
    """Count by labels what happens in a minute; a line at zero, `none`, says that nothing did in the time shown.

    Values of labels that did not occur there are left out: a legend with 17 zeros hides the one that matters. An empty
    panel would be no better, for it looks the same when the metrics are gone.
    """
    shown = f"increase({selected}[$__range] @ end())"
    return (
        f"60 * {rate(selected, label, *labels)} and {_sum((label, *labels))} ({shown}) > 0"
        f' or label_replace(sum ({shown}) == 0, "{label}", "none", "", "")'
    )


def _sum(by: tuple[str, ...]) -> str:
    return f"sum by ({', '.join(by)})" if by else "sum"
