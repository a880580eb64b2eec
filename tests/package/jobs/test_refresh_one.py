"""Refreshing one package: what is stored of each part, and how parts affect each other."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import DataError, connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import REGISTRY

from package.jobs import fetching
from package.jobs.ledger import FRESH
from package.jobs.refresh_one import refresh_one, tell_of_fallback
from package.jobs.stopper import Stopped
from package.models import Category, Package, SourceStatus, Version
from package.repos.base import NotARepository
from package.sources import registry
from package.sources.client import Client
from package.sources.errors import Gone, LeftAlone, NotModified, NotReady, Unreachable, Unusable
from package.sources.fields import Reading
from package.sources.pypi_fields import ProjectReading
from package.sources.registry import Part
from package.sources.results import FetchOutcome, FetchResult, SkippedField
from tests.package.conftest import CannedPyPI, MakePackage, of, stub
from tests.upstreams.pypi import project

DOWN = Unreachable("The stub answered HTTP 503", "http_5xx")
BROKEN = Unusable("The stub answered HTTP 400", "other")
GONE = Gone("The stub has no such resource (HTTP 404)", "gone")


def forks(number: int) -> Reading:
    return Reading({"repo_forks": number})


def watchers(number: int | None) -> Reading:
    return Reading({"repo_watchers": number})


def left_alone() -> LeftAlone:
    return LeftAlone("The stub is down; nothing is sent before 12:00:00 UTC", "breaker_open", datetime.now(UTC))


def ledger(package: Package) -> dict[str, SourceStatus]:
    """Return the ledger's rows of a package by part, or by source if that has only one part."""
    return {row.part or row.source: row for row in SourceStatus.objects.filter(package=package)}


def outcomes(results: list[FetchResult]) -> dict[str, str]:
    return {result.part: result.outcome.value for result in results}


def reloaded(package: Package) -> Package:
    return Package.objects.get(pk=package.pk)


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


