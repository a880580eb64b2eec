"""PyPI's JSON: which release is the latest, and when it was uploaded."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from package.models import Package
from package.sources.fetch_results import FetchOutcome
from package.sources.pypi_fields import read_project
from tests.package.conftest import CannedPyPI, of
from tests.package.sources.pypi_json import skipped_of
from tests.upstreams.pypi import project


def files(*, yanked: bool = False, time: str = "2026-01-01T12:00:00Z") -> list[dict[str, Any]]:
    return [{"upload_time_iso_8601": time, "yanked": yanked}]


class TestLatestRelease:
    """latest_version."""

    @pytest.mark.parametrize(
        ("releases", "latest"),
        [
            ({"1.9": files(), "1.10": files()}, "1.10"),
            ({"1.0": files(), "2.0": files(yanked=True)}, "1.0"),
            ({"1.0": files(), "2.0": []}, "1.0"),
            ({"1.0": files(), "2.0": [*files(yanked=True), *files()]}, "2.0"),
            ({"1.0": files(), "2.0rc1": files(), "2.0.dev1": files()}, "1.0"),
            ({"1.0a1": files(), "1.0b2": files()}, "1.0b2"),
            ({"1.0": files(yanked=True), "1.1rc1": files()}, "1.1rc1"),
            ({"1.0": files(), "1.0.post1": files()}, "1.0.post1"),
            ({"1!1.0": files(), "2024.1": files()}, "1!1.0"),
            ({"1.0": files(), "final-version": files()}, "1.0"),
            ({"1.0": files(), "2.0": "no list"}, "1.0"),
            ({"1.0": files(), "2.0": ["no object", None]}, "1.0"),
            ({"1.0": files(), "9" * 5000: files()}, "1.0"),
        ],
    )
    def test_is_the_newest_usable_release(self, releases: dict[str, Any], latest: str) -> None:
        """The highest version counts, without yanked and empty releases; pre-releases only if there is no other."""
        assert read_project({**project("x"), "releases": releases}).number == latest

    @pytest.mark.parametrize(
        "releases", [{"1.0": files(yanked=True), "2.0": files(yanked=True)}, {"1.0": []}, {"final": files()}]
    )
    def test_is_skipped_without_a_usable_release(self, releases: dict[str, Any]) -> None:
        """If all releases were yanked, the latest version is skipped with a reason."""
        reading = read_project({**project("x"), "releases": releases})
        assert reading.number is None
        assert skipped_of(reading) == {"version.number"}

    def test_stays_if_all_releases_were_yanked(self, package: Package, pypi: CannedPyPI) -> None:
        """If all releases were yanked, the stored version stays."""
        pypi.knows("fortune")
        package.fetch_metadata()
        pypi.says("fortune", {**project("fortune"), "releases": {"2.1": files(yanked=True)}})
        result = of(package.fetch_metadata())
        package.refresh_from_db()
        assert package.latest_version
        assert package.latest_version.number == "2.1"
        assert result.outcome is FetchOutcome.PARTLY

    @pytest.mark.parametrize("releases", [None, {}, [], "2.1", 5])
    def test_without_releases_is_that_of_info(self, releases: Any) -> None:
        """Without "releases", which PyPI plans to drop, the version is read from info and urls."""
        data = {**project("x"), "releases": releases, "urls": files(time="2026-03-01T00:00:00Z")}
        reading = read_project(data)
        assert reading.number == "2.1"
        assert reading.version["upload_time"] == datetime(2026, 3, 1, tzinfo=UTC)

    @pytest.mark.parametrize("urls", [None, [], "x", files()])
    def test_without_releases_at_all(self, urls: Any) -> None:
        """Without "releases" and "urls", the version is read from info."""
        data = {"info": project("x")["info"], "urls": urls}
        assert read_project(data).number == "2.1"

    def test_without_releases_a_yanked_one_is_skipped(self) -> None:
        """Without "releases", a yanked release in info is skipped."""
        assert read_project({"info": project("x", yanked=True)["info"]}).number is None

    @pytest.mark.parametrize("number", [None, 2.1, [], "", "2.1\0", "2.1\ud800", "not a version"])
    def test_without_releases_and_without_a_number(self, number: Any) -> None:
        """A version that cannot be used is skipped, and the rest is read."""
        reading = read_project({"info": project("x", version=number)["info"]})
        assert reading.number is None
        assert "version.number" in skipped_of(reading)
        assert reading.package["pypi_license"] == "MIT"

    def test_too_long_a_number_is_skipped(self) -> None:
        """A version that is too long is skipped, not cut off."""
        reading = read_project({**project("x"), "releases": {f"1.{'0' * 255}": files()}})
        assert (reading.number, skipped_of(reading)) == (None, {"version.number"})

    def test_info_about_another_release_is_not_taken_for_its_own(self) -> None:
        """The licence of a yanked 3.0 says nothing about 2.1."""
        reading = read_project(project("x", version="3.0"))
        assert reading.number == "2.1"
        assert set(reading.version) == {"upload_time"}

    @pytest.mark.parametrize(
        ("times", "uploaded_at"),
        [
            (["2026-01-02T00:00:00Z", "2026-01-01T00:00:00.5Z"], datetime(2026, 1, 1, 0, 0, 0, 500_000, tzinfo=UTC)),
            (["2026-01-01T00:00:00"], datetime(2026, 1, 1, tzinfo=UTC)),
            (["2026-01-01T02:00:00+02:00"], datetime(2026, 1, 1, tzinfo=UTC)),
            (["2026-01-01T02:00:00", "2026-01-01T01:00:00Z"], datetime(2026, 1, 1, 1, tzinfo=UTC)),
            ([None, "2026-01-01T00:00:00Z"], datetime(2026, 1, 1, tzinfo=UTC)),
            (["1970-01-01T00:00:00Z", "2026-01-01T00:00:00Z", "soon"], datetime(2026, 1, 1, tzinfo=UTC)),
        ],
    )
    def test_uploaded_when_its_first_file_was(self, times: list[str | None], uploaded_at: datetime) -> None:
        """The first upload counts, wrong dates are ignored, and times are UTC."""
        releases = {"2.1": [{"upload_time_iso_8601": time} for time in times]}
        assert read_project({**project("x"), "releases": releases}).version["upload_time"] == uploaded_at

    def test_upload_time_in_the_older_form(self) -> None:
        """Responses with only upload_time, as from some mirrors, are read."""
        data = {**project("x"), "releases": {"2.1": [{"upload_time": "2026-01-01T00:00:00"}]}}
        assert read_project(data).version["upload_time"] == datetime(2026, 1, 1, tzinfo=UTC)


def test_long_texts_are_kept(package: Package, pypi: CannedPyPI) -> None:
    """A specifier and a version may be long too."""
    required = ">=3.6" + ",!=3.7.1" * 40
    number = f"1.0.dev1+{'git' * 50}"
    data = project("fortune", requires_python=required, version=number)
    pypi.says("fortune", {**data, "releases": {number: files()}})
    assert of(package.fetch_metadata()).outcome is FetchOutcome.UPDATED
    kept = Package.objects.select_related("latest_version").get()
    assert kept.pypi_requires_python == required
    assert kept.latest_version
    assert kept.latest_version.number == number
