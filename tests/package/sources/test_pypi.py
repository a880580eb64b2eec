"""Refreshing one package from PyPI: data that is stored, and data that stays if PyPI fails."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import requests
from django.utils import timezone

from core.http import ResilientSession
from core.http.testing import OutboundHTTP
from package.jobs.refresh_one import refresh_one
from package.models import Package, Version
from package.sources.fetch_results import FetchOutcome, FetchResult
from package.sources.sessions import Sessions
from tests.package.conftest import CannedPyPI, MakePackage, of
from tests.upstreams.pypi import project

UNTOUCHED = (
    "title",
    "slug",
    "pypi_url",
    "pypi_info",
    "pypi_classifiers",
    "pypi_requires_python",
    "pypi_license",
    "pypi_licenses",
    "supports_python3",
    "documentation_url",
    "latest_version_id",
    "score",
)


def refresh(package: Package, session: requests.Session | None = None) -> FetchResult:
    """Refresh a package from all its sources; return PyPI's result."""
    return of(refresh_one(package, None if session is None else Sessions(trusted=session)))


@pytest.fixture
def fetched(package: Package, pypi: CannedPyPI) -> Package:
    """Make a package that was refreshed once, an hour ago."""
    pypi.knows("fortune")
    refresh(package)
    Package.objects.update(last_fetched=timezone.now() - timedelta(hours=1))
    package.refresh_from_db()
    return package


def snapshot(package: Package) -> dict[str, Any]:
    package = Package.objects.get(pk=package.pk)
    return {name: getattr(package, name) for name in UNTOUCHED}


def test_stores_everything(package: Package, pypi: CannedPyPI) -> None:
    """One call to PyPI fills every field that PyPI knows about."""
    pypi.knows("fortune")
    before = timezone.now()
    result = refresh(package)

    package = Package.objects.get()
    assert package.pypi_info["name"] == "fortune"
    assert "Framework :: Django" in package.pypi_classifiers
    assert package.pypi_requires_python == ">=3.10"
    assert package.supports_python3 is True
    assert (package.pypi_license, package.pypi_licenses) == ("MIT", ["MIT"])
    assert package.documentation_url == "https://fortune.example/docs/"
    assert package.last_fetched
    assert before <= package.last_fetched <= timezone.now()
    version = package.latest_version
    assert version
    assert (version.package, version.number) == (package, "2.1")
    assert version.upload_time == datetime(2026, 1, 1, 12, tzinfo=UTC)
    assert (version.license, version.licenses, version.development_status) == ("MIT", ["MIT"], 5)
    assert version.supports_python3 is True
    assert pypi.asked == ["fortune"]
    assert result.outcome is FetchOutcome.UPDATED
    assert (result.source, result.skipped, result.error) == ("pypi", (), "")
    assert {"pypi_license", "version.upload_time"} <= set(result.updated)


def test_asks_politely(package: Package, pypi: CannedPyPI) -> None:
    """Requests have the site's User-Agent and an Accept header."""
    pypi.knows("fortune")
    refresh(package)
    headers = pypi.mock.calls[0].request.headers
    assert headers["Accept"] == "application/json"
    assert "djangopackages" in headers["User-Agent"]


def test_may_be_repeated(package: Package, pypi: CannedPyPI) -> None:
    """A second refresh finds its version again instead of a duplicate."""
    pypi.knows("fortune")
    for _ in range(2):
        refresh(package)
    assert Version.objects.count() == 1


def test_a_new_release_is_added(package: Package, pypi: CannedPyPI) -> None:
    """Former latest versions stay."""
    pypi.knows("fortune")
    refresh(package)
    data = project("fortune", version="3.0", license_expression="BSD-3-Clause")
    data["releases"]["3.0"] = [{"upload_time_iso_8601": "2026-06-01T00:00:00Z", "yanked": False}]
    pypi.says("fortune", data)
    refresh(package)
    assert [version.number for version in Version.objects.all()] == ["3.0", "2.1"]
    assert Package.objects.get().latest_version == Version.objects.latest()
    assert Version.objects.get(number="2.1").license == "MIT"


def test_versions_of_packages_are_apart(make_package: MakePackage, pypi: CannedPyPI) -> None:
    """Two packages can have the same version number."""
    for name in ("a", "b"):
        pypi.knows(name)
        refresh(make_package(name))
    assert Version.objects.filter(number="2.1").count() == 2


def test_a_hidden_version_stays_hidden(package: Package, pypi: CannedPyPI) -> None:
    """A version that was hidden by hand does not come back with the next refresh."""
    Version.objects.create(package=package, number="2.1", hidden=True, downloads=7)
    pypi.knows("fortune")
    refresh(package)
    version = Version.objects.get()
    assert (version.hidden, version.downloads, version.license) == (True, 7, "MIT")


@pytest.mark.parametrize("url", ["fortune", "https://pypi.org/project/fortune/", "https://pypi.test/project/fortune/"])
def test_any_form_of_the_url_leads_to_the_project(package: Package, pypi: CannedPyPI, url: str) -> None:
    """The project is requested by its name, for any form of the field."""
    package.pypi_url = url
    package.save()
    pypi.knows("fortune")
    assert refresh(package).outcome is FetchOutcome.UPDATED