class TestParts:
    """Each part is fetched and stored separately."""

    def test_one_that_fails_does_not_stop_the_others(self, package: Package, parts: list[Part]) -> None:
        """If a part fails, the parts before and after it are stored."""
        parts += [stub("a", forks(5)), stub("b", BROKEN), stub("c", watchers(9))]
        assert outcomes(refresh_one(package)) == {"a": "updated", "b": "failed", "c": "updated"}
        kept = reloaded(package)
        assert (kept.repo_forks, kept.repo_watchers) == (5, 9)
        assert kept.last_exception == "The stub answered HTTP 400"

    def test_a_bug_in_one_does_not_stop_the_others(
        self, package: Package, parts: list[Part], caplog: pytest.LogCaptureFixture
    ) -> None:
        """An unexpected error is logged with its traceback, recorded without any data, and counts as a failure."""
        parts += [stub("a", forks(5)), stub("b", ZeroDivisionError("s3cret")), stub("c", watchers(9))]
        for count in (1, 2):
            results = refresh_one(package)
            assert outcomes(results) == {"a": "updated", "b": "failed", "c": "updated"}
            kept = reloaded(package)
            assert kept.last_exception == "unexpected ZeroDivisionError; see the log"
            assert kept.last_exception_count == ledger(package)["b"].failures == count
        assert any(record.exc_info and "fortune" in record.getMessage() for record in caplog.records)

    def test_each_has_its_row_in_the_ledger(self, package: Package, pypi: CannedPyPI) -> None:
        """The ledger has a row for each part: outcome, cost, and when it is due again."""
        pypi.mock.get(pypi.url("fortune"), status=503)
        pypi.mock.get(pypi.url("fortune"), json={"info": {}})
        pypi.statistics_answer(403)
        before = timezone.now()
        refresh_one(package)
        rows = ledger(package)
        good, bad = rows["pypi"], rows["pypistats"]
        assert (good.outcome, good.http_status, good.attempts, good.seconds) == ("partly updated", 200, 2, 1.0)
        assert good.last_success == good.last_attempt
        assert (bad.outcome, bad.http_status, bad.attempts, bad.failures) == ("failed", 403, 1, 1)
        assert (bad.error, bad.reason) == ("PyPI's download statistics answered HTTP 403", "other")
        assert bad.last_success is None
        for row in (good, bad):
            assert row.last_attempt
            assert before <= row.last_attempt <= timezone.now() < (row.next_due or before)

    def test_some_may_be_asked_for_alone(self, package: Package, parts: list[Part]) -> None:
        """Parts that are not requested keep their data and their rows."""
        parts += [stub("a", forks(5)), stub("b", watchers(9))]
        refresh_one(package)
        before = ledger(package)["b"].next_due
        again = stub("a", forks(6))
        assert outcomes(refresh_one(package, parts=[again])) == {"a": "updated"}
        kept = reloaded(package)
        assert (kept.repo_forks, kept.repo_watchers, ledger(package)["b"].next_due) == (6, 9, before)

    def test_keep_a_memory(self, package: Package, parts: list[Part]) -> None:
        """The memory of a part is there for its next fetch, even after failures."""

        def count(client: Client) -> Reading:
            client.memory["times"] = client.memory.get("times", 0) + 1
            if client.memory["times"] == 2:
                raise BROKEN
            return forks(client.memory["times"])

        parts.append(stub("a", count))
        for _ in range(3):
            refresh_one(package)
        assert reloaded(package).repo_forks == 3

    def test_a_value_that_says_nothing_blanks_nothing(self, make_package: MakePackage, parts: list[Part]) -> None:
        """A value that was not read does not replace the stored one."""
        package = make_package(repo_forks=5, repo_watchers=9)
        parts.append(stub("a", forks(6)))
        refresh_one(package)
        assert reloaded(package).repo_watchers == 9

    def test_of_an_address_that_the_package_had_before_are_forgotten(self, package: Package, parts: list[Part]) -> None:
        """The ledger's rows of a previous host are deleted."""
        parts += [stub("a", BROKEN, source="old"), stub("b", forks(1), source="old"), stub("c", forks(2))]
        refresh_one(package)
        del parts[:2]
        refresh_one(package)
        assert set(ledger(package)) == {"c"}
        assert reloaded(package).last_exception == ""

    def test_of_other_packages_are_not_touched(self, make_package: MakePackage, parts: list[Part]) -> None:
        """The rows of other packages are not changed."""
        parts.append(stub("a", forks(5)))
        first, second = make_package("first"), make_package("second")
        refresh_one(first)
        refresh_one(second)
        parts[:] = [stub("a", BROKEN)]
        refresh_one(first)
        assert (ledger(first)["a"].outcome, ledger(second)["a"].outcome) == ("failed", "updated")

    def test_there_may_be_none(self, make_package: MakePackage) -> None:
        """A package without sources has had its turn, and is due tomorrow."""
        package, before = make_package(pypi_url="", last_exception="x", last_exception_count=3), timezone.now()
        [result] = refresh_one(package)
        kept = reloaded(package)
        assert (result.outcome, kept.last_exception, kept.last_exception_count) == (FetchOutcome.SKIPPED, "", 0)
        assert kept.last_fetched is None, "nothing was fetched"
        assert before + FRESH <= kept.next_due <= timezone.now() + FRESH


