"""Classifies responses: the result, the reason, and whether the same request may succeed later."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from functools import lru_cache

from ..outcome import Outcome, Quota, Reason, Result
from ..verdict import Meaning, Verdict
from .rate_limit_headers import MAX_DELAY, longest, quota, retry_after, says_when, server_time


def answered(
    status: int,
    headers: Mapping[str, str],
    *,
    retry_statuses: frozenset[int],
    now: datetime,
    verdict: Verdict | None = None,
) -> Outcome:
    """Return the outcome of an attempt that got a response.

    :param headers: case-insensitive.
    :param now: the current time, aware.
    :param verdict: the verdict of `Policy.classify`, which takes precedence over the status.
    """
    asked = left = None
    if says_when(headers):  # otherwise the server's time, which is slow to parse, is not needed
        there = server_time(headers, now)
        asked = retry_after(headers, there) if status >= 300 or verdict is not None else None
        left = quota(headers, there)
    limited = status == 429
    if limited or status == 403:
        exhausted = left is not None and left.remaining == 0
        # GitHub sends 403 for an exhausted quota, and 403 with Retry-After for its secondary limits.
        limited = limited or exhausted or asked is not None
        asked = longest(asked, left)
    if verdict is not None:
        return _judged(status, verdict, asked, left)
    outcome = _answered(status, limited, (429 if limited else status) in retry_statuses)
    return outcome if asked is None and left is None else replace(outcome, retry_after=asked, quota=left)


def _judged(status: int, verdict: Verdict, asked: float | None, left: Quota | None) -> Outcome:
    result, reason = Result.FAILURE, _reason(status)
    if verdict.meaning is Meaning.SUCCESS:
        result, reason = Result.SUCCESS, None
    elif verdict.meaning is Meaning.PERMANENT:
        result, reason = Result.CLIENT_ERROR, None
    elif verdict.meaning is Meaning.RATE_LIMITED:
        reason = Reason.HTTP_429
    elif reason is None:
        reason = Reason.OTHER
    return Outcome(
        result,
        reason,
        status,
        transient=verdict.meaning in {Meaning.TRANSIENT, Meaning.RATE_LIMITED},
        retry_after=asked if verdict.seconds is None else min(verdict.seconds, MAX_DELAY),
        doubled=verdict.doubled,
        why=verdict.why,
        quota=left,
        detail=str(status),
    )


@lru_cache(256)
def _answered(status: int, limited: bool, transient: bool) -> Outcome:
    reason = Reason.HTTP_429 if limited else _reason(status)
    answer = Result.CLIENT_ERROR if status >= 400 else Result.SUCCESS
    return Outcome(answer if reason is None else Result.FAILURE, reason, status, transient, detail=str(status))


def _reason(status: int) -> Reason | None:
    if status == 408:
        return Reason.TIMEOUT
    if status == 425 or not 100 <= status < 600:
        return Reason.OTHER
    return Reason.HTTP_5XX if status >= 500 else None
