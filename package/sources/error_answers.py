"""Returns the `AskError` for an error response, and logs once what operators must do about it."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from threading import Lock
from typing import Any
from weakref import WeakKeyDictionary

import requests

from core.http import CircuitOpen, RateLimited, process
from core.http.engine.rate_limit_gate import DEFAULT_WHY, MAX_CLOSED
from core.http.outcome import Attempt, Rejection
from package.sources.api_server import Server
from package.sources.errors import AskError, Gone, LeftAlone, NotReady, Unreachable, Unusable

logger = logging.getLogger(__name__)

_GONE = frozenset({404, 410, 451})
_EARLY = 60.0
"""Advice may be logged again this many seconds before the end of a pause, so that the next pause is logged too."""
_UPSTREAM = "the upstream "
"""The text before the reason in the message of a `RateLimited`."""

_lock = Lock()
_told: WeakKeyDictionary[Any, dict[tuple[str, str], float]] = WeakKeyDictionary()
"""For each registry of upstreams: the time (on its clock) until which advice about a server is not logged again."""


def error_of(server: Server, response: requests.Response, reason: str, *, again: bool) -> AskError:
    """Return the error to raise for a response without usable data. Advice for operators is logged once per pause.

    :param reason: why core.http counts the call as failed; "": it does not.
    :param again: whether another request a few seconds later may succeed.
    """
    error = server.refusal(server, response)
    if isinstance(error, LeftAlone) and error.advice:
        _tell_once(server.api, error)
    return error or _by_status(server.name, response, reason, again)


def not_sent(name: str, error: CircuitOpen | RateLimited) -> LeftAlone:
    """Return the error to raise for a request that core.http did not send."""
    rejection = Rejection.BREAKER_OPEN if isinstance(error, CircuitOpen) else Rejection.RATE_LIMITED
    return left_alone(name, rejection, str(error), error.retry_at)


def left_alone(name: str, rejection: Rejection, why: str, retry_at: datetime) -> LeftAlone:
    """Return the error to raise for a paused server.

    :param why: the text of an error of core.http. It ends with a sentence about "the upstream", such as "the upstream
        asked for a pause".
    """
    text = "is down"
    if rejection is not Rejection.BREAKER_OPEN:
        said = why.partition(_UPSTREAM)[2]  # the `why` of the verdict on an earlier response
        text = said if said and said != DEFAULT_WHY else "limits our rate"
    return LeftAlone(f"{name} {text}; nothing is sent before {retry_at:%H:%M:%S} UTC", rejection.value, retry_at)


def _by_status(name: str, response: requests.Response, reason: str, again: bool) -> AskError:
    status = response.status_code
    if status == 202:
        return NotReady(f"{name} is still working on the answer", "not_ready")
    if status in _GONE:
        return Gone(f"{name} has no such resource (HTTP {status})", "gone")
    if status == 429 or reason == "http_429":
        text, seconds = f"{name} limits our rate (HTTP {status})", _pause(response)
        if seconds:
            return LeftAlone(text, "http_429", datetime.now(UTC) + timedelta(seconds=seconds))
        return Unreachable(text, "http_429")
    if status >= 500 or reason:
        return Unreachable(f"{name} answered HTTP {status}", reason or "http_5xx", again=again)
    return Unusable(f"{name} answered HTTP {status}", "other")


def _pause(response: requests.Response) -> float:
    """Return the seconds of the pause that the server asked for; 0: it did not say how long."""
    attempts: tuple[Attempt, ...] = getattr(response, "attempts", ())
    return min(attempts[-1].outcome.retry_after or 0.0, MAX_CLOSED) if attempts else 0.0


def _tell_once(api: str, error: LeftAlone) -> None:
    """Log the advice of `error`, unless it was logged for this server during the current pause."""
    left = (error.retry_at - datetime.now(UTC)).total_seconds() if error.retry_at else 0.0
    registry = process.current()
    now = registry.runtime.clock()
    with _lock:
        told = _told.setdefault(registry, {})
        if now < told.get((api, error.advice), now):
            return
        told[api, error.advice] = now + max(left - _EARLY, 0.0)
    until = f"; nothing is sent before {error.retry_at:%H:%M:%S} UTC" if error.retry_at else ""
    logger.warning("%s%s. %s", error, until, error.advice)
