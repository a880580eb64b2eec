"""The logging observer. It logs one line for each call that failed, with the history of its attempts.

A line never contains query values or userinfo (see `events.Target`). It contains the path only for configured
upstreams, because for other hosts the path may be a secret, as in the URL of a webhook.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from ..events import (
    OTHER,
    AttemptEnded,
    BreakerChanged,
    BreakerFollowed,
    BreakerState,
    CallEnded,
    Event,
    GateClosed,
    RetryScheduled,
    Target,
)
from ..log import logger
from ..outcome import Attempt, Result


def log_event(event: Event) -> None:
    """Log `event`: failed calls and opening breakers at WARNING, recoveries at INFO, everything else at DEBUG.

    A breaker that follows another process is logged at INFO, because that process logs the WARNING.
    """
    how = _HOW.get(type(event))
    if how is not None:
        how(event)


def _log_attempt(event: AttemptEnded) -> None:
    if logger.isEnabledFor(logging.DEBUG):
        detail = event.outcome.detail if event.outcome else "cancelled"
        logger.debug("%s: %s in %.3f s", _subject(event), detail, event.seconds)


def _log_retry(event: RetryScheduled) -> None:
    if logger.isEnabledFor(logging.DEBUG):
        logger.debug("%s: retry in %.1f s (%s, %s)", _subject(event), event.delay, event.reason, event.source)


def _log_gate(event: GateClosed) -> None:
    logger.debug("%s asks for a pause of %.0f s", _upstream(event.upstream, event.target), event.seconds)


def _log_call(event: CallEnded) -> None:
    count, level, verb = len(event.attempts), logging.DEBUG, ""
    if event.result is Result.FAILURE:
        level, verb = logging.WARNING, "failed"
    elif event.result is Result.SUCCESS and count > 1:
        level, verb = logging.INFO, "recovered"
    if not logger.isEnabledFor(level):
        return
    history = ", ".join(_describe(attempt) for attempt in event.attempts)
    reason = event.reason.value if event.reason else ""
    suppressed = f", not retried: {event.suppressed}" if event.suppressed else ""
    logger.log(
        level,
        "%s %s%s (upstream %s, %d attempt%s in %.1f s: %s%s)",
        _subject(event),
        verb or event.result.value,
        f": {reason}" if reason else "",
        event.upstream,
        count,
        "" if count == 1 else "s",
        event.seconds,
        history or "none",
        suppressed,
        extra={
            "upstream": event.upstream,
            "method": event.target.method,
            "scheme": event.target.scheme,
            "host": event.target.host,
            "path": _path(event),
            "outcome": event.result.value,
            "reason": reason,
            "attempts": count,
            "seconds": round(event.seconds, 3),
            "history": history,
            "retry_suppressed": event.suppressed.value if event.suppressed else "",
        },
    )


def _log_breaker(event: BreakerChanged) -> None:
    upstream = _upstream(event.upstream, event.target)
    extra = {"upstream": event.upstream, "host": event.target.host, "breaker_state": event.state.value}
    if event.state is BreakerState.OPEN:
        logger.warning("Breaker of %s opens: nothing is sent for %.0f s", upstream, event.seconds, extra=extra)
    elif event.state is BreakerState.CLOSED:
        logger.info("Breaker of %s closes: the upstream answers again", upstream, extra=extra)


def _log_followed(event: BreakerFollowed) -> None:
    upstream = f"upstream {event.upstream}{f' ({event.host})' if event.host else ''}"
    extra = {"upstream": event.upstream, "host": event.host, "breaker_state": event.state.value}
    if event.state is BreakerState.OPEN:  # INFO: the process that detected the outage has logged the WARNING
        text = "Breaker of %s opens because it opened in another process: nothing is sent for %.0f s"
        logger.info(text, upstream, event.seconds, extra=extra)
    else:
        text = "Breaker of %s closes because it closed in another process: the upstream answers again"
        logger.info(text, upstream, extra=extra)


def _upstream(name: str, target: Target) -> str:
    return f"upstream {name} ({target.host})"


def _describe(attempt: Attempt) -> str:
    outcome = attempt.outcome
    text = outcome.detail
    if outcome.reason and outcome.status is None:
        text = f"{outcome.reason} ({outcome.detail})"
    waited = f"after {attempt.waited:.1f} s " if attempt.waited else ""
    return f"{waited}{text} in {attempt.seconds:.1f} s"


def _subject(event: CallEnded | AttemptEnded | RetryScheduled) -> str:
    target = event.target
    return f"{target.method} {target.scheme}://{target.host}{_path(event)}"


def _path(event: CallEnded | AttemptEnded | RetryScheduled) -> str:
    return "" if event.upstream == OTHER else event.target.path


_HOW: dict[type, Callable[[Any], None]] = {
    AttemptEnded: _log_attempt,
    BreakerChanged: _log_breaker,
    BreakerFollowed: _log_followed,
    CallEnded: _log_call,
    GateClosed: _log_gate,
    RetryScheduled: _log_retry,
}
log_event.kinds = frozenset(_HOW)  # type: ignore[attr-defined]  # see `events`