class TestWhatThePackageSays:
    """last_fetched, last_exception and next_due summarize the ledger."""

    @pytest.mark.parametrize(
        ("answer", "moves"),
        [
            (forks(5), True),
            (Reading(skipped=[SkippedField("repo_forks", "is not a valid count")]), True),
            (NotModified(), True),
            (GONE, True),
            (BROKEN, False),
            (DOWN, False),
            (NotReady("not yet", "not_ready"), False),
            (left_alone(), False),
        ],
        ids=lambda value: type(value).__name__,
    )
    def test_last_fetched_is_when_something_answered(
        self, make_package: MakePackage, parts: list[Part], answer: Any, moves: bool
    ) -> None:
        """last_fetched does not change if no source answered."""
        before = timezone.now() - timedelta(days=3)
        package = make_package(last_fetched=before)
        parts.append(stub("a", answer))
        refresh_one(package)
        assert (reloaded(package).last_fetched != before) is moves

    def test_last_exception_is_of_all_that_fail(self, package: Package, parts: list[Part]) -> None:
        """last_exception has each error of the failing parts once, in order."""
        parts += [stub("a", BROKEN), stub("b", forks(1)), stub("c", DOWN, source="x"), stub("d", BROKEN, source="y")]
        refresh_one(package)
        kept = reloaded(package)
        assert kept.last_exception == "The stub answered HTTP 400; The stub answered HTTP 503"
        assert kept.last_exception_count == 1, "one refresh that did not go well, whatever it was that did not"

    def test_what_failed_before_and_was_not_asked_for_fails_still(self, package: Package, parts: list[Part]) -> None:
        """The failure of a part that was not requested now stays."""
        parts += [stub("a", BROKEN), stub("b", forks(1))]
        refresh_one(package)
        refresh_one(package, parts=parts[1:])
        kept = reloaded(package)
        assert (kept.last_exception, kept.last_exception_count) == ("The stub answered HTTP 400", 1)
        refresh_one(package, parts=[stub("a", forks(2))])
        kept = reloaded(package)
        assert (kept.last_exception, kept.last_exception_at, kept.last_exception_count) == ("", None, 0)

    def test_counts_one_failure_however_often_it_is_tried_again(self, package: Package, parts: list[Part]) -> None:
        """The passes of one run are one failure."""
        parts.append(stub("a", DOWN))
        refresh_one(package)
        for _ in range(4):
            refresh_one(package, again=True)
        assert (reloaded(package).last_exception_count, ledger(package)["a"].failures) == (1, 1)

    def test_counts_one_failure_whatever_lies_between(self, package: Package, parts: list[Part]) -> None:
        """A pass in which nothing was sent does not split one failure into two."""
        parts.append(stub("a", DOWN, left_alone(), DOWN))
        refresh_one(package)
        for _ in range(2):
            refresh_one(reloaded(package), again=True)
        assert (reloaded(package).last_exception_count, ledger(package)["a"].failures) == (1, 1)

    def test_what_was_mended_is_not_said_to_fail(self, package: Package, parts: list[Part]) -> None:
        """A part that succeeds ends the failure, even if a part that never failed was left alone."""
        parts += [stub("a", BROKEN, forks(5)), stub("b", left_alone(), source="elsewhere")]
        for _ in range(2):
            refresh_one(package)
        kept = reloaded(package)
        assert (kept.last_exception, kept.last_exception_at, kept.last_exception_count) == ("", None, 0)

    def test_a_source_that_is_left_alone_does_not_mend_the_package(self, package: Package, parts: list[Part]) -> None:
        """A source that is left alone keeps its failures, their time and the error."""
        parts.append(stub("a", BROKEN, BROKEN, left_alone()))
        for _ in range(2):
            refresh_one(package)
        before = reloaded(package)
        refresh_one(package)
        after = reloaded(package)
        assert before.last_exception_count == after.last_exception_count == 2
        assert after.last_exception_at == before.last_exception_at
        assert after.last_exception

    def test_next_due_is_that_of_the_first_part(self, package: Package, parts: list[Part]) -> None:
        """A package is due when one of its parts is."""
        parts += [stub("a", forks(1)), stub("b", BROKEN)]
        refresh_one(package)
        rows = ledger(package)
        assert reloaded(package).next_due == rows["b"].next_due
        assert rows["b"].next_due < rows["a"].next_due

    def test_next_due_is_now_while_a_part_was_never_tried(self, package: Package, parts: list[Part]) -> None:
        """A part that was never tried makes the package due now."""
        parts += [stub("a", forks(1)), stub("b", watchers(1))]
        refresh_one(package, parts=parts[:1])
        assert reloaded(package).next_due is None


