"""All alerts: the one source of Prometheus' rules and of those that Grafana evaluates by itself.

The service level: 99 % of the calls to an upstream are answered, over 30 days. A call that failed or was rejected is
bad; a 404 is an answer. Thresholds of burn rates are those of Google's SRE workbook: 14.4, 6, 3 and 1 times the 1 %.

No expression divides by what may be zero or tells of what it has no series for: NaN and nothing do not fire.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from textwrap import dedent
from typing import Literal

RUNBOOKS = "https://github.com/djangopackages/djangopackages/blob/main/docs/runbooks"
"""Where alerts send people. Your fork, or wherever you keep docs/runbooks."""

_UPSTREAM = '{{ if eq $labels.upstream "pypi" }}PyPI{{ else }}{{ $labels.upstream }}{{ end }}'
_REASONS = (
    '{{ range $i, $reason := query (printf "sort_desc(topk(3, upstream_reason:outbound_http_calls_bad:increase1h'
    '{upstream=%q} > 0))" $labels.upstream) }}{{ if $i }}, {{ else }} Reasons within the last hour: {{ end }}'
    '{{ $reason.Labels.reason }} ({{ $reason.Value | printf "%.0f" }}){{ end }}'
)


@dataclass(frozen=True, kw_only=True)
class Alert:
    """An alert; texts are templates that both Prometheus and Grafana understand."""

    name: str
    severity: Literal["critical", "warning", "info", "none"]
    expression: str
    """PromQL: the series that the alert is about, and no other. Windows belong into recording rules."""
    pending: str = ""
    """How long there must be such a series."""
    keep_firing: str = ""
    summary: str
    description: str
    details: str = ""
    """Goes on with the description, where a template can ask for more: Grafana's cannot."""

    def annotations(self, details: str = "") -> dict[str, str]:
        return {
            "summary": self.summary,
            "description": self.description + details,
            "runbook_url": f"{RUNBOOKS}/{self.name}.md",
        }

    @property
    def slug(self) -> str:
        return re.sub(r"(?<!^)(?=[A-Z])", "-", self.name).lower()

    @property
    def receiver(self) -> str:
        """The contact point in grafana/alerting/contact-points.yaml."""
        return "watchdog" if self.severity == "none" else "operators"


def _promql(text: str) -> str:
    return dedent(text).strip()


