"""All alerts. From them, the rules for Prometheus and the rules that Grafana evaluates itself are generated.

The service level objective: over 30 days, 99 % of the calls to an upstream succeed. A call that failed or was rejected
counts as bad; a client error such as 404 counts as good. The thresholds of burn rates are those of Google's SRE
workbook: 14.4, 6, 3 and 1 times the 1 % of bad calls.

No expression divides by a value that may be zero, and no alert fires without a series.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from textwrap import dedent
from typing import Literal

RUNBOOKS = "https://github.com/djangopackages/djangopackages/blob/main/docs/runbooks"
"""The address to which alerts link. Change it if docs/runbooks is elsewhere, for example in a fork."""

_UPSTREAM = '{{ if eq $labels.upstream "pypi" }}PyPI{{ else }}{{ $labels.upstream }}{{ end }}'
_QUOTA = (
    _UPSTREAM + ' quota{{ if or $labels.partition (ne $labels.resource "other") }} ('
    '{{ if ne $labels.resource "other" }}{{ $labels.resource }}{{ if $labels.partition }}, {{ end }}{{ end }}'
    "{{ $labels.partition }}){{ end }}"
)
"""The name of a quota, such as "github quota (core, token)". If the upstream names no resource, it is "other"."""
_REASONS = (
    '{{ range $i, $reason := query (printf "sort_desc(topk(3, upstream_reason:outbound_http_calls_bad:increase1h'
    '{upstream=%q} > 0))" $labels.upstream) }}{{ if $i }}, {{ else }} Reasons within the last hour: {{ end }}'
    '{{ $reason.Labels.reason }} ({{ $reason.Value | printf "%.0f" }}){{ end }}'
)


@dataclass(frozen=True, kw_only=True)
class Alert:
    """An alert. Its texts are templates that both Prometheus and Grafana understand."""

    name: str
    severity: Literal["critical", "warning", "info", "none"]
    expression: str
    """A PromQL expression that selects only the series for which the alert fires. Windows belong in recording rules."""
    pending: str = ""
    """How long the expression must select the series before the alert fires."""
    keep_firing: str = ""
    summary: str
    description: str
    details: str = ""
    """A text that is appended to the description for Prometheus, whose templates can query. Grafana's cannot."""

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
        " within the last hour, and more than 14.4% within the last five minutes. This rate uses up the error budget of"
        " 30 days in two days.",
        details=_REASONS,
    ),
    Alert(
        name="UpstreamErrorBudgetBurnMedium",
        severity="critical",
        # After an outage, BurnFast ends while the outage is still within the last half hour. This alert must not fire
        # then.
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
        " within the last 6 hours, and more than 6% within the last half hour. This rate uses up the error budget of 30"
        " days in five days.",
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
        " within the last day (if that is more than 3%) or the last three days, and calls continue to fail. This rate"
        " exceeds the error budget of 30 days.",
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
        description="More than 90% of the calls to {{ $labels.upstream }} within 15 minutes failed or were rejected.",
        details=_REASONS,
    ),
    Alert(
        name="UpstreamBreakerOpen",
        severity="warning",
        # Half-open means that a probe is in progress. A failed probe must not restart the ten minutes. `other` has a
        # breaker for each host, and a single host that is down needs no alert.
        expression='sum by (upstream) (outbound_http_breaker_state{state=~"open|half_open", upstream!="other"}) > 0',
        pending="10m",
        summary=_UPSTREAM + ": the circuit breaker has not been closed for 10 minutes",
        description="Circuit breakers reject calls to {{ $labels.upstream }}. They let through only single probes, and"
        ' no probe has succeeded. Number of processes with such a breaker: {{ $value | printf "%.0f" }}.',
    ),
    Alert(
        name="UpstreamBreakerFlapping",
        severity="warning",
        # A continuous outage opens the breaker after every probe without ever closing it.
        expression=_promql("""
            upstream:outbound_http_breaker_openings:increase1h > 5
            and upstream:outbound_http_breaker_closings:increase1h
              > upstream:outbound_http_breaker_openings:increase1h / 2
        """),
        pending="5m",
        summary=_UPSTREAM + ' is unstable: the circuit breaker opened {{ $value | printf "%.0f" }} times in an hour',
        description="Probes to {{ $labels.upstream }} succeed, but it fails again when all calls are sent.",
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
        summary=_QUOTA + " will be used up in {{ $value | humanizeDuration }}",
        description="At the rate of the last ten minutes, this quota will be used up in"
        " {{ $value | humanizeDuration }}, before it is full again.",
    ),
    Alert(
        name="UpstreamRateLimitExhausted",
        severity="warning",
        expression=_promql("""
            (upstream_partition_resource:outbound_http_ratelimit_reset_timestamp_seconds:max - time()) > 300
            and upstream_partition_resource:outbound_http_ratelimit_remaining:min <= 0
        """),
        pending="1m",
        summary=_QUOTA + " is used up for {{ $value | humanizeDuration }}",
        description="This quota is used up. It will be full again in {{ $value | humanizeDuration }}. Until then, calls"
        " wait or are rejected.",
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
        description="Of the attempts sent to {{ $labels.upstream }} within ten minutes,"
        " {{ $value | humanizePercentage }} were made because the previous attempt had failed.",
    ),
    Alert(
        name="UpstreamRetryBudgetExhausted",
        severity="warning",
        expression="upstream:outbound_http_retries_over_budget:increase10m > 0",
        pending="10m",
        summary=_UPSTREAM + ': retries suppressed by the retry budget: {{ $value | printf "%.0f" }}',
        description="So many attempts sent to {{ $labels.upstream }} fail that the retry budget is exhausted. Number of"
        ' calls within ten minutes that ended without the retry that was due: {{ $value | printf "%.0f" }}.',
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
        summary=_UPSTREAM + ": {{ $value | humanizePercentage }} of calls timed out before they were sent",
        description="Of the calls to {{ $labels.upstream }} within half an hour, {{ $value | humanizePercentage }}"
        " reached their total timeout while they waited for a slot, their turn or the end of a rate limit.",
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
        description="95% of the attempts sent to {{ $labels.upstream }} within a quarter of an hour took up to"
        " {{ $value | humanizeDuration }}, the others longer. By default, an attempt is cut off after 10 s.",
    ),
    Alert(
        name="UpstreamConcurrencySaturated",
        severity="warning",
        expression="upstream_role:outbound_http_concurrency:ratio > 0.9",
        pending="10m",
        summary=_UPSTREAM + ": {{ $value | humanizePercentage }} of the slots are in use"
        "{{ with $labels.role }} ({{ . }}){{ end }}",
        description="{{ $value | humanizePercentage }} of the slots (max_concurrency) for {{ $labels.upstream }} are in"
        " use. For ten minutes, more than 90% have been in use, so calls wait for other calls to end.",
    ),
    Alert(
        name="FallbackServed",
        severity="info",
        expression=_promql("""
            (upstream:outbound_http_fallbacks:increase1h >= 10)
              > 0.2 * upstream:outbound_http_calls:increase1h
        """),
        pending="30m",
        summary=_UPSTREAM + ': stored data was used {{ $value | printf "%.0f" }} times in an hour',
        description="Because {{ $labels.upstream }} failed, the site used stored data"
        ' {{ $value | printf "%.0f" }} times, for more than a fifth of the calls.',
    ),
    Alert(
        name="MetricsTargetDown",
        severity="critical",
        expression='up{job="site"} == 0',
        pending="5m",
        summary="Prometheus cannot scrape the site at {{ $labels.instance }}",
        description="The scrape of {{ $labels.instance }}/metrics fails. The site may be down. As long as this lasts,"
        " no other alert about the site can fire.",
    ),
    Alert(
        name="MetricsAbsent",
        severity="critical",
        # The sum has no labels, so the alert has no label `upstream`: it is not about PyPI.
        expression='absent(sum(outbound_http_calls_total{upstream="pypi"}))',
        pending="10m",
        summary="Metrics of outbound calls are missing",
        description="Prometheus has no count of calls to PyPI, although the site exports this count from its start,"
        " beginning with zero. No other alert about upstreams can fire.",
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
        description="{{ $labels.command }} last succeeded {{ $value | humanizeDuration }} ago (or was registered then,"
        " if it never succeeded). That is more than one and a half times its expected interval.",
    ),
    Alert(
        name="BatchJobFailed",
        severity="warning",
        expression="command:batch_job_runs_failed:increase1d >= 2",
        summary='{{ $labels.command }} failed {{ $value | printf "%.0f" }} times within a day',
        description='{{ $value | printf "%.0f" }} runs of {{ $labels.command }} ended with an error within a day. This'
        " alert ends when fewer than two of these runs are less than a day old.",
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
        summary="{{ $labels.command }} was killed",
        description="{{ $labels.command }} started {{ $value | humanizeDuration }} ago. It is not running, and did not"
        " report an end: the process was killed, or its machine went down.",
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
        summary="{{ $labels.command }}: {{ $value | humanizePercentage }} of the items failed",
        description="Of the items that {{ $labels.command }} processed within a day, {{ $value | humanizePercentage }}"
        " failed. Items that it skipped (because a source is down or a quota is exhausted) do not count.",
    ),
    Alert(
        name="Watchdog",
        severity="none",
        expression="vector(1)",
        summary="Alerts are delivered",
        description="This alert always fires. The external service that receives it notifies you when it no longer"
        " arrives.",
    ),
)
