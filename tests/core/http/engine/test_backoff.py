"""Delays, Retry-After and rate-limit headers."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from requests.structures import CaseInsensitiveDict

from core.http.engine.backoff import delay
from core.http.engine.rate_limit_headers import MAX_DELAY, quota, retry_after, server_time
from core.http.engine.response_classification import answered
from core.http.outcome import Quota

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
CHANCES = st.floats(0, 1, exclude_max=True)
BASES = st.floats(0, 86_400)


def in_rfc850(date: datetime) -> str:
    return date.strftime("%A, %d-%b-%y %H:%M:%S GMT")


def in_asctime(date: datetime) -> str:
    return date.strftime("%a %b %e %H:%M:%S %Y")


def in_imf(date: datetime) -> str:
    return format_datetime(date, usegmt=True)


DATE_FORMS = pytest.mark.parametrize("form", [in_imf, in_rfc850, in_asctime])


def test_delays_double() -> None:
    """By default the delays are 1, 2 and 4 s."""
    assert [delay(n, base=1.0, ceiling=30.0, jitter=0.0, chance=0.9) for n in (1, 2, 3)] == [1, 2, 4]


def asked_by(value: str | None, now: datetime) -> float | None:
    return retry_after({} if value is None else {"Retry-After": value}, now)


@given(retry=st.integers(1, 10_000), base=BASES, ceiling=BASES, chance=CHANCES)
def test_a_delay_stays_under_its_ceiling(retry: int, base: float, ceiling: float, chance: float) -> None:
    """After any number of retries, the delay is between 0 and backoff_max."""
    assert 0 <= delay(retry, base=base, ceiling=ceiling, jitter=0.0, chance=chance) <= ceiling


@given(retry=st.integers(1, 10_000), base=BASES, ceiling=BASES)
def test_delays_never_shrink(retry: int, base: float, ceiling: float) -> None:
    """A later retry waits at least as long as the one before."""
    before, after = (delay(n, base=base, ceiling=ceiling, jitter=0.0, chance=0.0) for n in (retry, retry + 1))
    assert after >= before


@given(retry=st.integers(1, 200), base=BASES, ceiling=BASES, jitter=st.floats(0, 1), chance=CHANCES)
def test_jitter_only_adds_and_at_most_its_fraction(
    retry: int, base: float, ceiling: float, jitter: float, chance: float
) -> None:
    """Jitter lengthens a delay by up to its fraction, never shortens it."""
    plain = delay(retry, base=base, ceiling=ceiling, jitter=0.0, chance=0.0)
    assert plain <= delay(retry, base=base, ceiling=ceiling, jitter=jitter, chance=chance) <= plain * (1 + jitter)


@given(seconds=st.integers(0, 86_400))
def test_retry_after_in_seconds(seconds: int) -> None:
    """A number of seconds is taken as it is."""
    assert asked_by(str(seconds), NOW) == seconds


@pytest.mark.parametrize(("value", "seconds"), [(" 120 ", 120), ("1.5", 1.5), ("007", 7), ("0", 0)])
def test_retry_after_is_read_leniently(value: str, seconds: float) -> None:
    """Spaces, decimals and leading zeros in Retry-After are accepted."""
    assert asked_by(value, NOW) == seconds


@DATE_FORMS
@given(seconds=st.integers(0, 86_400))
def test_retry_after_as_a_date(form: Callable[[datetime], str], seconds: int) -> None:
    """All three forms of an HTTP date are understood."""
    assert asked_by(form(NOW + timedelta(seconds=seconds)), NOW) == seconds


@DATE_FORMS
@given(seconds=st.integers(1, 10**9))
def test_a_date_in_the_past_means_now(form: Callable[[datetime], str], seconds: int) -> None:
    """A Retry-After that has passed asks for no wait."""
    assert asked_by(form(NOW - timedelta(seconds=seconds)), NOW) == 0


def test_a_date_may_name_another_zone() -> None:
    """A date with an offset, which HTTP does not allow but mail software writes, is converted."""
    assert asked_by("Sun, 01 Mar 2026 14:00:30 +0200", NOW) == 30
    assert asked_by("Sun, 01 Mar 2026 12:00:30 -0000", NOW) == 30


def test_now_may_be_in_any_zone() -> None:
    """The delay does not depend on the zone in which the present is given."""
    here = NOW.astimezone(timezone(timedelta(hours=-5)))
    assert asked_by(in_imf(NOW + timedelta(seconds=30)), here) == 30


@pytest.mark.parametrize(
    "value",
    ["86401", "3200000000000", "9" * 5_000, "9" * 400, "1" + "0" * 308 + ".5", "Fri, 31 Dec 9999 23:59:59 GMT"],
)
def test_an_absurd_wait_is_a_day(value: str) -> None:
    """Any time in the header gives a finite number of seconds, at most one day."""
    assert asked_by(value, NOW) == MAX_DELAY == 86_400


@pytest.mark.parametrize(
    "value",
    [
        None,
        "",
        "-5",
        "+5",
        "1e9",
        "inf",
        "nan",
        "0x10",
        "1_000",
        "1,5",
        "\N{ARABIC-INDIC DIGIT FIVE}",
        "soon",
        "5 seconds",
        "Sun, 99 Mar 2026 12:00:00 GMT",
        "Sun, 01 Mar 99999999999999999999 12:00:00 GMT",
        f"Sun, 01 Mar {'9' * 5_000} 12:00:00 GMT",
        "Sun, 01 Mar 2026 12:00:00 +99999999",
        "\x00",
    ],
)
def test_an_invalid_retry_after_is_ignored(value: str | None) -> None:
    """Negative numbers, other notations and other texts give no delay."""
    assert asked_by(value, NOW) is None


@given(
    value=st.text()
    | st.from_regex(r"[A-Z][a-z]{2}, \d{1,9} [A-Z][a-z]{2} \d{1,20} \d{1,3}:\d{1,3}:\d{1,3} [-+A-Z0-9]{1,6}")
    | st.from_regex(r"[A-Z][a-z]{2} (Jan|Feb|Mar) \d{1,9} \d+:\d+:\d+ \d{1,20}")
)
def test_no_retry_after_breaks_a_call(value: str) -> None:
    """For any text in Retry-After, the result is None or a number of seconds from 0 to one day."""
    seconds = asked_by(value, NOW)
    assert seconds is None or 0 <= seconds <= MAX_DELAY


@pytest.mark.parametrize("prefix", ["X-RateLimit-", "RateLimit-"])
def test_rate_limit_headers_are_read(prefix: str) -> None:
    """Both families of names are understood."""
    headers = {f"{prefix}Limit": "5000", f"{prefix}Remaining": "17", f"{prefix}Reset": "60"}
    assert quota(headers, NOW) == Quota(limit=5000, remaining=17, reset=60, resource=None)


def test_a_reset_may_be_a_unix_time() -> None:
    """GitHub gives the reset as a Unix time; the result is the time until then."""
    headers = {
        "X-RateLimit-Limit": "60",
        "X-RateLimit-Remaining": "0",
        "X-RateLimit-Reset": str(int(NOW.timestamp()) + 90),
        "X-RateLimit-Resource": "core",
    }
    assert quota(headers, NOW) == Quota(limit=60, remaining=0, reset=90, resource="core")


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-RateLimit-Reset": "60"},
        {"X-RateLimit-Limit": "many", "X-RateLimit-Remaining": "-1"},
        {"RateLimit-Remaining": "9" * 5_000},
    ],
)
def test_without_a_readable_number_there_is_no_quota(headers: dict[str, str]) -> None:
    """Missing, negative, implausible and unreadable values give no quota."""
    assert quota(headers, NOW) is None


@given(
    values=st.fixed_dictionaries(
        {}, optional=dict.fromkeys(["X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset"], st.text())
    )
    | st.fixed_dictionaries(
        {"RateLimit-Remaining": st.integers().map(str), "RateLimit-Reset": st.integers(0, 10**30).map(str)}
    )
)
def test_no_rate_limit_header_breaks_a_call(values: dict[str, str]) -> None:
    """For any text in the header, the reset is unknown or from 0 to one day away."""
    left = quota(values, NOW)
    assert left is None or left.reset is None or 0 <= left.reset <= MAX_DELAY


AHEAD = timedelta(minutes=30)


@pytest.mark.parametrize("skew", [-AHEAD, timedelta(0), AHEAD])
@pytest.mark.parametrize(
    "reset",
    [
        "{0:.0f}",
        "{0:.3f}",
        "{0}000",
        "{0}000000",
        "{0}000000000",
    ],
    ids=["seconds", "decimals", "milliseconds", "microseconds", "nanoseconds"],
)
def test_a_time_is_read_by_the_servers_clock(skew: timedelta, reset: str) -> None:
    """A reset is computed with the server's Date, so a wrong clock of ours does not change it, in all units of APIs."""
    there = NOW + skew
    headers = {
        "Date": format_datetime(there, usegmt=True),
        "X-RateLimit-Limit": "60",
        "X-RateLimit-Remaining": "0",
        "X-RateLimit-Reset": reset.format(int(there.timestamp()) + 600),
    }
    outcome = answered(403, headers, retry_statuses=frozenset({429}), now=NOW)
    assert outcome.retry_after == pytest.approx(600, abs=1)


