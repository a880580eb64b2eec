"""The state of the upstreams as text, for `manage.py upstreams` and for the page in the admin."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import NamedTuple

from ..events import BreakerState
from ..shared.upstream_diagnostics import Allowance, Failure
from ..status import StatusReport, UpstreamStatus

_UNITS = ((86_400, "d"), (3600, "h"), (60, "min"))


class Row(NamedTuple):
    upstream: str
    breaker: str
    gate: str
    quotas: tuple[str, ...]
    last_error: str
    request: str
    """The request that caused the last error."""
    in_trouble: bool


def rows(status_report: StatusReport) -> list[Row]:
    """Return the state of each upstream as text."""
    words = _Words(status_report.at)
    return [
        Row(
            _subject(standing),
            words.breaker(standing),
            words.gate(standing),
            tuple(words.quota(resource, quota) for resource, quota in sorted(standing.quotas.items())),
            words.error(standing.last_error),
            words.request(standing.last_error),
            standing.in_trouble,
        )
        for standing in status_report.upstreams
    ]


def title(status_report: StatusReport) -> str:
    return f"Upstreams at {datetime.fromtimestamp(status_report.at, UTC):%Y-%m-%d %H:%M:%S} UTC"


def caveat(status_report: StatusReport) -> str:
    """Return a sentence that says why the report is incomplete; "" if it is complete."""
    if status_report.is_shared:
        return ""
    why = "No shared cache is configured (shared_cache in OUTBOUND_HTTP)"
    if status_report.problem is not None:
        why = f"The shared cache cannot be read ({status_report.problem})"
    return f"{why}: only the state of this process is shown."


def _subject(standing: UpstreamStatus) -> str:
    text = f"{standing.name}: {standing.origin}" if standing.origin else standing.name
    if standing.untrusted:
        text = f"{text}, for users' URLs"
    return f"{text}, partition {standing.partition}" if standing.partition else text


class _Words:
    def __init__(self, now: float) -> None:
        self._now = now
        self._today = datetime.fromtimestamp(now, UTC).date()

    def breaker(self, standing: UpstreamStatus) -> str:
        if standing.partition:
            return f"shared with {standing.name}"
        if not standing.has_breaker:
            return "off"
        if standing.breaker is None:
            return "unknown"
        since = "" if standing.since is None else f" since {self._time(standing.since)} ({self._age(standing.since)})"
        if standing.breaker is BreakerState.CLOSED:
            return f"closed{since}"
        if standing.next_probe is not None:
            return f"open{since}, next probe at {self._ahead(standing.next_probe)}"
        return f"half-open, down{since}: the next call is the probe, or a probe is in flight"

    def gate(self, standing: UpstreamStatus) -> str:
        if standing.gate_closed is None:
            return "unknown"
        if standing.asked_until is None:
            return "no pause"  # not "open": an open breaker means the opposite
        if standing.closed_until is None:
            return f"one call at a time until {self._ahead(standing.asked_until)}"
        longer = standing.asked_until > standing.closed_until
        asked = f"; the upstream asked for a pause until {self._time(standing.asked_until)}" if longer else ""
        return f"calls wait until {self._ahead(standing.closed_until)}{asked}"

    def quota(self, resource: str, quota: Allowance) -> str:
        counts = ["?" if count is None else str(count) for count in (quota.remaining, quota.limit)]
        left = f"{' of '.join(counts)} left"
        if quota.reset is None:
            text = f"{left} {self._age(quota.at)} ago"
        elif quota.reset <= self._now:
            text = f"full again since {self._time(quota.reset)}; before that, {left}"
        else:
            text = f"{left}, full again at {self._ahead(quota.reset)}"
        return f"{resource}: {text}" if resource else text

    def error(self, failure: Failure | None) -> str:
        if failure is None:
            return "none known"
        status = "" if failure.status is None else f" ({failure.status})"
        return f"{failure.reason}{status} at {self._time(failure.at)} ({self._age(failure.at)} ago)"

    def request(self, failure: Failure | None) -> str:
        return "" if failure is None else f"{failure.method} {failure.scheme}://{failure.host}{failure.path}"

    def _time(self, moment: float) -> str:
        at = datetime.fromtimestamp(moment, UTC)
        return f"{at:%H:%M:%S} UTC" if at.date() == self._today else f"{at:%Y-%m-%d %H:%M:%S} UTC"

    def _ahead(self, moment: float) -> str:
        return f"{self._time(moment)} (in {_seconds(moment - self._now)})"

    def _age(self, moment: float) -> str:
        return _seconds(self._now - moment)


def _seconds(seconds: float) -> str:
    seconds = max(round(seconds), 0)
    for length, unit in _UNITS:
        if seconds >= length:
            return f"{seconds // length} {unit}"
    return f"{seconds} s"
