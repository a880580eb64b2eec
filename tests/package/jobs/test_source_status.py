"""How a fetch changes the source status of its part, and when the part is due again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from package.jobs.source_status import FRESH, NOT_READY, next_due, record
from package.models import SourceStatus
from package.sources.api_server import Server
from package.sources.client import READING, Client
from package.sources.fetch_results import GOOD, FetchOutcome, FetchResult, SkippedField

NOW = datetime(2030, 1, 1, 12, tzinfo=UTC)
BEFORE = NOW - timedelta(days=3)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
BAD = FetchOutcome.FAILED, FetchOutcome.NOT_FOUND
RECORDED = [
    outcome
    for outcome in FetchOutcome
    if outcome not in {FetchOutcome.LEFT_ALONE, FetchOutcome.SKIPPED, FetchOutcome.PUT_ASIDE}
]


def wait(outcome: FetchOutcome, failures: int = 0, chance: float = 0.0) -> timedelta:
    return next_due(outcome, failures, NOW, lambda: chance) - NOW


class TestNextDue:
    """next_due."""

    @pytest.mark.parametrize("outcome", sorted(GOOD))
    def test_after_an_answer(self, outcome: FetchOutcome) -> None:
        """After a success, a part is due before the next daily run, even if that starts some hours early."""
        assert wait(outcome) == FRESH
        assert DAY / 2 < FRESH < DAY

    def test_while_the_source_works_on_it(self) -> None:
        """A part that was not ready is due in an hour."""
        assert wait(FetchOutcome.NOT_READY, failures=9) == NOT_READY == HOUR

    def test_after_failures(self) -> None:
        """After failures, the interval doubles each time, up to a week."""
        waits = [wait(FetchOutcome.FAILED, failures) / HOUR for failures in range(1, 11)]
        assert waits == [1, 2, 4, 8, 16, 32, 64, 128, 168, 168]

    def test_of_a_part_that_is_gone(self) -> None:
        """A part that is gone is due after a day at first, up to a month later."""
        assert [wait(FetchOutcome.NOT_FOUND, failures) / DAY for failures in range(1, 8)] == [1, 2, 4, 8, 16, 30, 30]

    def test_of_what_the_source_does_not_offer(self) -> None:
        """A part that the source does not offer is due in a week, or a little later."""
        assert wait(FetchOutcome.SKIPPED, failures=1) == 7 * DAY
        assert wait(FetchOutcome.SKIPPED, chance=0.5) == 7.7 * DAY

    def test_is_spread(self) -> None:
        """Parts that failed together are due at different times."""
        assert wait(FetchOutcome.FAILED, 1, chance=0.5) == HOUR * 1.1
        assert wait(FetchOutcome.NOT_FOUND, 9, chance=1.0) == 36 * DAY

    def test_draws_a_number_of_its_own(self) -> None:
        """The random source has a default."""
        assert len({next_due(FetchOutcome.FAILED, 5, NOW) for _ in range(20)}) > 1

    @given(outcome=st.sampled_from(RECORDED), failures=st.integers(0, 2**31 - 1), chance=st.floats(0, 1))
    def test_is_always_in_the_future_and_never_too_far_off(
        self, outcome: FetchOutcome, failures: int, chance: float
    ) -> None:
        """After any number of failures, a part is due within 36 days."""
        longest = 30 * DAY if outcome is FetchOutcome.NOT_FOUND else 7 * DAY
        assert HOUR <= wait(outcome, failures, chance) <= longest * 1.2

    @given(outcome=st.sampled_from(BAD), failures=st.integers(1, 10_000), chance=st.floats(0, 1))
    def test_never_comes_sooner_after_one_more_failure(
        self, outcome: FetchOutcome, failures: int, chance: float
    ) -> None:
        """With the same random number, a further failure never shortens the interval."""
        assert wait(outcome, failures, chance) <= wait(outcome, failures + 1, chance)


def row(**fields: Any) -> SourceStatus:
    """Return a row whose last success was three days ago."""
    return SourceStatus(
        **{
            "source": "pypi",
            "outcome": "updated",
            "http_status": 200,
            "attempts": 1,
            "seconds": 0.5,
            "last_attempt": BEFORE,
            "last_success": BEFORE,
            "next_due": BEFORE + FRESH,
            "validators": {"of": "old"},
            "memory": {"of": "old"},
            **fields,
        }
    )


def note(
    status: SourceStatus, outcome: FetchOutcome, *, again: bool = False, reason: str = "", **fields: Any
) -> SourceStatus:
    """Record the result of a client that needed two attempts."""
    client = Client(requests.Session(), Server("PyPI", "https://pypi.test"), memory={"of": "new"})
    client.status, client.attempts, client.seconds, client.reason = 503, 2, 1.23456, reason
    record(status, FetchResult("pypi", outcome, **fields), client, NOW, again=again)
    return status


class TestRecord:
    """record."""

    @pytest.mark.parametrize("outcome", RECORDED)
    def test_the_cost_of_a_fetch(self, outcome: FetchOutcome) -> None:
        """Status, attempts and seconds of the last fetch, and when it was."""
        noted = note(row(), outcome)
        assert (noted.outcome, noted.http_status, noted.attempts, noted.seconds) == (outcome, 503, 2, 1.235)
        assert noted.last_attempt == NOW
        assert noted.next_due
        assert noted.next_due > NOW

    @pytest.mark.parametrize("outcome", sorted(GOOD))
    def test_an_answer(self, outcome: FetchOutcome) -> None:
        """A success clears the error and the failures."""
        noted = note(row(failures=5, error="out of order", reason="http_5xx"), outcome)
        assert (noted.failures, noted.error, noted.reason) == (0, "", "")
        assert (noted.last_success, noted.next_due) == (NOW, NOW + FRESH)
        assert noted.memory == {"of": "new"}

    @pytest.mark.parametrize("outcome", [FetchOutcome.UPDATED, FetchOutcome.UNCHANGED])
    def test_validators_of_an_answer_are_kept(self, outcome: FetchOutcome) -> None:
        """The validators of a response are stored."""
        assert note(row(), outcome).validators == {"reading": READING, "urls": {}}

    def test_validators_of_a_partly_usable_answer_are_not_kept(self) -> None:
        """A partly usable response is read and reported again, so its validators are not stored."""
        assert note(row(), FetchOutcome.PARTLY).validators == {}

    def test_skipped_fields_are_listed(self) -> None:
        """A partly usable response is not a failure, and the source status lists the skipped fields."""
        skipped = (SkippedField("repo_forks", "is not a valid count"), SkippedField("repo_watchers", "missing"))
        noted = note(row(), FetchOutcome.PARTLY, skipped=skipped)
        assert (noted.error, noted.failures) == ("repo_forks: is not a valid count; repo_watchers: missing", 0)

    @pytest.mark.parametrize("outcome", [*BAD, FetchOutcome.NOT_READY])
    def test_validators_outlive_a_failure(self, outcome: FetchOutcome) -> None:
        """A failure keeps the validators and the time of the last success."""
        noted = note(row(), outcome, error="out of order")
        assert (noted.validators, noted.last_success, noted.error) == ({"of": "old"}, BEFORE, "out of order")

    @pytest.mark.parametrize("outcome", BAD)
    def test_failures_are_counted(self, outcome: FetchOutcome) -> None:
        """Failures in a row are counted, and each lengthens the interval."""
        status, dues = row(), []
        for failures in (1, 2, 3):
            note(status, outcome)
            assert status.failures == failures
            assert status.next_due
            dues.append(status.next_due)
        assert dues == sorted(dues)

    @pytest.mark.parametrize("outcome", BAD)
    def test_a_failure_is_one_however_many_passes_it_took(self, outcome: FetchOutcome) -> None:
        """Several fetches in one run count as one failure."""
        status = note(row(), outcome)
        for _ in range(5):
            note(status, outcome, again=True)
        assert status.failures == 1

    @pytest.mark.parametrize("outcome", BAD)
    def test_passes_without_a_request_do_not_change_the_number_of_failures(self, outcome: FetchOutcome) -> None:
        """Passes in which nothing could be sent neither add a failure nor reset the first one."""
        status = note(row(), outcome)
        note(status, FetchOutcome.LEFT_ALONE)
        assert note(status, outcome, again=True).failures == 1
        fresh = note(row(), FetchOutcome.LEFT_ALONE)
        assert note(fresh, outcome, again=True).failures == 1

    @pytest.mark.parametrize("before", ["failed", "not found", "left alone"])
    @pytest.mark.parametrize("outcome", BAD)
    def test_a_fetch_before_its_time_does_not_delay_the_next_one(self, outcome: FetchOutcome, before: str) -> None:
        """A refresh by a visitor does not delay the next fetch of a package that fails."""
        assert note(row(outcome=before, failures=9, next_due=NOW + HOUR), outcome).next_due == NOW + HOUR

    def test_a_turn_that_has_come_is_followed_by_a_later_one(self) -> None:
        """A failure of a package that was due makes it wait for longer, as does the first failure of all."""
        again = note(row(outcome="failed", failures=3, next_due=NOW - HOUR), FetchOutcome.FAILED)
        first = note(row(next_due=NOW + HOUR), FetchOutcome.NOT_FOUND)
        assert again.next_due is not None
        assert first.next_due is not None
        assert again.next_due >= NOW + 8 * HOUR
        assert first.next_due >= NOW + DAY

    def test_not_ready_is_no_failure(self) -> None:
        """A source that is not ready adds no failure and clears none."""
        assert note(row(failures=3), FetchOutcome.NOT_READY).failures == 3

    def test_a_part_that_is_not_offered_is_no_failure(self) -> None:
        """If the source answers that it does not offer the part, its failures start again at 0."""
        assert note(row(outcome="failed", failures=3), FetchOutcome.SKIPPED).failures == 0

    def test_left_alone_changes_only_outcome_error_and_reason(self) -> None:
        """LEFT_ALONE changes only outcome, error and reason, and stores the memory of the part."""
        left = note(row(failures=2), FetchOutcome.LEFT_ALONE, error="it is down", reason="breaker_open")
        before = row(failures=2)
        assert (left.outcome, left.error, left.reason) == ("left alone", "it is down", "breaker_open")
        changed = {
            field.name
            for field in SourceStatus._meta.concrete_fields
            if field.name != "package" and getattr(left, field.name) != getattr(before, field.name)
        }
        assert changed == {"outcome", "error", "reason", "memory"}

    def test_a_success_has_no_reason(self) -> None:
        """The reason of an earlier request for the part, which another one made good, is not kept."""
        assert note(row(), FetchOutcome.UPDATED, reason="http_5xx").reason == ""

    @pytest.mark.parametrize(
        ("result", "clients", "kept"), [("gone", "http_5xx", "gone"), ("", "http_5xx", "http_5xx"), ("", "", "")]
    )
    def test_the_reason_is_the_best_word_there_is(self, result: str, clients: str, kept: str) -> None:
        """The reason is that of the error, or else that of core.http."""
        status = SourceStatus()
        client = Client(requests.Session(), Server("PyPI", "https://pypi.test"))
        client.reason = clients
        record(status, FetchResult("pypi", FetchOutcome.FAILED, error="x", reason=result), client, NOW, again=False)
        assert status.reason == kept