def test_a_retry_after_date_is_read_by_the_servers_clock() -> None:
    """A Retry-After date is compared with the server's Date, or with our clock if there is none."""
    at = format_datetime(NOW + AHEAD + timedelta(seconds=30), usegmt=True)
    headers = {"Date": format_datetime(NOW + AHEAD, usegmt=True), "Retry-After": at}
    assert answered(503, headers, retry_statuses=frozenset({503}), now=NOW).retry_after == 30
    assert answered(503, {"Retry-After": at}, retry_statuses=frozenset({503}), now=NOW).retry_after == 1830


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after-ms": "1500", "Retry-After": "2"}, 1.5),
        ({"x-ms-retry-after-ms": "250"}, 0.25),
        ({"retry-after-ms": "", "Retry-After": "2"}, 2),
        ({"retry-after-ms": "soon", "Retry-After": "2"}, 2),
        ({"retry-after-ms": "1" * 400}, MAX_DELAY),
    ],
)
def test_milliseconds_have_priority_over_seconds(headers: dict[str, str], seconds: float) -> None:
    """Azure and OpenAI send both; if one cannot be read, the other is used."""
    assert retry_after(CaseInsensitiveDict(headers), NOW) == seconds


def test_the_date_of_an_answer_from_a_cache_is_as_old_as_its_age() -> None:
    """A cache answers with the Date of when it stored the answer, and says in Age how long ago that was."""
    headers = {"Date": format_datetime(NOW - timedelta(seconds=500), usegmt=True), "Age": "500"}
    assert server_time(headers, NOW + AHEAD) == NOW


