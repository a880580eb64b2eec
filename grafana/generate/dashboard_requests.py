"""The rows Retries, Latency, and Quotas and saturation of the dashboard: causes of present and future failures."""

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
            "Over 5 minutes. 1: no retries. A gap: nothing was sent. Above the line, almost every third request is a "
            "retry, and the upstream is overloaded. " + runbooks("UpstreamRetryStorm"),
            {"{{upstream}}": share(rate(attempts, "upstream", window="5m"), rate(calls, "upstream", window="5m"))},
            "none",
            empty="no calls",
            limits=[(None, "green"), (1.43, "orange")],  # 30 % of the attempts
            most=1.5,
        ),
        timeseries(
            "Retries a minute, by cause",
            "The failures that caused the retries. A few retries are normal: because of them, users notice nothing.",
            {"{{reason}}": per_minute(http("retries_total"), "reason")},
            "short",
            empty=NO_DATA,
            stacked=True,
            most=1,
            colors=REASONS,
        ),
        timeseries(
            "Retries not made, a minute",
            "Retries that were due but not made. budget_exhausted: so many attempts fail that retries would make it "
            "worse. deadline: the total timeout leaves no time. breaker_open: the breaker opened before the retry. "
            "not_idempotent: the server may already have processed the request. "
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
            "Workers waiting in backoff",
            "Average number of workers that wait before a retry instead of working. A wait is counted when it ends, so "
            "a long wait appears as a late peak. If the number reaches that of all workers, no work is done.",
            {"{{upstream}}": rate(http("backoff_seconds_total"), "upstream")},
            "short",
            empty=NO_DATA,
            width=12,
            stacked=True,
            most=1,
        ),
        timeseries(
            "Retry budget left",
            "Of the process that has the least. At 0 %, failures are not retried, so users see more of them. "
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
            "Including backoff and waiting; rejected calls are left out. A gap: no calls. If calls take much longer "
            "than the requests in the next panel, the time goes into retries and waiting, not to the upstream.",
            {f"{percent} %": quantile(percent / 100, calls) for percent in (50, 95, 99)},
            "s",
            empty="no calls",
        ),
        timeseries(
            "Requests: 95 % took less than",
            "Single requests, by upstream. Above the line for 15 minutes, an alert fires. " + runbooks("UpstreamSlow"),
            {"{{upstream}}": quantile(0.95, attempts, "upstream")},
            "s",
            empty="no requests",
            limits=_SLOW,
        ),
        heatmap(
            "Requests by duration",
            "Brighter cells contain more requests. Two bands: some requests are fast (caches, 304) and others are not. "
            "A band at the top with a sharp edge shows timeouts.",
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
            "The lowest value that the upstream last announced to any process. After its reset the quota is full "
            "again. At 0 %, work waits for the reset: nothing is lost, only delayed. "
            + runbooks("UpstreamRateLimitForecast", "UpstreamRateLimitExhausted"),
            {"{{upstream}} {{partition}} {{resource}}": _quota_left()},
            "percentunit",
            empty="no upstream has announced a quota",
            most=1,
            legend="min",
        ),
        timeseries(
            "Workers waiting for a quota",
            "Average number of workers that wait because an upstream asked for a pause, counted when the wait ends. "
            + runbooks("UpstreamRateLimitExhausted"),
            {"{{upstream}}": rate(waits, "upstream")},
            "short",
            empty=NO_DATA,
            stacked=True,
            most=1,
        ),
        timeseries(
            "Slots in use",
            "Requests in flight as a share of max_concurrency, over all processes. Above the line, calls wait for a "
            "slot, and the upstream is not the cause. Upstreams without a limit are left out. "
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