ALERTS: tuple[Alert, ...] = (
    Alert(
        name="UpstreamErrorBudgetBurnFast",
        severity="critical",
        expression=_promql("""
            upstream:outbound_http_calls_bad:ratio1h > 0.144
            and upstream:outbound_http_calls_bad:ratio5m > 0.144
            and upstream:outbound_http_calls_bad:increase1h >= 10
        """),
        pending="2m",
        keep_firing="10m",
        summary=_UPSTREAM + " failure rate: {{ $value | humanizePercentage }} of calls failed over the last hour",
        description="Of the calls to {{ $labels.upstream }}, {{ $value | humanizePercentage }} failed or were rejected"
        " within the last hour, and more than 14.4% in its last five minutes. At that pace what is allowed for a month"
        " is gone in two days.",
        details=_REASONS,
    ),
    Alert(
        name="UpstreamErrorBudgetBurnMedium",
        severity="critical",
        # An outage that BurnFast has told of leaves the last half hour later than BurnFast ends: nobody is woken again.
        expression=_promql("""
            upstream:outbound_http_calls_bad:ratio6h > 0.06
            and upstream:outbound_http_calls_bad:ratio30m > 0.06
            and upstream:outbound_http_calls:increase6h >= 50
            and upstream:outbound_http_calls_bad:increase6h >= 10
            unless (
              upstream:outbound_http_calls_bad:ratio1h > 0.144
              and upstream:outbound_http_calls:increase1h >= 20
              and upstream:outbound_http_calls_bad:increase1h >= 10
              unless upstream:outbound_http_calls_bad:ratio5m > 0.144
            )
        """),
        pending="15m",
        summary=_UPSTREAM + " failure rate: {{ $value | humanizePercentage }} of calls failed over the last 6 hours",
        description="Of the calls to {{ $labels.upstream }}, {{ $value | humanizePercentage }} failed or were rejected"
        " within the last 6 hours, and more than 6% in the last half hour. At that pace what is allowed for a month is"
        " gone in five days.",
        details=_REASONS,
    ),
    Alert(
        name="UpstreamErrorBudgetBurnSlow",
        severity="warning",
        expression=_promql("""
            (
              upstream:outbound_http_calls_bad:ratio1d > 0.03
              and upstream:outbound_http_calls_bad:ratio2h > 0.03
              and upstream:outbound_http_calls_bad:increase1d >= 20
            )
            or
            (
              upstream:outbound_http_calls_bad:ratio3d > 0.01
              and upstream:outbound_http_calls_bad:ratio6h > 0.01
              and upstream:outbound_http_calls_bad:increase3d >= 30
            )
        """),
        pending="1h",
        summary=_UPSTREAM + " failure rate: {{ $value | humanizePercentage }} of calls failed over the last days",
        description="Of the calls to {{ $labels.upstream }}, {{ $value | humanizePercentage }} failed or were rejected"
        " within the last day (if that is more than 3%) or the last three, and it goes on. At that pace more than is"
        " allowed for a month fails.",
        details=_REASONS,
    ),
    Alert(
        name="UpstreamDown",
        severity="warning",
        expression=_promql("""
            upstream:outbound_http_calls_bad:ratio15m > 0.9
            and upstream:outbound_http_calls:increase15m >= 5
        """),
        pending="5m",
        summary=_UPSTREAM + " is down: {{ $value | humanizePercentage }} of calls failed over 15 minutes",
        description="Hardly a call to {{ $labels.upstream }} is answered.",
        details=_REASONS,
    ),
    Alert(
        name="UpstreamBreakerOpen",
        severity="warning",
        # Half-open is a probe under way: its failure must not begin the ten minutes anew. Of `other` each host has a
        # breaker of its own, and one of them that is dead is no news.
        expression='sum by (upstream) (outbound_http_breaker_state{state=~"open|half_open", upstream!="other"}) > 0',
        pending="10m",
        summary=_UPSTREAM + " is left alone: its circuit breaker has not been closed for 10 minutes",
        description='{{ $value | printf "%.0f" }} processes reject calls to {{ $labels.upstream }}, but for a probe at'
        " most every five minutes, none of which has succeeded.",
    ),
    Alert(
        name="UpstreamBreakerFlapping",
        severity="warning",
        # An outage that lasts opens the breaker after every probe, without ever closing it.
        expression=_promql("""
            upstream:outbound_http_breaker_openings:increase1h > 5
            and upstream:outbound_http_breaker_closings:increase1h
              > upstream:outbound_http_breaker_openings:increase1h / 2
        """),
        pending="5m",
        summary=_UPSTREAM + ' comes and goes: its circuit breaker opened {{ $value | printf "%.0f" }} times in an hour',
        description="{{ $labels.upstream }} answers its probes and then fails again.",
    ),
    Alert(
        name="UpstreamRateLimitForecast",
        severity="warning",
        expression=_promql("""
            upstream_partition_resource:outbound_http_ratelimit_remaining:min
              / -(upstream_partition_resource:outbound_http_ratelimit_remaining:deriv10m < 0)
              < (upstream_partition_resource:outbound_http_ratelimit_reset_timestamp_seconds:max - time())
            and upstream_partition_resource:outbound_http_ratelimit_remaining:min
              < 0.5 * upstream_partition_resource:outbound_http_ratelimit_limit:max
            and upstream_partition_resource:outbound_http_ratelimit_reset_timestamp_seconds:spread10m < 60
        """),
        pending="3m",
        summary=_UPSTREAM + " quota ({{ $labels.resource }}) is used up in {{ $value | humanizeDuration }}",
        description="The quota {{ $labels.resource }} of {{ $labels.upstream }} is used faster than it is renewed: at"
        " the pace of the last ten minutes it is gone in {{ $value | humanizeDuration }}, before it is full again.",
    ),
    Alert(
        name="UpstreamRateLimitExhausted",
        severity="warning",
        expression=_promql("""
            (upstream_partition_resource:outbound_http_ratelimit_reset_timestamp_seconds:max - time()) > 300
            and upstream_partition_resource:outbound_http_ratelimit_remaining:min <= 0
        """),
        pending="1m",
        summary=_UPSTREAM + " quota ({{ $labels.resource }}) is used up for {{ $value | humanizeDuration }}",
        description="Nothing is left of the quota {{ $labels.resource }} of {{ $labels.upstream }}; it is full again in"
        " {{ $value | humanizeDuration }}. Until then calls wait, or are rejected.",
    ),
    Alert(
        name="UpstreamRetryStorm",
        severity="warning",
        expression=_promql("""
            upstream:outbound_http_retries:increase10m
              / (upstream:outbound_http_attempts:increase10m > 20)
              > 0.3
        """),
        pending="10m",
        summary=_UPSTREAM + ": {{ $value | humanizePercentage }} of attempts are retries",
        description="Of the attempts at {{ $labels.upstream }} within ten minutes, {{ $value | humanizePercentage }}"
        " were made because the one before had failed.",
    ),
    Alert(
        name="UpstreamRetryBudgetExhausted",
        severity="warning",
        expression="upstream:outbound_http_retries_over_budget:increase10m > 0",
        pending="10m",
        summary=_UPSTREAM + ': {{ $value | printf "%.0f" }} retries were not made, because there were too many',
        description="So many attempts at {{ $labels.upstream }} fail that the retry budget allows no more:"
        ' {{ $value | printf "%.0f" }} calls within ten minutes ended without the retry that they would have had.',
    ),
    Alert(
        name="UpstreamDeadlineExceeded",
        severity="warning",
        expression=_promql("""
            (upstream:outbound_http_calls_out_of_time:increase30m >= 5)
              / upstream:outbound_http_calls:increase30m
              > 0.05
        """),
        pending="10m",
        summary=_UPSTREAM + ": {{ $value | humanizePercentage }} of calls were never sent, for their time was over",
        description="Of the calls to {{ $labels.upstream }} within half an hour, {{ $value | humanizePercentage }}"
        " waited in vain for a slot, their turn or the end of a rate limit.",
    ),
    Alert(
        name="UpstreamSlow",
        severity="warning",
        expression=_promql("""
            upstream:outbound_http_attempt_duration_seconds:p95_15m > 5
            and upstream:outbound_http_attempts:increase15m >= 20
        """),
        pending="15m",
        summary=_UPSTREAM + " is slow: one attempt in twenty takes longer than {{ $value | humanizeDuration }}",
        description="95% of the attempts at {{ $labels.upstream }} within a quarter of an hour took up to"
        " {{ $value | humanizeDuration }}, the others longer. At 10 s an attempt is given up.",
    ),
    Alert(
        name="UpstreamConcurrencySaturated",
        severity="warning",
        expression="upstream_role:outbound_http_concurrency:ratio > 0.9",
        pending="10m",
        summary=_UPSTREAM + ": {{ $value | humanizePercentage }} of the slots are taken"
        "{{ with $labels.role }} ({{ . }}){{ end }}",
        description="Of the attempts at {{ $labels.upstream }} that may be in flight at once,"
        " {{ $value | humanizePercentage }} are, for ten minutes now: calls wait for each other.",
    ),
    Alert(
        name="FallbackServed",
        severity="info",
        expression=_promql("""
            (upstream:outbound_http_fallbacks:increase1h >= 10)
              > 0.2 * upstream:outbound_http_calls:increase1h
        """),
        pending="30m",
        summary=_UPSTREAM + ': what is stored had to serve {{ $value | printf "%.0f" }} times in an hour',
        description="Because {{ $labels.upstream }} did not answer, the site shows what it knew before."
        ' That happened {{ $value | printf "%.0f" }} times, which is more than a fifth of the calls.',
    ),
    Alert(
        name="MetricsTargetDown",
        severity="critical",
        expression='up{job="site"} == 0',
        pending="5m",
        summary="Prometheus cannot scrape the site at {{ $labels.instance }}",
        description="The scrape of {{ $labels.instance }}/metrics fails. The site may be down; and what goes wrong"
        " there meanwhile is not seen.",
    ),
    Alert(
        name="MetricsAbsent",
        severity="critical",
        # The sum has no labels, and so has the alert: it is not about PyPI.
        expression='absent(sum(outbound_http_calls_total{upstream="pypi"}))',
        pending="10m",
        summary="Nothing is known of outbound calls",
        description="Prometheus has no count of calls to PyPI, which the site shows from its start on, at zero. No"
        " other alert about upstreams can fire.",
    ),
    Alert(
        name="BatchJobStale",
        severity="critical",
        expression=_promql("""
            time() - (
              max by (command) (batch_job_last_success_timestamp_seconds > 0)
              or min by (command) (batch_job_registered_timestamp_seconds > 0)
            )
            > 1.5 * max by (command) (batch_job_expected_interval_seconds > 0)
        """),
        pending="10m",
        summary="{{ $labels.command }} has not succeeded for {{ $value | humanizeDuration }}",
        description="It is {{ $value | humanizeDuration }} since {{ $labels.command }} last ended well (or, if it never"
        " did, since it is known), which is more than one and a half times what is expected.",
    ),
    Alert(
        name="BatchJobFailed",
        severity="warning",
        expression="command:batch_job_runs_failed:increase1d >= 2",
        summary='{{ $labels.command }} failed {{ $value | printf "%.0f" }} times within a day',
        description='{{ $value | printf "%.0f" }} runs of {{ $labels.command }} ended with an error within a day. This'
        " stays until the last but one of them is a day old.",
    ),
    Alert(
        name="BatchJobDied",
        severity="warning",
        expression=_promql("""
            time() - (
              max by (command) (batch_job_last_start_timestamp_seconds > 0)
              > (
                max by (command) (batch_job_last_end_timestamp_seconds)
                or 0 * max by (command) (batch_job_last_start_timestamp_seconds)
              )
            )
            unless max by (command) (batch_job_running > 0)
        """),
        pending="5m",
        summary="{{ $labels.command }} died",
        description="{{ $labels.command }} was started {{ $value | humanizeDuration }} ago. It is not running, and it"
        " never told how it ended: it was killed, or its machine went down.",
    ),
    Alert(
        name="BatchJobItemErrorsHigh",
        severity="warning",
        expression=_promql("""
            command:batch_job_items_failed:increase1d
              / (command:batch_job_items_tried:increase1d >= 10)
              > 0.1
        """),
        pending="10m",
        summary="{{ $labels.command }}: {{ $value | humanizePercentage }} of what it tried failed",
        description="Of what {{ $labels.command }} tried within a day, {{ $value | humanizePercentage }} failed."
        " What it left alone (a source that is down, a quota) does not count.",
    ),
    Alert(
        name="Watchdog",
        severity="none",
        expression="vector(1)",
        summary="Alerts get through",
        description="This alert always fires. Whoever receives it raises the alarm when it stays away.",
    ),
)
