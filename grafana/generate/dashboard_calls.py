"""The rows Now and Failures: is it bad, and who fails, and how."""

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
"""Shares of bad calls at which alerts of that name fire."""
_SOME = 20
"""Calls that the alert wants to have seen within the hour."""
_ENOUGH = 1000
"""Calls of which 1 % may fail: of fewer, a handful of bad ones would use up the budget of a month."""


def now() -> Row:
    return Row("Now", _answered(), _budget(), _open_breakers(), _requests(), _p95(), stale_jobs())


def failures() -> Row:
    bad, calls = http("calls_total", outcome=BAD), http("calls_total")
    return Row(
        "Failures",
        timeseries(
            "Bad calls by upstream",
            "Failed or rejected, as a share of its calls in 5 minutes, after retries; a gap: no calls. The lines are "
            "what the objective allows (1 %) and where the alerts begin (6 % over 6 h, 14.4 % over 1 h). A peak of few "
            "calls is no alarm: see beside it how many they were. "
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
            "http_5xx, timeout, connect: the upstream is ill. dns, tls: look at this machine's network too. http_429, "
            "rate_limited: too many requests, see Quotas. breaker_open: not even tried. deadline_exceeded: time was up "
            "before it was sent. " + runbooks("UpstreamDown", "UpstreamDeadlineExceeded"),
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
            "Red: calls to that upstream are rejected without being sent. Orange: one call is let through to see "
            "whether it is back. It is the worst that any process sees. `other` are the servers of strangers, of which "
            "one is often down. " + runbooks("UpstreamBreakerOpen", "UpstreamBreakerFlapping"),
            {"{{upstream}}": _breakers()},
            {0: ("closed", "green"), 1: ("half open", "orange"), 2: ("open", "red")},
            empty=NO_DATA,
        ),
        timeseries(
            "Requests a minute, by status",
            "What the upstreams answered, retries included. `no answer`: the reasons above say why.",
            {"{{status_code}}": _named_status(per_minute(http("attempts_total"), "status_code"))},
            "short",
            empty=NO_DATA,
            stacked=True,
            most=1,
            colors={"2..|none": "green", "3..": "blue", "4..": "yellow", "5..": "red", "no answer": "purple"},
        ),
        timeseries(
            "Served from what was stored, a minute",
            "Users got older data because the upstream failed. None is good; some is better than an error. "
            + runbooks("FallbackServed"),
            {"{{upstream}}": per_minute(http("fallbacks_total"), "upstream")},
            "short",
            empty=NO_DATA,
            stacked=True,
            most=1,
        ),
    )


def _answered() -> Stat:
    calls, bad = http("calls_total", CONFIGURED), http("calls_total", CONFIGURED, outcome=BAD)
    enough = f"({increase(calls, 'upstream', window='1h')} >= {_SOME})"
    return stat(
        "Calls answered, last hour",
        "Of the upstream that answers the least, after retries: an average would hide one that is down behind those "
        "that are not. A 404 is an answer, a rejected call is none. The objective is 99 %. Red, below 85.6 %, is where "
        f"an alert wakes somebody. Upstreams with fewer than {_SOME} calls have no say, nor has `other`. "
        + runbooks("UpstreamErrorBudgetBurnFast"),
        f"bottomk(1, 1 - {increase(bad, 'upstream', window='1h')} / {enough})",
        "percentunit",
        [(None, GREY), (0, "red"), (1 - _FAST, "orange"), (SLO, "green")],
        empty="too few calls",
        decimals=1,
        name="{{upstream}}",
    )


def _budget() -> Stat:
    # The histogram's count is the same number in fewer series: over 30 days that is felt.
    calls = http("call_duration_seconds_count", CONFIGURED)
    bad = http("call_duration_seconds_count", CONFIGURED, outcome=BAD)
    total = f"({increase(calls, 'upstream', window='30d')} >= {_ENOUGH})"
    left = f"1 - {increase(bad, 'upstream', window='30d')} / {total} / {_ALLOWED:.2g}"
    return stat(
        "Error budget left, 30 days",
        "Of the upstream that has the least left: 1 % of its calls may go wrong in 30 days. At 0 % spare it: put "
        f"off what can wait. Upstreams with fewer than {_ENOUGH} calls have no say, nor has `other`. "
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
        "Their calls are rejected without being sent; half open counts too. Breakers close by themselves when the "
        "upstream is back. `other`, the servers of strangers, does not count: one of them is always down. "
        + runbooks("UpstreamBreakerOpen"),
        f"sum({not_closed} > bool 0)",
        "short",
        [(None, GREY), (0, "green"), (1, "red")],
        empty=NO_DATA,
    )


def _requests() -> Stat:
    return stat(
        "Requests sent",
        "Over the last 5 minutes, retries included. 0 is fine as long as no job is due.",
        rate(http("attempts_total"), window="5m"),
        "reqps",
        [(None, "blue")],
        empty=NO_DATA,
        decimals=1,
    )


def _p95() -> Stat:
    return stat(
        "95 % of calls took less than",
        "In the last hour, backoff and waiting included; rejected calls left out. Orange from 5 s on. "
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