@pytest.mark.parametrize("url", ["", "  "])
def test_without_a_url_there_is_nothing_to_ask(package: Package, pypi: CannedPyPI, url: str) -> None:
    """A package without a PyPI URL does not fail."""
    package.pypi_url = url
    [result] = refresh_one(package)
    assert result.outcome is FetchOutcome.SKIPPED
    assert result.error
    assert not pypi.mock.calls


def test_a_url_that_is_not_pypis_is_a_failure(package: Package, pypi: CannedPyPI) -> None:
    """A URL that is not PyPI's is a failure, and the package says why."""
    package.pypi_url = "https://user:s3cret@github.com/x/fortune"
    package.save()
    result = refresh(package)
    assert result.outcome is FetchOutcome.FAILED
    assert "s3cret" not in Package.objects.get().last_exception
    assert "github.com/x/fortune" in Package.objects.get().last_exception
    assert not pypi.asked


class TestNotFound:
    """PyPI answers 404."""

    @pytest.mark.parametrize("status", [404, 410, 451])
    def test_marks_and_deletes_nothing(self, fetched: Package, pypi: CannedPyPI, status: int) -> None:
        """The project is marked as missing, and its data stays."""
        before = snapshot(fetched)
        pypi.answers("fortune", status)
        pypi.statistics_answer(503)
        result = refresh(fetched)
        assert result.outcome is FetchOutcome.NOT_FOUND
        assert snapshot(fetched) == before
        assert Version.objects.count() == 1
        package = Package.objects.get()
        assert package.pypi_missing_since
        assert package.last_fetched == package.pypi_missing_since, "that it is gone is an answer"
        assert "PyPI has no" not in package.last_exception

    def test_is_logged_once(self, fetched: Package, pypi: CannedPyPI, caplog: pytest.LogCaptureFixture) -> None:
        """A missing project is logged once, and the date since when it is missing stays."""
        pypi.answers("fortune", 404)
        moments = set()
        for _ in range(3):
            fetched.refresh_from_db()
            refresh(fetched)
            moments.add(Package.objects.get().pypi_missing_since)
        assert len(moments) == 1
        assert len([r for r in caplog.records if r.levelno >= logging.WARNING and "fortune" in r.getMessage()]) == 1

    def test_comes_back(self, fetched: Package, pypi: CannedPyPI) -> None:
        """A project that is on PyPI again is no longer marked."""
        pypi.answers("fortune", 404)
        refresh(fetched)
        pypi.knows("fortune")
        assert refresh(fetched).outcome is FetchOutcome.UPDATED
        assert Package.objects.get().pypi_missing_since is None


def break_pypi(pypi: CannedPyPI, fault: str) -> None:
    if fault == "refused":
        pypi.breaks("fortune", requests.ConnectionError("refused by 10.1.2.3"))
    elif fault == "slow":
        pypi.breaks("fortune", requests.ReadTimeout("slow"))
    elif fault == "tls":
        pypi.breaks("fortune", requests.exceptions.SSLError("bad certificate"))
    elif fault.isdigit():
        pypi.answers("fortune", int(fault), body="" if fault == "204" else "out of order")
    else:
        pypi.answers("fortune", 200, body=fault)


FAULTS = {
    "429": "HTTP 429",
    "500": "HTTP 500",
    "503": "HTTP 503",
    "501": "HTTP 501",
    "403": "HTTP 403",
    "400": "HTTP 400",
    "204": "HTTP 204",
    "refused": "ConnectionError",
    "slow": "ReadTimeout",
    "tls": "SSLError",
    "": "not JSON",
    "<h1>Maintenance</h1>": "not JSON",
    '{"info": {': "not JSON",
    f'{{"info": {"[" * 100_000}{"]" * 100_000}}}': "not JSON",
    "[" * 100_000: "not JSON",
    f'{{"info": {"9" * 5000}}}': "not JSON",
    "\ufeff{}": "not JSON",
    "[]": "not an object",
    "null": "not an object",
    "5.0": "not an object",
    '"info"': "not an object",
    "{}": "does not describe a project",
    '{"info": null}': "does not describe a project",
    '{"info": []}': "does not describe a project",
    '{"info": "x"}': "does not describe a project",
    '{"message": "Not Found"}': "does not describe a project",
}


