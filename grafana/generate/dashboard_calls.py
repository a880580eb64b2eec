"""The rows Now and Failures of the dashboard: the current state, and which upstream fails for which reason."""

from __future__ import annotations

from grafana_foundation_sdk.builders.stat import Panel as Stat

from grafana.generate.dashboard_jobs import stale_jobs
from grafana.generate.dashboard_panels import GREY, NO_DATA, REASONS, Row, runbooks, stat, states, timeseries
from grafana.generate.dashboard_queries import (
    BAD,
    CONFIGURED,
    SENT,
    SLO,
    http,
    increase,
    latest,
    per_minute,
    quantile,
    rate,
    share,
)

_ALLOWED = 1 - SLO
_FAST = round(14.4 * _ALLOWED, 4)
_MEDIUM = round(6 * _ALLOWED, 4)
"""Shares of bad calls at which the alerts UpstreamErrorBudgetBurnFast and UpstreamErrorBudgetBurnMedium fire."""
_SOME = 20
"""Minimum number of calls within the hour."""
_ENOUGH = 1000
"""Minimum number of calls within 30 days. With fewer calls, a few bad calls would use up the error budget."""


def now() -> Row:
    return Row("Now", _successes(), _budget(), _open_breakers(), _requests(), _p95(), stale_jobs())


def failures() -> Row:
    bad, calls = http("calls_total", outcome=BAD), http("calls_total")
    return Row(
        "Failures",
        timeseries(
            "Bad calls by upstream",
            "Share of calls within 5 minutes that failed or were rejected, after retries. A gap: no calls. The lines "
            "show what the objective allows (1 %) and where the alerts begin (6 % over 6 h, 14.4 % over 1 h). A peak "
            "of few calls needs no action: the next panel shows the number of bad calls. "
            + runbooks("UpstreamDown", "UpstreamErrorBudgetBurnFast", "UpstreamErrorBudgetBurnSlow"),
            {"{{upstream}}": share(rate(bad, "upstream", window="5m"), rate(calls, "upstream", window="5m"))},
            "percentunit",
            empty="no calls",
            width=12,
            limits=[(None, "green"), (_ALLOWED, "yellow"), (_MEDIUM, "orange"), (_FAST, "red")],
            most=2 * _ALLOWED,
        ),
        timeseries(
            "Bad calls a minute, by reason",
            "http_5xx, timeout, connect: the upstream fails. dns, tls: check this machine's network too. http_429, "
            "rate_limited: too many requests, see Quotas. breaker_open: rejected without being sent. "
            "deadline_exceeded: the total timeout expired before the call was sent. "
            + runbooks("UpstreamDown", "UpstreamDeadlineExceeded"),
            {"{{reason}}": per_minute(bad, "reason")},
            "short",
            empty=NO_DATA,
            width=12,
            stacked=True,
            most=1,
            colors=REASONS,
        ),
        states(
            "Breakers",
            "Red: calls to that upstream are rejected without being sent. Orange: one call is sent as a probe. The "
            "panel shows the worst state of all processes. `other` contains the servers that are not configured, of "
            "which one is often down. " + runbooks("UpstreamBreakerOpen", "UpstreamBreakerFlapping"),
            {"{{upstream}}": _breakers()},
            {0: ("closed", "green"), 1: ("half open", "orange"), 2: ("open", "red")},
            empty=NO_DATA,
        ),
        timeseries(
            "Requests a minute, by status",
            "Statuses that the upstreams returned, retries included. `no answer`: no response; the panel of reasons "
            "shows why.",
            {"{{status_code}}": _named_status(per_minute(http("attempts_total"), "status_code"))},
            "short",
            empty=NO_DATA,
            stacked=True,
            most=1,
            colors={"2..|none": "green", "3..": "blue", "4..": "yellow", "5..": "red", "no answer": "purple"},
        ),
        timeseries(
            "Stored data used, a minute",
            "Users got older data because the upstream failed. Zero is best; stored data is better than an error. "
            + runbooks("FallbackServed"),
            {"{{upstream}}": per_minute(http("fallbacks_total"), "upstream")},
            "short",
            empty=NO_DATA,
            stacked=True,
            most=1,
        ),
    )