@pytest.mark.parametrize("age", ["", "x", "-5", "0"])
def test_an_invalid_age_is_ignored(age: str) -> None:
    """An Age header that cannot be read adds no seconds."""
    assert server_time({"Date": format_datetime(NOW, usegmt=True), "Age": age}, NOW + AHEAD) == NOW


@pytest.mark.parametrize("date", ["", "yesterday", "Thu, 99 Xxx 2026 00:00:00 GMT"])
def test_an_invalid_date_is_ignored(date: str) -> None:
    """With a Date header that cannot be read, our own clock is used."""
    assert server_time({"Date": date, "Age": "x"}, NOW) == NOW


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("6m0s", 360),
        ("1h", 3600),
        ("20ms", 0.02),
        ("1.5s", 1.5),
        ("{0:%Y-%m-%dT%H:%M:%SZ}", 90),
        ("{0:%Y-%m-%d %H:%M:%S}", 90),
    ],
)
def test_durations_and_iso_dates_are_read(value: str, seconds: float) -> None:
    """OpenAI sends durations, others ISO 8601."""
    headers = {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": value.format(NOW + timedelta(seconds=90))}
    found = quota(headers, NOW)
    assert found is not None
    assert found.reset == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"x-rate-limit-limit": "15", "x-rate-limit-remaining": "3", "x-rate-limit-reset": "60"}, (15, 3, 60)),
        ({"X-Ratelimit-Remaining": "599.0", "X-Ratelimit-Reset": "12"}, (None, 599, 12)),
        ({"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "9", "X-RateLimit-Reset-After": "1.25"}, (None, 0, 1.25)),
        ({"RateLimit": '"default";r=50;t=30', "RateLimit-Policy": '"default";q=100;w=60'}, (None, 50, 30)),
    ],
    ids=["X", "Reddit", "Discord", "IETF draft 07 and later"],
)
def test_other_spellings_are_read(headers: dict[str, str], expected: tuple[object, ...]) -> None:
    """Names and numbers as public APIs document them, on any answer."""
    found = answered(200, CaseInsensitiveDict(headers), retry_statuses=frozenset(), now=NOW).quota
    assert found is not None
    assert (found.limit, found.remaining, found.reset) == expected
