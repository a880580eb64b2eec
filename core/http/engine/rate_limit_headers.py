"""What Retry-After and the rate-limit headers ask for. Pure functions: they read no clock."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from ..outcome import Quota

MAX_DELAY = 86_400.0
"""Seconds. A server that asks for more is taken at a day: no call waits that long, and dates stay sane."""
_SECONDS = re.compile(r"[0-9]+(\.[0-9]+)?")
_COUNT = re.compile(r"[0-9]{1,18}")
_EPOCH = 1_000_000_000  # a larger number of seconds is a date (from 2001 on), a smaller one a delay


def retry_after(value: str | None, now: datetime) -> float | None:
    """Seconds that a Retry-After header asks for: 0 for a date in the past, None where it makes no sense.

    Both forms of RFC 9110, section 10.2.3; decimals, which some servers send, are read as well.
    `now` is aware.
    """
    if value is None:
        return None
    value = value.strip()
    if _SECONDS.fullmatch(value):
        return min(float(value), MAX_DELAY)  # float() makes infinity of 5,000 digits, where int() raises
    try:
        date = parsedate_to_datetime(value)
        if date.tzinfo is None:  # "-0000", and the asctime form: both mean UTC
            date = date.replace(tzinfo=UTC)
        return min(max((date - now).total_seconds(), 0.0), MAX_DELAY)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def quota(headers: Mapping[str, str], now: datetime) -> Quota | None:
    """Read X-RateLimit-* (as GitHub sends them) or RateLimit-*; None where there is neither.

    The reset comes as seconds to wait (IETF draft-ietf-httpapi-ratelimit-headers, up to 06) or as a Unix time
    (GitHub, GitLab); the size of the number tells which.
    """
    if "ratelimit" not in "".join(headers).lower():  # most answers: no need to look six times
        return None
    for prefix in ("X-RateLimit-", "RateLimit-"):
        limit, remaining, reset = (_count(headers.get(prefix + part)) for part in ("Limit", "Remaining", "Reset"))
        if limit is None and remaining is None:
            continue
        seconds = None
        if reset is not None:
            seconds = min(max(reset - (now.timestamp() if reset >= _EPOCH else 0), 0.0), MAX_DELAY)
        return Quota(limit, remaining, seconds, headers.get(prefix + "Resource"))
    return None


def _count(value: str | None) -> int | None:
    value = (value or "").strip()
    return int(value) if _COUNT.fullmatch(value) else None
