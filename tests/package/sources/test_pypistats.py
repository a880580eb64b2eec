"""The download statistics, whose failures never affect other data."""

from __future__ import annotations

from typing import Any

import pytest

from package.models import Package, SourceStatus
from package.sources.fetch_results import FetchOutcome, FetchResult
from tests.package.conftest import CannedPyPI, MakePackage, of


@pytest.fixture(autouse=True)
def _known(pypi: CannedPyPI) -> None:
    pypi.knows("fortune")


def refresh(package: Package) -> FetchResult:
    """Refresh a package; return the result of its downloads."""
    return of(package.fetch_metadata(), "pypistats")


def test_are_stored(package: Package) -> None:
    """The downloads of the last month are stored."""
    result = refresh(package)
    assert (result.outcome, result.updated) == (FetchOutcome.UPDATED, ("pypi_downloads",))
    assert Package.objects.get().pypi_downloads == 1000


def test_are_asked_for_by_the_name_in_small_letters(make_package: MakePackage, pypi: CannedPyPI) -> None:
    """The service knows projects only by lower-case names; only the last month is requested."""
    pypi.knows("Django")
    refresh(make_package("django", pypi_url="https://pypi.org/project/Django/"))
    assert pypi.mock.calls[-1].request.url == "https://pypistats.test/api/packages/django/recent?period=month"


def test_may_be_billions(package: Package, pypi: CannedPyPI) -> None:
    """Downloads may exceed 32 bits."""
    pypi.statistics_answer(200, json={"data": {"last_month": 2**31 + 5}})
    assert refresh(package).outcome is FetchOutcome.UPDATED
    assert Package.objects.get().pypi_downloads == 2**31 + 5


@pytest.mark.parametrize(("name", "stored"), [("fortune", True), ("Fortune", True), ("misfortune", False), (7, True)])
def test_are_those_of_this_project(package: Package, pypi: CannedPyPI, name: object, stored: bool) -> None:
    """Downloads of another project are not stored."""
    pypi.statistics_answer(200, json={"data": {"last_month": 5}, "package": name})
    assert (refresh(package).outcome is FetchOutcome.UPDATED) == stored
    assert Package.objects.get().pypi_downloads == (5 if stored else 0)


def test_zero_downloads_are_stored(package: Package, pypi: CannedPyPI) -> None:
    """0 downloads are stored as 0."""
    refresh(package)
    pypi.statistics_answer(200, json={"data": {"last_month": 0}})
    assert refresh(package).outcome is FetchOutcome.UPDATED
    assert Package.objects.get().pypi_downloads == 0


ODD = [
    {},
    {"data": None},
    {"data": []},
    {"data": 5},
    {"data": {}},
    {"data": {"last_week": 5}},
    {"data": {"last_month": "many"}},
    {"data": {"last_month": 1.5}},
    {"data": {"last_month": True}},
    {"data": {"last_month": -1}},
    {"data": {"last_month": 2**63}},
    {"data": {"last_month": [5]}},
]


@pytest.mark.parametrize("odd", ODD, ids=repr)
def test_that_cannot_be_used_are_skipped(package: Package, pypi: CannedPyPI, odd: Any) -> None:
    """Unusable downloads keep the stored number, and the response is read again the next time."""
    refresh(package)
    pypi.statistics_answer(200, json=odd, headers={"ETag": '"1"'})
    result = refresh(package)
    assert result.outcome is FetchOutcome.PARTLY
    assert [skipped.field for skipped in result.skipped] == ["pypi_downloads"]
    assert Package.objects.get().pypi_downloads == 1000
    assert SourceStatus.objects.get(source="pypistats").validators == {}


@pytest.mark.parametrize("answer", [{"status": 204}, {"status": 200, "json": {"data": {"last_month": None}}}], ids=repr)
def test_that_are_not_there_blank_nothing(package: Package, pypi: CannedPyPI, answer: dict[str, Any]) -> None:
    """A 404 keeps the stored number and is not a failure."""
    refresh(package)
    pypi.statistics_answer(**answer)
    results = package.fetch_metadata()
    assert of(results, "pypi").outcome is FetchOutcome.UPDATED
    assert of(results, "pypistats").reason != "unexpected"
    assert Package.objects.get().pypi_downloads == 1000


@pytest.mark.parametrize("status", [404, 400, 429, 503])
def test_that_cannot_be_had_harm_nothing_else(package: Package, pypi: CannedPyPI, status: int) -> None:
    """If the statistics fail, PyPI's data is stored, and nothing is marked as gone."""
    pypi.statistics_answer(status)
    results = package.fetch_metadata()
    assert of(results, "pypi").outcome is FetchOutcome.UPDATED
    assert of(results, "pypistats").outcome is (FetchOutcome.NOT_FOUND if status == 404 else FetchOutcome.FAILED)
    kept = Package.objects.get()
    assert (kept.pypi_license, kept.pypi_missing_since, kept.pypi_downloads) == ("MIT", None, 0)
