"""The classification of an answer by its status and headers."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.http import Policy
from core.http.engine.response_classification import answered
from core.http.outcome import Outcome, Reason, Result

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
EXHAUSTED = {
    "X-RateLimit-Limit": "60",
    "X-RateLimit-Remaining": "0",
    "X-RateLimit-Reset": str(int(NOW.timestamp()) + 9),
}


def outcome(status: int, headers: dict[str, str] | None = None, statuses: frozenset[int] | None = None) -> Outcome:
    retried = Policy().retry_statuses if statuses is None else statuses
    return answered(status, headers or {}, retry_statuses=retried, now=NOW)


@pytest.mark.parametrize("status", [100, 200, 204, 206, 301, 304, 399])
def test_answers_below_400_succeed(status: int) -> None:
    """Redirects and "not modified" count as successes."""
    assert outcome(status) == Outcome(Result.SUCCESS, status=status, detail=str(status))


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 418, 422, 424, 426])
def test_client_errors_are_answers(status: int) -> None:
    """A 404 is no failure of the upstream, and is not retried."""
    assert outcome(status) == Outcome(Result.CLIENT_ERROR, status=status, detail=str(status))


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (408, Reason.TIMEOUT),
        (425, Reason.OTHER),
        (429, Reason.HTTP_429),
        (500, Reason.HTTP_5XX),
        (502, Reason.HTTP_5XX),
        (503, Reason.HTTP_5XX),
        (504, Reason.HTTP_5XX),
    ],
)
def test_the_usual_transient_statuses(status: int, reason: Reason) -> None:
    """The statuses that may pass are failures, and transient."""
    assert outcome(status) == Outcome(Result.FAILURE, reason, status, transient=True, detail=str(status))


@pytest.mark.parametrize("status", [501, 505, 599])
def test_other_server_errors_are_not_retried(status: int) -> None:
    """A 501 is a failure of the server, but it is not retried."""
    assert outcome(status) == Outcome(Result.FAILURE, Reason.HTTP_5XX, status, transient=False, detail=str(status))


@pytest.mark.parametrize("status", [0, 42, 600, 999])
def test_a_status_that_http_does_not_know_is_a_failure(status: int) -> None:
    """An invalid HTTP status is a failure that is not retried."""
    assert outcome(status).reason is Reason.OTHER
    assert not outcome(status).transient


def test_which_statuses_are_transient_is_the_policys_choice() -> None:
    """retry_statuses decides, in both directions."""
    assert outcome(404, statuses=frozenset({404})).transient
    assert not outcome(503, statuses=frozenset({404})).transient


@pytest.mark.parametrize("headers", [EXHAUSTED, {"RateLimit-Remaining": "0"}, {"Retry-After": "9"}])
def test_a_403_for_an_exhausted_quota_is_rate_limiting(headers: dict[str, str]) -> None:
    """GitHub says 403 where others say 429: it is retried as a 429 is."""
    limited = outcome(403, headers)
    assert (limited.result, limited.reason, limited.transient) == (Result.FAILURE, Reason.HTTP_429, True)
    assert not outcome(403, headers, frozenset({503})).transient


def test_a_403_with_quota_left_is_a_client_error() -> None:
    """Forbidden is forbidden, as long as the quota is not the reason."""
    assert outcome(403, EXHAUSTED | {"X-RateLimit-Remaining": "3"}).result is Result.CLIENT_ERROR


def test_the_server_says_when_to_come_back() -> None:
    """Retry-After counts on every failure; the reset of a quota where it is used up; the later of both."""
    assert outcome(503, {"Retry-After": "7"}).retry_after == 7
    assert outcome(429, EXHAUSTED).retry_after == 9
    assert outcome(403, EXHAUSTED).retry_after == 9
    assert outcome(429, EXHAUSTED | {"Retry-After": "7"}).retry_after == 9
    assert outcome(429, EXHAUSTED | {"Retry-After": "70"}).retry_after == 70
    assert outcome(429, EXHAUSTED | {"X-RateLimit-Remaining": "1"}).retry_after is None
    assert outcome(503, EXHAUSTED).retry_after is None


@given(status=st.integers(-1, 1000), headers=st.dictionaries(st.sampled_from(["Retry-After", *EXHAUSTED]), st.text()))
def test_only_failures_have_a_reason(status: int, headers: dict[str, str]) -> None:
    """Every answer is a success, a client error, or a failure for a known reason."""
    came_to = outcome(status, headers)
    assert (came_to.reason is not None) is (came_to.result is Result.FAILURE)
    assert came_to.status == status
    assert came_to.sent
