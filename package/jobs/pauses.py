"""Determines until when requests to a source are paused, and why.

The breaker and the gate of core.http are asked each time. This module adds pauses that core.http does not have: the
last tenth of a quota is reserved for visitors, and some responses ask for a pause in a way that core.http does not
read.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from core.http import process
from core.http.events import OTHER, Event, QuotaSeen
from core.http.outcome import Rejection
from package.sources.fetch_results import FetchOutcome, FetchResult
from package.sources.package_parts import NOWHERE, Part

RESERVE = 0.1
"""Fraction of a quota that is reserved for visitors."""
_SOON = 1.0
"""Maximum seconds of a pause if core.http refused a call but does not refuse calls any more: another process is sending
the probe, or the source works again."""
_LATE = 0.1
"""Seconds that are added when a wall-clock time is converted to the clock of the process, because the two clocks may
differ. A request that is too early is worse than one that is too late."""
_NOT_SENT = frozenset(rejection.value for rejection in Rejection)
"""Reasons of results for which core.http refused to send the request."""


class Pause(NamedTuple):
    """A time during which no request is sent to a source."""

    until: float
    """End of the pause, on the clock of the process."""
    retry_at: datetime
    """The end of the pause as an aware datetime in UTC."""
    why: str


class Pauses:
    """The pauses of all sources. `observe` may be called in any thread, the other methods in one thread only."""

    def __init__(self) -> None:
        self._own: dict[tuple[str, str], Pause] = {}
        """The pauses that core.http does not have, by upstream (see `Part.key`) and partition."""

    def observe(self, event: Event) -> None:
        """Pause an upstream when its quota is nearly used up."""
        if not isinstance(event, QuotaSeen) or event.upstream == OTHER:
            return
        quota = event.quota
        if quota.limit and quota.remaining is not None and quota.reset and quota.remaining <= RESERVE * quota.limit:
            pause = _pause(quota.reset)
            left = f"{event.upstream}'s last {quota.remaining} of {quota.limit} calls"
            why = f"{left} are reserved for visitors until {pause.retry_at:%H:%M:%S} UTC"
            self._keep(event.upstream, event.partition, pause._replace(why=why))

    def heed(self, part: Part, result: FetchResult) -> bool:
        """Pause the source of `part` if `result` asks for it.

        Returns True if the caller should log the pause: it is new, and its cause is a response, not a refusal of
        core.http.
        """
        if part.source == NOWHERE or result.retry_at is None:
            return False
        if self._refusal(part) is not None:  # core.http has this pause and knows its end
            return False
        before = self.of(part)
        seconds = (result.retry_at - datetime.now(UTC)).total_seconds() + _LATE
        if result.reason in _NOT_SENT:
            seconds = min(seconds, _SOON)
        if seconds <= 0:
            return False
        self._keep(part.key, part.partition, _pause(seconds)._replace(why=result.error))
        return before is None and result.reason not in _NOT_SENT

    def of(self, part: Part) -> Pause | None:
        """Return the pause of the source of `part`; None: requests may be sent."""
        if part.source == NOWHERE:
            return None
        own, known = self._own.get((part.key, part.partition)), self._refusal(part)
        if own is not None and own.until <= process.current().runtime.clock():
            own = None
        return max(filter(None, (own, known)), key=lambda pause: pause.until, default=None)

    def _keep(self, key: str, partition: str, pause: Pause) -> None:
        known = self._own.get((key, partition))
        if known is None or known.until < pause.until:
            self._own[key, partition] = pause

    @staticmethod
    def _refusal(part: Part) -> Pause | None:
        """Return the pause that core.http would report for a call now; None: the call would be sent."""
        refusal = part.refusal()
        return None if refusal is None else _pause(refusal[0])._replace(why=str(refusal[1]))


def was_asked(result: FetchResult) -> bool:
    """Return whether `result` comes from a request that was sent."""
    if result.outcome is FetchOutcome.SKIPPED:
        return bool(result.reason)  # with a reason, the source has said that it does not offer this part
    return result.outcome is not FetchOutcome.LEFT_ALONE or result.reason not in _NOT_SENT


def is_suspect(part: Part) -> bool:
    """Return whether the source of `part` failed a short time ago: a few more failures would open its breaker."""
    return part.source != NOWHERE and part.known.is_suspect(process.current().runtime.clock())


def _pause(seconds: float) -> Pause:
    until = process.current().runtime.clock() + seconds
    return Pause(until, datetime.now(UTC) + timedelta(seconds=seconds), "")
