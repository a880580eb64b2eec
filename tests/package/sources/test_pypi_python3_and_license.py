"""PyPI's JSON: Python 3 support, licenses, documentation and development status."""

from __future__ import annotations

from typing import Any

import pytest

from core.utils import PackageStatus
from package.models import Package
from package.sources.fetch_results import FetchOutcome
from package.sources.pypi_fields import read_project
from tests.package.conftest import CannedPyPI, of
from tests.package.sources.pypi_json import LONG, skipped_of
from tests.upstreams.pypi import project


class TestPython3:
    """supports_python3."""

    @pytest.mark.parametrize(
        ("classifiers", "requires_python", "supported"),
        [
            (["Programming Language :: Python :: 3"], None, True),
            (["Programming Language :: Python :: 3.12"], None, True),
            (["Programming Language :: Python :: 3 :: Only"], "<3", True),
            (["Programming Language :: Python :: 2", "Programming Language :: Python :: 3.4"], None, True),
            (["Programming Language :: Python :: 2.7"], None, False),
            (["Programming Language :: Python :: 2 :: Only"], None, False),
            (["Programming Language :: Python :: 2"], ">=3.6", True),
            (["Programming Language :: Python"], None, None),
            (["Programming Language :: Python :: 30"], None, None),
            (["Programming Language :: Python :: Implementation :: CPython"], None, None),
            ([], None, None),
            ([], ">=3.10", True),
            ([], ">=2.7, !=3.0.*, !=3.1.*", True),
            ([], ">=3.9,<4", True),
            ([], "~=3.8", True),
            ([], "<3", False),
            ([], "==2.7.*", False),
            ([], ">=2.7", True),
            ([], ">=3.9.1,<3.10", True),
            ([], ">3.9,<3.10", True),
            ([], ">3.9.1,<3.9.3", True),
            ([], "~=3.11.4", True),
            ([], "==3.11.9", True),
            ([], "===3.11.9", True),
            ([], "==3.12.*,>=3.12.3", True),
            ([], ">=3.13.0rc1,<=3.13.0rc2", True),
            ([], "==3", True),
            ([], ">1.1.1", True),
            ([], ">=3.9.1,<3.9.1", False),
            ([], ">=2.7,<3.0", False),
            ([], "!=3.*", False),
            ([], "==2.7.18", False),
            ([], ">=3.5.*, <4.*", True),
            ([], ">=2.7, !=3.3*, <4", True),
            ([], "<3.*", False),
        ],
    )
    def test_from_classifiers_else_from_requires_python(
        self, classifiers: list[str], requires_python: str | None, supported: bool | None
    ) -> None:
        """Python 3 support is read from the classifiers, then from requires_python; otherwise it is unknown."""
        reading = read_project(project("x", classifiers=classifiers, requires_python=requires_python))
        assert reading.package.get("supports_python3") is supported

    @pytest.mark.parametrize(
        "requires_python", [f">={'9' * 5000}", f">=3.{'9' * 5000}", "===" + "x" * 5000, ">=3" + ",>=3" * 20_000]
    )
    def test_a_monstrous_requires_python_is_skipped(self, requires_python: str) -> None:
        """A very long requires_python is skipped."""
        reading = read_project(project("x", classifiers=[], requires_python=requires_python))
        assert "pypi_requires_python" in skipped_of(reading)
        assert reading.package["pypi_license"] == "MIT"


