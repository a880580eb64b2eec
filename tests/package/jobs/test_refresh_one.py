"""Refreshing one package: each part is fetched and stored separately."""

from __future__ import annotations

import pytest
from django.utils import timezone

from package.jobs.refresh_one import refresh_one
from package.jobs.refresh_schedule import FRESH
from package.models import Package
from package.sources.client import Client
from package.sources.fetch_results import FetchOutcome
from package.sources.fields import Reading
from package.sources.package_parts import Part
from tests.package.conftest import CannedPyPI, MakePackage, stub
from tests.package.jobs.one_package import BROKEN, forks, ledger, outcomes, reloaded, watchers


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
        """Each part has a source status: outcome, cost, and when it is due again."""
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
        """The source statuses of a previous host are deleted."""
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
