"""Refreshing one package: values that the database refuses, concurrent changes, and the number of queries."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.db import DataError, connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from package.jobs.refresh_one import refresh_one
from package.models import Package, SourceStatus, Version
from package.sources.client import Client
from package.sources.fetch_results import FetchOutcome, FetchResult
from package.sources.fields import Reading
from package.sources.package_parts import Part
from package.sources.pypi_fields import ProjectReading
from tests.package.conftest import CannedPyPI, of, stub
from tests.package.jobs.one_package import BROKEN, forks, ledger, outcomes, reloaded, watchers
from tests.upstreams.pypi import project


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

    def test_rows_of_an_old_address_are_deleted_too(self, package: Package, refusing: list[Part]) -> None:
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


def test_costs_few_queries(package: Package, pypi: CannedPyPI, django_assert_max_num_queries: Any) -> None:
    """A package with all its parts is read and saved with a few queries."""
    pypi.knows("fortune")
    with django_assert_max_num_queries(13):
        assert of(refresh_one(package)).outcome is FetchOutcome.UPDATED
    with django_assert_max_num_queries(11):
        assert of(refresh_one(package)).outcome is FetchOutcome.UPDATED
    assert len(ledger(package)) == 2


def test_parts_cost_no_queries_of_their_own(package: Package, parts: list[Part]) -> None:
    """Source statuses are read once and written once, however many parts there are."""
    costs = []
    for number in (1, 7):
        parts[:] = [stub(str(part), forks(part)) for part in range(number)]
        with CaptureQueriesContext(connection) as queries:
            refresh_one(package)
        assert len(ledger(package)) == number
        costs.append(len(queries))
    assert costs[0] == costs[1] <= 7


def test_an_address_that_was_changed_meanwhile_stays(package: Package, parts: list[Part]) -> None:
    """If the address changes during a fetch, nothing is stored, and the package stays due."""

    def edited(_: Client) -> Reading:
        Package.objects.update(repo_url="https://github.com/new/name", next_due=None)
        return Reading({"repo_forks": 7}, moved_to="https://github.com/moved/away")

    parts.append(stub("a", edited))
    refresh_one(package)
    kept = reloaded(package)
    assert (kept.repo_url, kept.repo_forks, kept.next_due) == ("https://github.com/new/name", 0, None)
    assert not SourceStatus.objects.exists()
