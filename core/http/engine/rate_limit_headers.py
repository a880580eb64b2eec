"""Parses Retry-After and the rate-limit headers, in all units that public APIs send. All functions are pure.

Absolute times are compared with the clock of the server, taken from its Date header, because the local clock may be
wrong by minutes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

from ..outcome import Quota

MAX_DELAY = 86_400.0
"""Maximum number of seconds. A longer delay counts as a day: no call waits that long, and dates stay in range."""
_NUMBER = re.compile(r"[0-9]+(\.[0-9]+)?")
_COUNT = re.compile(r"([0-9]{1,18})(\.0*)?")
_DURATION = re.compile(r"(?:(\d{1,6})h)?(?:(\d{1,6})m)?(?:(\d{1,9}(?:\.\d{1,9})?)s)?(?:(\d{1,9}(?:\.\d{1,9})?)ms)?")
_STRUCTURED = re.compile(r";\s*([rt])=([0-9]{1,18})")
_PREFIXES = ("X-RateLimit-", "RateLimit-", "X-Rate-Limit-")
"""Prefixes of rate-limit headers. In this order, they are used by GitHub and most other APIs; by GitLab and the IETF
drafts up to 06; by X (Twitter)."""
_IN_MILLISECONDS = ("Retry-After-Ms", "X-Ms-Retry-After-Ms")
"""Headers of Azure OpenAI and OpenAI, and of Azure Cosmos DB. They are more exact than Retry-After in the same
response."""
_EPOCH_UNITS = ((1e17, 1e9), (1e14, 1e6), (1e11, 1e3), (1e9, 1.0))
"""Pairs: the least number that is read as a Unix time (of 2001 or later) in a unit, and the units per second."""


def says_when(headers: Mapping[str, str]) -> bool:
    """Return whether there is a header that the functions below read. Most responses have none."""
    names = "".join(headers).lower()
    return "retry-after" in names or "ratelimit" in names or "rate-limit" in names


def server_time(headers: Mapping[str, str], now: datetime) -> datetime:
    """Return the time of the server's clock: the Date header, plus the Age of a cached response.

    Without a valid Date, return `now`.
    """
    try:
        date = _aware(parsedate_to_datetime(headers.get("Date") or ""))
        age = _COUNT.fullmatch((headers.get("Age") or "0").strip())
        seconds = min(int(age[1]), MAX_DELAY) if age else 0
        return date + timedelta(seconds=seconds)
    except (ValueError, TypeError, IndexError, OverflowError):
        return now


def retry_after(headers: Mapping[str, str], now: datetime) -> float | None:
    """Return the seconds of a Retry-After header: 0 for a time in the past; None if there is no valid value.

    Both forms of RFC 9110, section 10.2.3, are accepted. So are decimals, Unix times, ISO 8601 and durations, which
    some servers send, and the headers in milliseconds of Azure and OpenAI. `now` is the server's time, aware.
    """
    value = headers.get("Retry-After")
    seconds = None if value is None else _seconds_until(value.strip(), now)
    for name in _IN_MILLISECONDS:
        exact = headers.get(name)
        if exact is not None and _NUMBER.fullmatch(exact.strip()):
            return min(float(exact) / 1000, MAX_DELAY)
    return seconds


def quota(headers: Mapping[str, str], now: datetime) -> Quota | None:
    """Return the quota in the rate-limit headers; None if there is none. `now` is the server's time, aware.

    The headers are X-RateLimit-* (GitHub), RateLimit-* (GitLab; IETF draft-ietf-httpapi-ratelimit-headers up to 06),
    X-Rate-Limit-* (X), and RateLimit of the later drafts. The reset may be seconds, a Unix time (in seconds,
    milliseconds or finer units), a date or a duration.
    """
    for prefix in _PREFIXES:
        limit, remaining = (_count(headers.get(prefix + part)) for part in ("Limit", "Remaining"))
        if limit is None and remaining is None:
            continue
        reset = headers.get(prefix + "Reset-After") or headers.get(prefix + "Reset")
        seconds = None if reset is None else _seconds_until(reset.strip(), now)
        return Quota(limit, remaining, seconds, headers.get(prefix + "Resource"))
    parts = dict(_STRUCTURED.findall(headers.get("RateLimit") or ""))
    if "r" not in parts:
        return None
    return Quota(None, int(parts["r"]), min(float(parts["t"]), MAX_DELAY) if "t" in parts else None, None)


def longest(asked: float | None, left: Quota | None) -> float | None:
    """Return the longer of a Retry-After and the time until the reset of an exhausted quota, in seconds."""
    if left is None or left.remaining != 0 or left.reset is None:
        return asked
    return max(asked or 0.0, left.reset)


def _seconds_until(value: str, now: datetime) -> float | None:
    """Return the seconds of a delay, or the seconds from `now` to a time; between 0 and `MAX_DELAY`.

    None: `value` is neither a delay nor a time.
    """
    if _NUMBER.fullmatch(value):
        seconds = float(value)
        for least, unit in _EPOCH_UNITS:
            if seconds >= least:
                seconds = seconds / unit - now.timestamp()
                break
        return min(max(seconds, 0.0), MAX_DELAY)
    duration = _DURATION.fullmatch(value)
    if duration and value:
        hours, minutes, whole, thousandths = (float(part or 0) for part in duration.groups())
        return min(hours * 3600 + minutes * 60 + whole + thousandths / 1000, MAX_DELAY)
    for read in (parsedate_to_datetime, datetime.fromisoformat):
        with suppress(ValueError, TypeError, IndexError, OverflowError):
            return min(max((_aware(read(value)) - now).total_seconds(), 0.0), MAX_DELAY)
    return None


def _aware(date: datetime) -> datetime:
    """Return an aware date. A date without a zone ("-0000", asctime, plain ISO 8601) is read as UTC."""
    return date if date.tzinfo else date.replace(tzinfo=UTC)


def _count(value: str | None) -> int | None:
    found = _COUNT.fullmatch((value or "").strip())
    return int(found[1]) if found else None
