"""Until when a source is to be left alone, and why.

core.http decides that, with its breaker and its gate, and is asked anew each time. Kept here is only what it does not
know: that the end of a quota is not for jobs, and what an answer said that it does not read.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from core.http import process
from core.http.events import OTHER, Event, QuotaSeen
from core.http.outcome import Rejection
from package.sources.registry import NOWHERE, Part
from package.sources.results import FetchOutcome, FetchResult

RESERVE = 0.1
"""Fraction of a quota that is left for interactive use."""
_SOON = 1.0
"""Seconds until a source is asked again that refused a call, and is not known to be down: another process sends the
probe, or the source is well again."""
_LATE = 0.1
"""Seconds that are added to a time of day: it is read from another clock, and to ask too early is worse."""
_NOT_SENT = frozenset(rejection.value for rejection in Rejection)
"""Reasons of results where core.http refused the call."""


class Pause(NamedTuple):
    """That nothing is to be sent to a source for a while."""

    until: float
    """On the clock of the process."""
    retry_at: datetime
    """The same for people; aware, in UTC."""
    why: str


class Pauses:
    """Knows which sources are to be left alone. `observe` is for any thread, the rest for one."""

    def __init__(self) -> None:
        self._own: dict[tuple[str, str], Pause] = {}
        """By upstream (see `Part.key`) and partition."""

    def observe(self, event: Event) -> None:
        """Leave an upstream alone that is near the end of its quota."""
        if not isinstance(event, QuotaSeen) or event.upstream == OTHER:
            return
        quota = event.quota
        if quota.limit and quota.remaining is not None and quota.reset and quota.remaining <= RESERVE * quota.limit:
            pause = _pause(quota.reset)
            left = f"{event.upstream}'s last {quota.remaining} of {quota.limit} calls"
            why = f"{left} are for others until {pause.retry_at:%H:%M:%S} UTC"
            self._keep(event.upstream, event.partition, pause._replace(why=why))

    def heed(self, part: Part, result: FetchResult) -> bool:
        """Obey what `result` says about the source of `part`. True: that is news, of which nothing else has told."""
        if part.source == NOWHERE or result.retry_at is None:
            return False
        if self._refusal(part) is not None:  # core.http knows, and will know when that changes
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
        """Return until when the source of `part` is to be left alone; None: it may be asked."""
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
        """Return what core.http would say to a call."""
        refusal = part.refusal()
        return None if refusal is None else _pause(refusal[0])._replace(why=str(refusal[1]))


def was_asked(result: FetchResult) -> bool:
    """Say whether the source was asked, and it is known what came of that."""
    if result.outcome is FetchOutcome.SKIPPED:
        return bool(result.reason)  # the source said that it does not offer this
    return result.outcome is not FetchOutcome.LEFT_ALONE or result.reason not in _NOT_SENT


def is_suspect(part: Part) -> bool:
    """Say whether the source of `part` has just failed, and a few more failures would show that it is down."""
    return part.source != NOWHERE and part.known.is_suspect(process.current().runtime.clock())


def _pause(seconds: float) -> Pause:
    until = process.current().runtime.clock() + seconds
    return Pause(until, datetime.now(UTC) + timedelta(seconds=seconds), "")
