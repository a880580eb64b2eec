"""Attempts that run out of time, and a driver that records its attempts."""

from __future__ import annotations

from datetime import UTC, datetime

from core.http import Policy
from core.http.engine.call import Call
from core.http.engine.response_classification import answered
from core.http.engine.steps import Send, Wait
from core.http.outcome import Outcome, Reason, failed
from tests.core.http.engine.world import World

SILENT = failed(Reason.TIMEOUT, "headers, 0 bytes", transient=True, sent=True)


def sends(call: Call, world: World, *outcomes: Outcome) -> list[Send]:
    """Drive `call`; return the attempts that its driver was to send."""
    made = []
    for outcome in outcomes:
        while isinstance(step := call.begin(), Wait):
            world.clock.wait(step.seconds)
        assert isinstance(step, Send)
        made.append(step)
        call.end(outcome)
    return made


def answer(status: int, retry_after: str | None = None) -> Outcome:
    headers = {"Retry-After": retry_after} if retry_after else {}
    return answered(status, headers, retry_statuses=Policy().retry_statuses, now=datetime.now(UTC))
