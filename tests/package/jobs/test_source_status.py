"""How a fetch changes the source status of its part."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import requests

from package.jobs.refresh_schedule import FRESH
from package.jobs.source_status import record
from package.models import SourceStatus
from package.sources.api_server import Server
from package.sources.client import READING, Client
from package.sources.fetch_results import GOOD, FetchOutcome, FetchResult, SkippedField
from tests.package.jobs.outcomes import BAD, RECORDED

NOW = datetime(2030, 1, 1, 12, tzinfo=UTC)
BEFORE = NOW - timedelta(days=3)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


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