class TestGone:
    """Packages that a source does not have."""

    PARTS = ("metadata", "commits")

    def gone(self, since: str, *answers: Any) -> list[Part]:
        """Return two parts of a source; the first one shows whether the source has the package."""
        return [stub("metadata", *answers, missing_since=since), stub("commits", forks(5))]

    @pytest.mark.parametrize("since", ["repo_missing_since", "pypi_missing_since"])
    def test_is_marked_until_it_is_back(
        self, package: Package, parts: list[Part], caplog: pytest.LogCaptureFixture, since: str
    ) -> None:
        """The time since when it is gone stays, it is logged once, and an answer clears it."""
        parts += self.gone(since, GONE, GONE, DOWN, NotModified())
        refresh_one(package)
        moment = getattr(reloaded(package), since)
        assert moment
        for _ in range(2):
            refresh_one(reloaded(package))
            assert getattr(reloaded(package), since) == moment
        assert warnings(caplog) == ["fortune: The stub has no such resource (HTTP 404)"]
        refresh_one(reloaded(package))
        assert getattr(reloaded(package), since) is None

    def test_is_no_failure(self, package: Package, parts: list[Part]) -> None:
        """A package that is gone is marked, but has no failure."""
        parts += self.gone("repo_missing_since", GONE)
        refresh_one(package)
        kept = reloaded(package)
        assert (kept.last_exception, kept.last_exception_count) == ("", 0)

    def test_is_not_asked_for_in_parts(self, package: Package, parts: list[Part]) -> None:
        """The other parts of a repository that is gone are not requested; the ledger says why."""
        parts += [*self.gone("repo_missing_since", GONE), stub("other", watchers(9), source="elsewhere")]
        assert outcomes(refresh_one(package)) == {"metadata": "not found", "other": "updated"}
        kept = reloaded(package)
        assert (kept.repo_forks, kept.repo_watchers) == (0, 9)
        row = ledger(package)["commits"]
        assert (row.outcome, row.attempts, row.last_attempt) == ("not found", 0, None)
        assert row.next_due > timezone.now() + timedelta(hours=20)

    def test_in_one_part_only_is_gone_there_only(
        self, package: Package, parts: list[Part], caplog: pytest.LogCaptureFixture
    ) -> None:
        """If only one part is gone, the repository is not marked."""
        parts += [stub("metadata", watchers(9), missing_since="repo_missing_since"), stub("commits", GONE)]
        assert outcomes(refresh_one(package)) == {"metadata": "updated", "commits": "not found"}
        assert reloaded(package).repo_missing_since is None
        assert warnings(caplog) == []


class TestSilence:
    """Sources that do not answer at all."""

    def test_is_not_asked_for_its_other_parts(self, package: Package, parts: list[Part]) -> None:
        """The other parts of a silent source are not requested; other sources are."""
        asked: list[str] = []

        def read(client: Client) -> Reading:
            asked.append(client.server.name)
            return forks(5)

        parts += [stub("a", DOWN), stub("b", read), stub("c", watchers(9), source="elsewhere")]
        results = refresh_one(package)
        assert outcomes(results) == {"a": "failed", "b": "failed", "c": "updated"}
        assert (results[1].error, results[1].again, asked) == (str(DOWN), True, [])
        tried, untried = ledger(package)["a"], ledger(package)["b"]
        assert (tried.failures, tried.last_attempt is None) == (1, False)
        assert (untried.failures, untried.last_attempt, untried.attempts) == (0, None, 0)
        assert untried.next_due > timezone.now() + timedelta(minutes=59), "nor is it asked at once the next time"

    def test_of_one_answer_is_not_silence(self, package: Package, parts: list[Part]) -> None:
        """After a 503, the other parts are still requested."""

        def limited(client: Client) -> Reading:
            client.status = 503
            raise DOWN

        parts += [stub("a", limited), stub("b", forks(5))]
        assert outcomes(refresh_one(package)) == {"a": "failed", "b": "updated"}