def _successes() -> Stat:
    calls, bad = http("calls_total", CONFIGURED), http("calls_total", CONFIGURED, outcome=BAD)
    enough = f"({increase(calls, 'upstream', window='1h')} >= {_SOME})"
    return stat(
        "Calls that succeeded, last hour",
        "Share of successful calls of the worst upstream, after retries. (An average would hide a single upstream that "
        "is down.) A 404 counts as a success, a rejected call does not. The objective is 99 %. Red, below 85.6 %, is "
        f"where a critical alert fires. Upstreams with fewer than {_SOME} calls, and `other`, are left out. "
        + runbooks("UpstreamErrorBudgetBurnFast"),
        f"bottomk(1, 1 - {increase(bad, 'upstream', window='1h')} / {enough})",
        "percentunit",
        [(None, GREY), (0, "red"), (1 - _FAST, "orange"), (SLO, "green")],
        empty="too few calls",
        decimals=1,
        name="{{upstream}}",
    )


def _budget() -> Stat:
    # The histogram's count is the same number in fewer series, which makes a query over 30 days faster.
    calls = http("call_duration_seconds_count", CONFIGURED)
    bad = http("call_duration_seconds_count", CONFIGURED, outcome=BAD)
    total = f"({increase(calls, 'upstream', window='30d')} >= {_ENOUGH})"
    left = f"1 - {increase(bad, 'upstream', window='30d')} / {total} / {_ALLOWED:.2g}"
    return stat(
        "Error budget left, 30 days",
        "Of the upstream that has the least left: 1 % of its calls may fail within 30 days. At 0 %, postpone work "
        f"for it that can wait. Upstreams with fewer than {_ENOUGH} calls, and `other`, are left out. "
        + runbooks("UpstreamErrorBudgetBurnSlow"),
        f"bottomk(1, clamp_min({left}, 0))",
        "percentunit",
        [(None, GREY), (0, "red"), (0.001, "orange"), (0.25, "green")],
        empty="too few calls",
        name="{{upstream}}",
    )


def _open_breakers() -> Stat:
    not_closed = latest(http("breaker_state", CONFIGURED, state="open|half_open"), "upstream")
    return stat(
        "Upstreams with an open breaker",
        "Their calls are rejected without being sent; half open counts too. Breakers close automatically when the "
        "upstream works again. `other`, the servers that are not configured, is left out: one is always down. "
        + runbooks("UpstreamBreakerOpen"),
        f"sum({not_closed} > bool 0)",
        "short",
        [(None, GREY), (0, "green"), (1, "red")],
        empty=NO_DATA,
    )


def _requests() -> Stat:
    return stat(
        "Requests sent",
        "Over the last 5 minutes, retries included. 0 is normal while no job is due.",
        rate(http("attempts_total"), window="5m"),
        "reqps",
        [(None, "blue")],
        empty=NO_DATA,
        decimals=1,
    )


def _p95() -> Stat:
    return stat(
        "95 % of calls took less than",
        "Within the last hour, including backoff and waiting; rejected calls are left out. Orange from 5 s on. "
        + runbooks("UpstreamSlow"),
        quantile(0.95, http("call_duration_seconds_bucket", outcome=SENT), window="1h"),
        "s",
        [(None, GREY), (0, "green"), (5, "orange"), (30, "red")],
        empty="no calls",
        decimals=1,
    )


def _breakers() -> str:
    half_open, is_open = (
        f"({latest(http('breaker_state', state=state), 'upstream')} > bool 0)" for state in ("half_open", "open")
    )
    return f"clamp_max({half_open} + 2 * {is_open}, 2)"


def _named_status(statuses: str) -> str:
    return f'label_replace({statuses}, "status_code", "no answer", "status_code", "")'