class TestFailures:
    """PyPI does not answer, or not with a project."""

    @pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault[:30])
    def test_data_is_kept_and_the_error_recorded(
        self, fetched: Package, pypi: CannedPyPI, caplog: pytest.LogCaptureFixture, fault: str
    ) -> None:
        """After any failure of PyPI, the package keeps its data, and records and logs when and why it failed."""
        before, now = snapshot(fetched), timezone.now()
        break_pypi(pypi, fault)
        result = refresh(fetched)
        package = Package.objects.get()
        assert snapshot(fetched) == before
        assert (result.outcome, result.error) == (FetchOutcome.FAILED, package.last_exception)
        assert FAULTS[fault] in package.last_exception
        assert "10.1.2.3" not in package.last_exception
        assert package.last_exception_at
        assert package.last_exception_at >= now
        assert package.last_exception_count == 1
        assert package.pypi_missing_since is None
        [warning] = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
        assert "fortune" in warning

    @pytest.mark.parametrize("fault", ["503", "refused", "null"])
    def test_failures_are_counted_until_one_goes_well(self, fetched: Package, pypi: CannedPyPI, fault: str) -> None:
        """Failures in a row are counted until a success."""
        break_pypi(pypi, fault)
        for count in (1, 2):
            refresh(fetched)
            assert Package.objects.get().last_exception_count == count
        pypi.knows("fortune")
        refresh(fetched)
        package = Package.objects.get()
        assert (package.last_exception, package.last_exception_at, package.last_exception_count) == ("", None, 0)


@pytest.mark.parametrize("name", ["misfortune", "fortune2", "for-tune", "fortune\ud800", "x" * 10_000])
def test_an_answer_about_another_project_is_not_stored(fetched: Package, pypi: CannedPyPI, name: str) -> None:
    """A response about another project is not stored."""
    before = snapshot(fetched)
    pypi.says("fortune", project(name, license_expression="GPL-3.0-only"))
    result = refresh(fetched)
    assert (result.outcome, result.reason) == (FetchOutcome.FAILED, "other_project")
    assert len(result.error) < 300
    assert snapshot(fetched) == before


@pytest.mark.parametrize(
    "name", ["Some_Fortune.Teller", "some-fortune-teller", "SOME--fortune__teller", " some.fortune.teller "]
)
def test_a_name_may_be_written_in_any_way(make_package: MakePackage, pypi: CannedPyPI, name: str) -> None:
    """A response with another spelling of the name is accepted."""
    package = make_package("some-fortune.teller")
    pypi.says("some-fortune.teller", project(name, project_urls=None))
    assert refresh(package).outcome is FetchOutcome.UPDATED


def test_transient_failures_are_retried(package: Package, pypi: CannedPyPI, outbound_http: OutboundHTTP) -> None:
    """Transient failures are retried."""
    pypi.mock.get(pypi.url("fortune"), status=503)
    pypi.mock.get(pypi.url("fortune"), body=requests.ConnectionError("reset"))
    pypi.mock.get(pypi.url("fortune"), json=project("fortune"))
    assert refresh(package).outcome is FetchOutcome.UPDATED
    assert outbound_http.clock.waits == [1, 2]


def test_waits_as_long_as_pypi_asks(package: Package, pypi: CannedPyPI, outbound_http: OutboundHTTP) -> None:
    """A Retry-After is respected."""
    pypi.mock.get(pypi.url("fortune"), status=429, headers={"Retry-After": "17"})
    pypi.mock.get(pypi.url("fortune"), json=project("fortune"))
    assert refresh(package).outcome is FetchOutcome.UPDATED
    assert outbound_http.clock.waits == [17]


def test_a_session_of_the_callers_is_used(package: Package, pypi: CannedPyPI, outbound_http: OutboundHTTP) -> None:
    """The caller can pass its own sessions."""
    pypi.answers("fortune", 503)
    waits: list[float] = []
    with ResilientSession(wait=lambda seconds: [waits.append(seconds), outbound_http.clock.advance(seconds)]) as own:
        refresh(package, own)
    assert waits == [1, 2, 4]


@pytest.mark.parametrize("status", [200, 404, 403])
def test_edits_during_a_request_stay(package: Package, pypi: CannedPyPI, status: int) -> None:
    """An edit that is saved during a request to PyPI is not overwritten."""

    def edit_meanwhile(_: object) -> tuple[int, dict[str, str], str]:
        Package.objects.update(title="Edited", score=9, repo_description="new", pypi_url="https://pypi.org/p/fortune")
        return status, {}, json_of("fortune")

    pypi.calls("fortune", edit_meanwhile)
    refresh(package)
    kept = Package.objects.get()
    assert (kept.title, kept.score, kept.repo_description) == ("Edited", 9, "new")
    assert kept.pypi_url == "https://pypi.org/p/fortune"


def json_of(name: str) -> str:
    return json.dumps(project(name))


def test_fetch_metadata_reports_a_failure_of_pypi(fetched: Package, pypi: CannedPyPI) -> None:
    """The method that djangopackages calls reports a failure instead of raising it."""
    pypi.answers("fortune", 503)
    result = of(fetched.fetch_metadata())
    assert isinstance(result, FetchResult)
    assert result.outcome is FetchOutcome.FAILED
    assert Package.objects.get().pypi_license == "MIT"


def test_fetch_metadata_of_a_package_without_sources(make_package: MakePackage) -> None:
    """A package without sources has had its turn, and nothing is fetched."""
    package = make_package("bare", pypi_url="")
    [result] = package.fetch_metadata()
    assert result.outcome is FetchOutcome.SKIPPED
    stored = Package.objects.get()
    assert stored.last_fetched is None
    assert stored.next_due
