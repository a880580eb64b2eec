"""What is heard of upstreams while a run goes on: which are to be left alone, until when, and why."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from core.http import process
from core.http.events import OTHER, BreakerChanged, BreakerState, Event, GateClosed, QuotaSeen
from package.results import FetchOutcome, FetchResult

SILENT_IN_A_ROW = 3
"""A source that cannot be reached for so many packages is held: too few attempts at a time open no breaker."""
RESERVE = 0.1
"""Fraction of a quota that is left for interactive use."""


class Hold(NamedTuple):
    """That nothing of a lane is to go before a moment on the run's clock."""

    key: str
    until: float
    why: str


class Holds:
    """Hears events from any thread; everything else is for the run's own."""

    def __init__(self) -> None:
        self._heard: deque[Hold] = deque()
        self._silent: Counter[str] = Counter()
        """For how many packages in a row each key could not be reached."""
        self._judged_until: dict[str, float] = {}

    def observe(self, event: Event) -> None:
        """Leave an upstream alone as soon as it is known to be down, limited, or near the end of its quota."""
        if isinstance(event, BreakerChanged) and event.state is BreakerState.OPEN:
            self._hold(_key(event), event.seconds, "{} is down; nothing is sent before {}")
        elif isinstance(event, GateClosed):
            self._hold(_key(event), event.seconds, "{} limits our rate; nothing is sent before {}")
        elif isinstance(event, QuotaSeen) and event.upstream != OTHER:
            quota = event.quota
            if quota.limit and quota.remaining is not None and quota.reset and quota.remaining <= RESERVE * quota.limit:
                left = f"{quota.remaining} of {quota.limit} calls"
                self._hold(event.upstream, quota.reset, f"{{}}'s last {left} are for others until {{}}")

    def judge(self, key: str, results: Sequence[FetchResult]) -> None:
        """Leave alone what cannot be reached: with few calls at a time, a breaker sees too little of it to open."""
        asked = [result for result in results if result.outcome is not FetchOutcome.LEFT_ALONE]
        now = process.current().runtime.clock()
        if not asked or now < self._judged_until.get(key, 0.0):  # what failed at the same time says nothing new
            return
        self._silent[key] = self._silent[key] + 1 if not any(each.reached for each in asked) else 0
        if (more := self._silent[key] - SILENT_IN_A_ROW) >= 0:
            seconds = min(15.0 * 2 ** min(more, 10), 300.0)  # as a breaker would
            self._judged_until[key] = now + seconds
            self._hold(key, seconds, "{} cannot be reached; nothing is sent before {}")

    def heard(self) -> Iterator[Hold]:
        """Return what was heard since the last time."""
        while self._heard:
            yield self._heard.popleft()

    def _hold(self, key: str, seconds: float, why: str) -> None:
        at = f"{datetime.now(UTC) + timedelta(seconds=seconds):%H:%M:%S} UTC"
        self._heard.append(Hold(key, process.current().runtime.clock() + seconds, why.format(key, at)))


def _key(event: BreakerChanged | GateClosed) -> str:
    return event.target.host if event.upstream == OTHER else event.upstream