class TestMoved:
    """Repositories that have moved."""

    @pytest.fixture(autouse=True)
    def _repositories(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def find(url: str, host: str = "") -> object:
            if not url.startswith("https://shelf.test/"):
                raise NotARepository(f"{url!r} is no repository")
            return object()

        monkeypatch.setattr(fetching, "get_repo_for_repo_url", find)

    @pytest.fixture
    def package(self, make_package: MakePackage) -> Package:
        return make_package(repo_url="https://shelf.test/old/name")

    def test_is_found_there_the_next_time(
        self, package: Package, parts: list[Part], caplog: pytest.LogCaptureFixture
    ) -> None:
        """The new address is stored with the data, and a WARNING is logged."""
        parts.append(stub("a", Reading({"repo_forks": 5}, moved_to="https://shelf.test/new/name")))
        refresh_one(package)
        kept = reloaded(package)
        assert (kept.repo_url, kept.repo_forks) == ("https://shelf.test/new/name", 5)
        [warning] = warnings(caplog)
        assert "fortune" in warning
        assert "has moved to https://shelf.test/new/name" in warning

    def test_to_where_nobody_is_asked_stays(
        self, package: Package, parts: list[Part], caplog: pytest.LogCaptureFixture
    ) -> None:
        """A new address that is not that of a repository is not stored."""
        parts.append(stub("a", Reading({"repo_forks": 5}, moved_to="https://evil.test/")))
        refresh_one(package)
        kept = reloaded(package)
        assert (kept.repo_url, kept.repo_forks) == ("https://shelf.test/old/name", 5)
        [warning] = warnings(caplog)
        assert "has moved, but 'https://evil.test/' is no repository" in warning


def stopped(client: Client) -> Reading:
    """End the run during a request."""
    client.asked = True
    raise Stopped("the time budget is used up")


class TestStopped:
    """The run ends in the middle of a package."""

    def test_saves_what_had_come(self, package: Package, parts: list[Part]) -> None:
        """Results before the stop are stored; the current part and those without a turn are due at once."""
        parts += [stub("a", forks(5)), stub("b", stopped), stub("c", watchers(9))]
        with pytest.raises(Stopped):
            refresh_one(package)
        kept, rows = reloaded(package), ledger(package)
        assert (kept.repo_forks, kept.repo_watchers) == (5, 0)
        assert kept.last_exception == "the run ended before an attempt succeeded: the time budget is used up"
        assert set(rows) == {"a", "b"}
        assert rows["a"].outcome == "updated"
        assert (rows["b"].outcome, rows["b"].reason) == ("failed", "stopped")
        assert rows["b"].next_due <= timezone.now()

    def test_notes_nothing_on_what_was_not_asked_for(self, package: Package, parts: list[Part]) -> None:
        """Parts that were not requested are not recorded."""
        parts += [stub("a", forks(5)), stub("b", Stopped("the time budget is used up"))]
        with pytest.raises(Stopped):
            refresh_one(package)
        kept = reloaded(package)
        assert set(ledger(package)) == {"a"}
        assert (kept.last_exception, kept.last_exception_at) == ("", None)
        assert kept.next_due is None

    def test_is_no_failure_of_the_source(self, package: Package, parts: list[Part]) -> None:
        """A part that was cut short does not count as failed."""
        parts.append(stub("a", stopped))
        with pytest.raises(Stopped):
            refresh_one(package)
        assert ledger(package)["a"].failures == 0


class TestRefusedByTheDatabase:
    """Values that were read but that the database refuses."""

    @pytest.fixture
    def refusing(self, parts: list[Part]) -> list[Part]:
        """Return three parts; the database refuses the second, which has no value for a required column."""
        parts += [stub("a", forks(5)), stub("b", watchers(None)), stub("c", Reading({"commit_count": 7}))]
        return parts

    def test_fails_alone(self, package: Package, refusing: list[Part], caplog: pytest.LogCaptureFixture) -> None:
        """The other parts are stored; the database's error is in the log, but not on the package."""
        results = refresh_one(package)
        assert outcomes(results) == {"a": "updated", "b": "failed", "c": "updated"}
        assert (results[1].reason, results[1].updated) == ("database", ())
        kept = reloaded(package)
        assert (kept.repo_forks, kept.repo_watchers, kept.commit_count) == (5, 0, 7)
        assert kept.last_exception == "could not be stored: IntegrityError; see the log"
        assert any(record.exc_info for record in caplog.records)

    def test_is_in_the_ledger(self, package: Package, refusing: list[Part]) -> None:
        """A refused value counts as a failure of its part, whose response is read again the next time."""
        for failures in (1, 2, 3):
            refresh_one(package)
            rows = ledger(package)
            assert (rows["b"].outcome, rows["b"].reason, rows["b"].failures) == ("failed", "database", failures)
            assert (rows["b"].validators, rows["b"].last_success) == ({}, None)
            assert rows["b"].next_due > timezone.now()
            assert (rows["a"].outcome, rows["c"].outcome) == ("updated", "updated")

    def test_counts_once(self, package: Package, refusing: list[Part]) -> None:
        """A refused value and another failure in one refresh count as one failure of the package."""
        refusing.append(stub("d", BROKEN))
        refresh_one(package)
        assert reloaded(package).last_exception_count == 1

    def test_leaves_no_half_of_it(self, package: Package, pypi: CannedPyPI, monkeypatch: pytest.MonkeyPatch) -> None:
        """A version is stored with its package, or not at all."""
        save = ProjectReading.save

        def refuse(reading: ProjectReading, package: Package) -> list[str]:
            save(reading, package)
            raise DataError("value too long")

        monkeypatch.setattr(ProjectReading, "save", refuse)
        pypi.knows("fortune")
        results = refresh_one(package)
        assert of(results, "pypi").reason == "database"
        assert of(results, "pypistats").outcome is FetchOutcome.UPDATED
        kept = reloaded(package)
        assert (kept.pypi_license, kept.latest_version, kept.pypi_downloads) == ("", None, 1000)
        assert not Version.objects.exists()

    def test_and_an_old_address_are_both_dealt_with(self, package: Package, refusing: list[Part]) -> None:
        """Rows of a previous address are deleted even if the first attempt to store was rolled back."""
        SourceStatus.objects.create(package=package, source="old", part="x")
        refresh_one(package)
        assert set(ledger(package)) == {"a", "b", "c"}


def test_two_refreshes_at_the_same_time_get_along(package: Package, pypi: CannedPyPI) -> None:
    """A visitor and a run refresh the same package: both results are saved, the later one last."""
    inner: list[FetchResult] = []

    def refresh_meanwhile(_: object) -> tuple[int, dict[str, str], str]:
        if not inner:
            inner.append(FetchResult("", FetchOutcome.SKIPPED))
            inner.extend(refresh_one(reloaded(package)))
        return 200, {}, json.dumps(project("fortune"))

    pypi.calls("fortune", refresh_meanwhile)
    outer = refresh_one(package)
    assert of(inner).outcome is of(outer).outcome is FetchOutcome.UPDATED
    assert Version.objects.count() == 1
    assert {row.outcome for row in ledger(package).values()} == {"updated"}


SAID: dict[str, Callable[[int], Any]] = {
    "a value": forks,
    "nothing new": lambda _: NotModified(),
    "nonsense": lambda _: BROKEN,
    "503": lambda _: DOWN,
    "not yet": lambda _: NotReady("not yet", "not_ready"),
    "nothing, being left alone": lambda _: left_alone(),
    "gone": lambda _: GONE,
}
FIELDS = ("repo_forks", "repo_watchers", "commit_count")


@settings(max_examples=50)
@given(refreshes=st.lists(st.tuples(*[st.sampled_from(sorted(SAID))] * len(FIELDS)), min_size=1, max_size=6))
def test_whatever_sources_say_the_package_agrees_with_its_ledger(
    category: Category, refreshes: list[tuple[str, ...]]
) -> None:
    """For any results, the package agrees with its ledger: values, errors and when it is due."""
    Package.objects.all().delete()
    package = Package.objects.create(title="x", slug="x", category=category, pypi_url="x")
    expected = dict.fromkeys(FIELDS, 0)
    failures = dict.fromkeys(FIELDS, 0)
    for number, answers in enumerate(refreshes, 1):
        parts = []
        for field, said in zip(FIELDS, answers, strict=True):
            answer = SAID[said](number)
            if isinstance(answer, Reading):
                answer = Reading({field: number})
                expected[field] = number
            parts.append(stub(field, answer, source=field))
            good = said in {"a value", "nothing new"}
            failures[field] = 0 if good else failures[field] + (said in {"nonsense", "503", "gone"})
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(registry, "parts_of", lambda _, parts=parts: parts)
            refresh_one(reloaded(package))
        kept, rows = reloaded(package), ledger(package)
        assert {field: getattr(kept, field) for field in FIELDS} == expected
        assert {field: rows[field].failures for field in FIELDS} == failures
        dues = [rows[field].next_due for field in FIELDS]
        assert kept.next_due == (None if None in dues else min(dues))
        failing = [rows[field].error for field in FIELDS if rows[field].outcome == "failed"]
        left = any(row.outcome == "left alone" and row.failures for row in rows.values())
        if failing or not left:
            assert set(filter(None, kept.last_exception.split("; "))) == set(failing)
        assert bool(kept.last_exception) == bool(kept.last_exception_at) == bool(kept.last_exception_count)


class TestConditional:
    """Data that has not changed since the last fetch."""

    @pytest.fixture
    def fetched(self, package: Package, pypi: CannedPyPI) -> Package:
        """Return a package that was refreshed three days ago, from a PyPI that gives ETags."""
        pypi.says("fortune", project("fortune"), headers={"ETag": '"1"'})
        refresh_one(package)
        before = timezone.now() - timedelta(days=3)
        SourceStatus.objects.update(last_success=before, last_attempt=before, next_due=before + FRESH)
        Package.objects.update(last_fetched=before)
        return reloaded(package)

    @staticmethod
    def conditions(pypi: CannedPyPI) -> list[str | None]:
        return [
            call.request.headers.get("If-None-Match") for call in pypi.mock.calls if "pypi.test" in call.request.url
        ]

    def test_costs_no_transfer_and_changes_nothing(self, fetched: Package, pypi: CannedPyPI) -> None:
        """The second request is conditional; a 304 counts as an answer and empties nothing."""
        pypi.answers("fortune", 304)
        before = timezone.now()
        result = of(refresh_one(fetched))
        assert self.conditions(pypi) == [None, '"1"']
        assert (result.outcome, result.updated, result.error) == (FetchOutcome.UNCHANGED, (), "")
        kept, row = reloaded(fetched), ledger(fetched)["pypi"]
        assert (kept.pypi_license, kept.latest_version.number) == ("MIT", "2.1")
        assert (row.outcome, row.http_status, row.failures) == ("unchanged", 304, 0)
        assert row.last_success >= before
        assert row.next_due >= before + FRESH
        assert kept.last_fetched >= before

    def test_stays_so(self, fetched: Package, pypi: CannedPyPI) -> None:
        """The validators stay after a 304."""
        pypi.answers("fortune", 304)
        for _ in range(3):
            assert of(refresh_one(fetched)).outcome is FetchOutcome.UNCHANGED
        assert self.conditions(pypi) == [None, '"1"', '"1"', '"1"']

    def test_outlives_a_failure(self, fetched: Package, pypi: CannedPyPI) -> None:
        """The validators stay after an outage."""
        pypi.answers("fortune", 400)
        refresh_one(fetched)
        pypi.answers("fortune", 304)
        assert of(refresh_one(fetched)).outcome is FetchOutcome.UNCHANGED

    def test_what_could_not_be_used_is_read_again(self, fetched: Package, pypi: CannedPyPI) -> None:
        """After a partly usable response, the next request is unconditional."""
        pypi.says("fortune", {"info": {"classifiers": 5}}, headers={"ETag": '"2"'})
        for _ in range(2):
            assert of(refresh_one(fetched)).outcome is FetchOutcome.PARTLY
        assert self.conditions(pypi) == [None, '"1"', None]

    def test_another_address_is_another_thing(self, fetched: Package, pypi: CannedPyPI) -> None:
        """Validators of a previous project are not sent for the new one."""
        Package.objects.update(pypi_url="cookie")
        pypi.knows("cookie")
        assert of(refresh_one(reloaded(fetched))).outcome is FetchOutcome.UPDATED
        assert self.conditions(pypi)[-1] is None


def test_costs_few_queries(package: Package, pypi: CannedPyPI, django_assert_max_num_queries: Any) -> None:
    """A package with all its parts is read and saved with a few queries."""
    pypi.knows("fortune")
    with django_assert_max_num_queries(13):
        assert of(refresh_one(package)).outcome is FetchOutcome.UPDATED
    with django_assert_max_num_queries(11):
        assert of(refresh_one(package)).outcome is FetchOutcome.UPDATED
    assert len(ledger(package)) == 2


def test_parts_cost_no_queries_of_their_own(package: Package, parts: list[Part]) -> None:
    """The ledger is read once and written once, however many parts there are."""
    costs = []
    for number in (1, 7):
        parts[:] = [stub(str(part), forks(part)) for part in range(number)]
        with CaptureQueriesContext(connection) as queries:
            refresh_one(package)
        assert len(ledger(package)) == number
        costs.append(len(queries))
    assert costs[0] == costs[1] <= 7


class TestFallback:
    """tell_of_fallback: stored data replaces an answer."""

    @pytest.mark.parametrize(
        ("result", "served"),
        [
            ({"outcome": FetchOutcome.LEFT_ALONE}, 1),
            ({"outcome": FetchOutcome.FAILED, "reached": False}, 1),
            ({"outcome": FetchOutcome.LEFT_ALONE, "stored": None}, 0),
            ({"outcome": FetchOutcome.FAILED, "reached": False, "stored": None}, 0),
            ({"outcome": FetchOutcome.FAILED}, 0),
            ({"outcome": FetchOutcome.UPDATED}, 0),
            ({"outcome": FetchOutcome.UNCHANGED}, 0),
            ({"outcome": FetchOutcome.NOT_FOUND}, 0),
        ],
        ids=str,
    )
    def test_is_counted_where_there_is_something_stored(self, result: dict[str, Any], served: int) -> None:
        """A fallback counts if a source was not asked or did not answer, and data of it is stored."""
        before = fallbacks()
        tell_of_fallback(FetchResult("pypi", **{"upstream": "pypi", "stored": timezone.now(), **result}))
        assert fallbacks() - before == served

    def test_is_known_to_who_refreshes(self, package: Package, pypi: CannedPyPI) -> None:
        """A result has the time of the last success, if there was one."""
        pypi.answers("fortune", 503)
        assert of(refresh_one(package)).stored is None
        pypi.knows("fortune")
        refresh_one(package)
        pypi.answers("fortune", 503)
        result = of(refresh_one(package))
        assert (result.stored, result.upstream) == (ledger(package)["pypi"].last_success, "pypi")


def fallbacks(upstream: str = "pypi") -> float:
    labels = {"upstream": upstream, "source": "database"}
    return REGISTRY.get_sample_value("outbound_http_fallbacks_total", labels) or 0.0


def test_an_address_that_somebody_changed_meanwhile_stays(package: Package, parts: list[Part]) -> None:
    """If the address changes during a fetch, nothing is stored, and the package stays due."""

    def edited(_: Client) -> Reading:
        Package.objects.update(repo_url="https://github.com/new/name", next_due=None)
        return Reading({"repo_forks": 7}, moved_to="https://github.com/moved/away")

    parts.append(stub("a", edited))
    refresh_one(package)
    kept = reloaded(package)
    assert (kept.repo_url, kept.repo_forks, kept.next_due) == ("https://github.com/new/name", 0, None)
    assert not SourceStatus.objects.exists()


def test_what_is_back_is_fetched_as_a_whole(package: Package, parts: list[Part]) -> None:
    """When a repository is back, all its parts are due."""
    first = replace(stub("a", forks(1), Gone("gone"), forks(2)), missing_since="repo_missing_since")
    parts += [first, stub("b", forks(1))]
    for _ in range(2):
        refresh_one(package)
    refresh_one(reloaded(package), parts=[first])
    assert reloaded(package).next_due is None


def test_asking_out_of_turn_does_not_put_off_its_turn(package: Package, parts: list[Part]) -> None:
    """Refreshes by visitors do not delay when a failing part is due."""
    parts.append(stub("a", DOWN))
    refresh_one(package)
    due = timezone.now() + timedelta(minutes=30)  # sooner than any pause after a failure, whatever its random share
    SourceStatus.objects.update(next_due=due)
    for _ in range(3):
        refresh_one(reloaded(package), again=True)
    kept = reloaded(package)
    assert kept.next_due == due
    assert (kept.last_exception_count, ledger(package)["a"].failures) == (1, 1)