class TestLicense:
    """pypi_license and pypi_licenses."""

    @pytest.mark.parametrize("length", [101, 744, 2000])
    def test_an_expression_may_be_long(self, package: Package, pypi: CannedPyPI, length: int) -> None:
        """License expressions of hundreds of characters are stored."""
        expression = ("MIT AND " * 250)[: length - 3] + "0BS"
        pypi.knows("fortune", license_expression=expression)
        assert of(package.fetch_metadata()).outcome is FetchOutcome.UPDATED
        kept = Package.objects.select_related("latest_version").get()
        assert (kept.pypi_license, kept.pypi_licenses) == (expression, [expression])
        assert kept.latest_version
        assert kept.latest_version.license == expression

    def test_one_too_long_for_its_field_is_in_the_list_still(self) -> None:
        """An expression that is too long for its field is still in the list."""
        expression = " AND ".join(["MIT"] * 400)
        reading = read_project(project("x", license_expression=expression))
        assert reading.package["pypi_licenses"] == reading.version["licenses"] == [expression]
        assert skipped_of(reading) == {"pypi_license", "version.license"}

    @pytest.mark.parametrize(
        ("values", "licenses"),
        [
            ({"license_expression": "Apache-2.0", "license": "BSD"}, ["Apache-2.0"]),
            ({"license_expression": "MIT OR Apache-2.0"}, ["MIT OR Apache-2.0"]),
            ({"license_expression": None, "license": "BSD"}, ["BSD", "MIT License"]),
            ({"license_expression": "", "license": "MIT License"}, ["MIT License"]),
            ({"license_expression": None, "license": ""}, ["MIT License"]),
            ({"license_expression": None, "license": "UNKNOWN"}, ["MIT License"]),
            ({"license_expression": " ", "license": "BSD"}, ["BSD", "MIT License"]),
            ({"license_expression": None, "license": "Copyright (c)\n\nPermission is …"}, ["MIT License"]),
            ({"license_expression": None, "license": LONG}, ["MIT License"]),
            ({"license_expression": None, "license": 5}, ["MIT License"]),
            ({"license_expression": None, "license": "BSD", "classifiers": []}, ["BSD"]),
            ({"license_expression": None, "license": None, "classifiers": []}, None),
            ({"license_expression": None, "license": None, "classifiers": ["License :: OSI Approved"]}, None),
            (
                {"license_expression": None, "classifiers": [f"License :: OSI Approved :: {n}" for n in "ABA"]},
                ["A", "B"],
            ),
        ],
    )
    def test_expression_then_text_then_classifiers(self, values: dict[str, Any], licenses: list[str] | None) -> None:
        """The expression has priority; then the free text if it is a name, and the classifiers."""
        reading = read_project(project("x", **values))
        assert reading.package.get("pypi_licenses") == licenses
        assert reading.package.get("pypi_license") == (licenses[0] if licenses else None)
        assert reading.version.get("licenses") == licenses

    @pytest.mark.parametrize(
        "name", ["Public Domain", "CC0 1.0 Universal (CC0 1.0) Public Domain Dedication", "Freeware"]
    )
    def test_classifiers_outside_osi_name_licences_too(self, name: str) -> None:
        """License classifiers outside of the OSI family are read too."""
        reading = read_project(project("x", license_expression=None, classifiers=[f"License :: {name}"]))
        assert reading.package.get("pypi_licenses") == [name]

    def test_json_from_before_pep_639(self) -> None:
        """A response without license_expression, as from some mirrors, is valid."""
        data = project("x", license="BSD")
        del data["info"]["license_expression"]
        reading = read_project(data)
        assert reading.package["pypi_license"] == "BSD"
        assert not reading.skipped


class TestDocumentation:
    """documentation_url."""

    @pytest.mark.parametrize(
        ("values", "url"),
        [
            ({"project_urls": {"Documentation": "https://a.example/"}}, "https://a.example/"),
            ({"project_urls": {"documentation": "http://a.example"}}, "http://a.example"),
            ({"project_urls": {" Docs ": "https://a.example/"}}, "https://a.example/"),
            ({"project_urls": {"Doc": "HTTPS://a.example/"}}, "HTTPS://a.example/"),
            (
                {"project_urls": {"Docs": "https://b.example/", "Documentation": "https://a.example/"}},
                "https://a.example/",
            ),
            (
                {"project_urls": {"Homepage": "https://a.example/"}, "docs_url": "https://b.example/"},
                "https://b.example/",
            ),
            ({"project_urls": None, "docs_url": "https://b.example/"}, "https://b.example/"),
            ({"project_urls": {"Homepage": "https://a.example/"}}, None),
            ({"project_urls": {"Documentation": None}}, None),
            ({"project_urls": None}, None),
        ],
    )
    def test_from_the_labels_in_use(self, values: dict[str, Any], url: str | None) -> None:
        """The labels documentation, docs and doc are used in any case; otherwise PyPI's docs_url."""
        assert read_project(project("x", **values)).package.get("documentation_url") == url


class TestStatus:
    """development_status."""

    @pytest.mark.parametrize("status", [status for status in PackageStatus if status])
    def test_is_that_of_the_classifier(self, status: PackageStatus) -> None:
        """Each classifier of PyPI is its number."""
        assert read_project(project("x", classifiers=[status.label])).version["development_status"] == status

    def test_of_several_the_last_counts(self) -> None:
        """Of several status classifiers, the last one counts."""
        classifiers = [PackageStatus.ALPHA.label, PackageStatus.STABLE.label]
        assert read_project(project("x", classifiers=classifiers)).version["development_status"] == 5

    def test_no_classifier_says_nothing(self) -> None:
        """A release without a status classifier is valid."""
        reading = read_project(project("x", classifiers=["Framework :: Django"]))
        assert "development_status" not in reading.version
        assert not reading.skipped
