"""The rows Retries, Latency, and Quotas and saturation: why it fails, or is about to."""

from __future__ import annotations

from grafana.generate.dashboard_panels import NO_DATA, REASONS, Row, heatmap, runbooks, timeseries
from grafana.generate.dashboard_queries import SENT, http, latest, per_minute, quantile, rate, share

_SLOW = [(None, "green"), (5, "orange")]


def retries() -> Row:
    attempts, calls = http("call_attempts_sum"), http("call_attempts_count")
    return Row(
        "Retries",
        timeseries(
            "Attempts per call",
            "Over 5 minutes. 1: no retries; a gap: nothing was sent. Above the line almost every third request is a "
            "repetition, and the upstream is asked for more than it bears. " + runbooks("UpstreamRetryStorm"),
            {"{{upstream}}": share(rate(attempts, "upstream", window="5m"), rate(calls, "upstream", window="5m"))},
            "none",
            empty="no calls",
            limits=[(None, "green"), (1.43, "orange")],  # 30 % of the attempts
            most=1.5,
        ),
        timeseries(
            "Retries a minute, by cause",
            "What made them necessary. Some are normal: they are why users notice nothing.",
            {"{{reason}}": per_minute(http("retries_total"), "reason")},
            "short",
            empty=NO_DATA,
            stacked=True,
            most=1,
            colors=REASONS,
        ),
        timeseries(
            "Retries not made, a minute",
            "Wanted, but: budget_exhausted: so much fails that retries would make it worse. deadline: time was up. "
            "breaker_open: meanwhile nothing is sent. not_idempotent: it might have been done already. "
            + runbooks("UpstreamRetryBudgetExhausted"),
            {"{{reason}}": per_minute(http("retries_suppressed_total"), "reason")},
            "short",
            empty=NO_DATA,
            stacked=True,
            most=1,
            colors={
                "budget_exhausted": "red",
                "breaker_open|deadline": "blue",
                "not_idempotent": "purple",
                "none": "green",
            },
        ),
        timeseries(
            "Workers asleep in backoff",
            "How many, on average, wait before a retry instead of working. Counted when the wait is over: a long one "
            "is a late peak. As many as there are workers: the site stands still.",
            {"{{upstream}}": rate(http("backoff_seconds_total"), "upstream")},
            "short",
            empty=NO_DATA,
            width=12,
            stacked=True,
            most=1,
        ),
        timeseries(
            "Retry budget left",
            "Of the process that has the least. At 0 % failures are no longer retried, so users see more of them. "
            + runbooks("UpstreamRetryBudgetExhausted"),
            {"{{upstream}}": f"min by (upstream) ({http('retry_budget_remaining_ratio')})"},
            "percentunit",
            empty=NO_DATA,
            width=12,
            most=1,
            legend="min",
        ),
    )


def latency() -> Row:
    calls, attempts = http("call_duration_seconds_bucket", outcome=SENT), http("attempt_duration_seconds_bucket")
    return Row(
        "Latency",
        timeseries(
            "Calls: how long they took",
            "Backoff and waiting included, rejected calls left out; a gap: no calls. Much above the requests beside "
            "it: the time goes into retries and waiting, not to the upstream.",
            {f"{percent} %": quantile(percent / 100, calls) for percent in (50, 95, 99)},
            "s",
            empty="no calls",
        ),
        timeseries(
            "Requests: 95 % took less than",
            "Single requests, by upstream. Above the line for 15 minutes: an alert. " + runbooks("UpstreamSlow"),
            {"{{upstream}}": quantile(0.95, attempts, "upstream")},
            "s",
            empty="no requests",
            limits=_SLOW,
        ),
        heatmap(
            "Requests by duration",
            "The brighter, the more. Two bands: some are fast (caches, 304) and some are not. A band at the top that "
            "ends sharply is a timeout.",
            f"sum by (le) (increase({attempts}[$__rate_interval]))",
            "s",
            empty=NO_DATA,
        ),
    )


def quotas() -> Row:
    waits = http("ratelimit_wait_seconds_total")
    return Row(
        "Quotas and saturation",
        timeseries(
            "Quota left",
            "As the upstream last said, to the process that heard of the least; after its reset it is full again. At "
            "0 % work waits for the reset: nothing is lost, but late. "
            + runbooks("UpstreamRateLimitForecast", "UpstreamRateLimitExhausted"),
            {"{{upstream}} {{partition}} {{resource}}": _quota_left()},
            "percentunit",
            empty="no upstream has named a quota",
            most=1,
            legend="min",
        ),
        timeseries(
            "Workers waiting for a quota",
            "How many, on average, because an upstream asked for it. Counted when the wait is over. "
            + runbooks("UpstreamRateLimitExhausted"),
            {"{{upstream}}": rate(waits, "upstream")},
            "short",
            empty=NO_DATA,
            stacked=True,
            most=1,
        ),
        timeseries(
            "In flight, of what is allowed",
            "Requests under way as a share of max_concurrency, of all processes together. Above the line: calls queue "
            "here, and the upstream is not the reason. Upstreams without a limit are left out. "
            + runbooks("UpstreamConcurrencySaturated"),
            {"{{upstream}}": _saturation()},
            "percentunit",
            empty="no upstream has a limit",
            limits=[(None, "green"), (0.9, "orange")],
            most=1,
        ),
    )


def _quota_left() -> str:
    limit, reset = http("ratelimit_limit"), http("ratelimit_reset_timestamp_seconds")
    said = f"{http('ratelimit_remaining')} / ({limit} > 0) and {reset} > time()"
    return (
        f"min by (upstream, partition, resource) ({said}) or max by (upstream, partition, resource) ({limit} > bool 0)"
    )


def _saturation() -> str:
    limit = latest(http("concurrency_limit"), "upstream")
    return f"{latest(http('active_requests'), 'upstream')} / ({limit} > 0 < +Inf)"
