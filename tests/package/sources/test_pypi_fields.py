"""Reading PyPI's JSON, valid and invalid."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.utils import PackageStatus
from package.models import Category, Package, Version
from package.sources.pypi_fields import Reading, read_project
from package.sources.results import FetchOutcome
from tests.package.conftest import CannedPyPI, MakePackage, of
from tests.upstreams.pypi import project

pytestmark = pytest.mark.slow

Project = dict[str, Any]
Change = Callable[[Project], object]

LONG = "x" * 101
NUL = "MIT\0"
SURROGATE = "MIT\ud800"
LICENSES = {"pypi_license", "pypi_licenses", "version.license", "version.licenses"}
PACKAGE_FIELDS = (
    "pypi_info",
    "pypi_classifiers",
    "pypi_requires_python",
    "supports_python3",
    "pypi_license",
    "pypi_licenses",
    "documentation_url",
)
VERSION_FIELDS = ("upload_time", "license", "licenses", "development_status", "supports_python3")


def old_project() -> Project:
    """Return a package with another stored value in every field."""
    data = project(
        "fortune",
        classifiers=["Development Status :: 3 - Alpha", "Programming Language :: Python :: 2"],
        license_expression="BSD-3-Clause",
        requires_python="<3",
        project_urls={"Documentation": "https://old.example/"},
    )
    data["releases"] = {"2.1": [{"upload_time_iso_8601": "2020-01-01T00:00:00Z", "yanked": False}]}
    return data


def stored(package: Package) -> dict[str, Any]:
    """All values that a fetch fills, by their names in its result."""
    package = Package.objects.get(pk=package.pk)
    values = {name: getattr(package, name) for name in PACKAGE_FIELDS}
    version = package.latest_version
    assert version
    return {**values, **{f"version.{name}": getattr(version, name) for name in VERSION_FIELDS}}


def info(**values: Any) -> Change:
    return lambda data: data["info"].update(values)


def without(*names: str) -> Change:
    return lambda data: [data["info"].pop(name) for name in names]


def uploaded(time: Any) -> Change:
    return lambda data: data["releases"].update({"2.1": [{"upload_time_iso_8601": time, "yanked": False}]})


def unlicensed(**values: Any) -> Change:
    """Return a change: no license expression, no license classifiers."""
    return info(**{"license_expression": None, "classifiers": ["Programming Language :: Python :: 3"], **values})


# A defect in the JSON; the fields that are skipped for it; the fields that it says nothing about any more.
DEFECTS: dict[str, tuple[Change, set[str], set[str]]] = {
    "info holds a NUL": (info(summary="a\0"), {"pypi_info"}, set()),
    "info holds a lone surrogate": (info(author={"name": ["\udfff"]}), {"pypi_info"}, set()),
    "info holds a NUL in a key": (info(extra={"\0": 1}), {"pypi_info"}, set()),
    "info holds NaN": (info(size=float("nan")), {"pypi_info"}, set()),
    "info holds infinity": (info(size=[float("-inf")]), {"pypi_info"}, set()),
    "classifiers missing": (without("classifiers"), {"pypi_classifiers"}, {"version.development_status"}),
    **{
        f"classifiers {kind}": (info(classifiers=value), {"pypi_classifiers"}, {"version.development_status"})
        for kind, value in {
            "text": "Framework :: Django",
            "a number": 7,
            "an object": {"a": "b"},
            "of numbers": [1, 2],
            "with null": ["Framework :: Django", None],
        }.items()
    },
    **{
        f"classifiers with {kind}": (
            info(classifiers=[value]),
            {"pypi_classifiers", "pypi_info"},
            {"version.development_status"},
        )
        for kind, value in {"NUL": NUL, "surrogate": SURROGATE}.items()
    },
    "requires_python missing": (without("requires_python"), {"pypi_requires_python"}, set()),
    **{
        f"requires_python {kind}": (info(requires_python=value), {"pypi_requires_python"}, set())
        for kind, value in {
            "a number": 3.10,
            "a list": [">=3.10"],
            "true": True,
            "too long": ">=3" + ",!=3.1" * 200,
            "malformed": "three or newer",
            "equal to any text": "===jython",
        }.items()
    },
    **{
        f"requires_python with {kind}": (
            info(requires_python=f">=3{value}"),
            {"pypi_requires_python", "pypi_info"},
            set(),
        )
        for kind, value in {"NUL": "\0", "surrogate": "\ud800"}.items()
    },
    "requires_python malformed and no classifiers": (
        info(requires_python="three or newer", classifiers=["Development Status :: 5 - Production/Stable"]),
        {"supports_python3", "version.supports_python3", "pypi_requires_python"},
        set(),
    ),
    **{
        f"license_expression {kind}": (info(license_expression=value), LICENSES, set())
        for kind, value in {
            "a number": 1,
            "a list": ["MIT"],
            "too long": "x" * 10_001,
            "of two lines": "MIT\nBSD",
        }.items()
    },
    **{
        f"license_expression with {kind}": (info(license_expression=value), {*LICENSES, "pypi_info"}, set())
        for kind, value in {"NUL": NUL, "surrogate": SURROGATE}.items()
    },
    **{
        f"license {kind}": (unlicensed(license=value), LICENSES, {"version.development_status"})
        for kind, value in {
            "a number": 1,
            "a list": ["MIT"],
            "too long": LONG,
            "a whole licence": "MIT\n\nAs is",
        }.items()
    },
    "license missing": (
        lambda data: [unlicensed()(data), without("license")(data)],
        LICENSES,
        {"version.development_status"},
    ),
    "project_urls missing": (without("project_urls"), {"documentation_url"}, set()),
    **{
        f"project_urls {kind}": (info(project_urls=value), {"documentation_url"}, set())
        for kind, value in {"text": "https://x.example/", "a list": ["https://x.example/"], "true": True}.items()
    },
    **{
        f"documentation {kind}": (info(project_urls={"Documentation": value}), {"documentation_url"}, set())
        for kind, value in {
            "a number": 5,
            "a list": ["https://x.example/"],
            "too long": f"https://x.example/{'x' * 500}",
            "unknown": "UNKNOWN",
            "without host": "https://",
            "with a broken host": "http://[",
            "of two lines": "https://x.example/\nx",
            "a script": "javascript:alert(1)",
            "a file": "ftp://x.example/",
        }.items()
    },
    **{
        f"documentation with {kind}": (
            info(project_urls={"Documentation": f"https://x.example/{value}"}),
            {"documentation_url", "pypi_info"},
            set(),
        )
        for kind, value in {"NUL": "\0", "surrogate": "\ud800"}.items()
    },
    "development status unknown": (
        info(classifiers=["Development Status :: 9 - Petrified", "Programming Language :: Python :: 3"]),
        {"version.development_status"},
        set(),
    ),
    **{
        f"upload time {kind}": (uploaded(value), {"version.upload_time"}, set())
        for kind, value in {
            "missing": None,
            "a number": 1767268800,
            "a list": ["2026-01-01T12:00:00Z"],
            "text": "yesterday",
            "no date": "2026-02-30T12:00:00Z",
            "too long": "2026-01-01T12:00:00Z" * 99,
            "with NUL": "2026-01-01T12:00:00Z\0",
            "with surrogate": "2026-01-01T12:00:00Z\ud800",
            "before all time": "0001-01-01T00:00:00+23:59",
            "after all time": "9999-12-31T23:59:59-23:59",
            "in 1970": "1970-01-01T00:00:00Z",
            "before there was a PyPI": "2002-12-31T23:59:59Z",
            "in the future": "2106-02-07T06:28:15Z",
        }.items()
    },
}


@pytest.mark.parametrize("defect", DEFECTS)
def test_a_field_that_cannot_be_used_costs_nothing_else(
    package: Package, pypi: CannedPyPI, caplog: pytest.LogCaptureFixture, defect: str
) -> None:
    """An invalid value is skipped and logged, and the stored one is kept; all other fields are stored."""
    change, skipped, unsaid = DEFECTS[defect]
    pypi.says("fortune", old_project())
    package.fetch_metadata()
    before = stored(package)
    pypi.says("fortune", project("fortune"))
    reference = Package.objects.create(title="x", slug="x", category=package.category, pypi_url="fortune")
    reference.fetch_metadata()
    caplog.clear()

    data = project("fortune")
    change(data)
    pypi.says("fortune", data)
    result = of(package.fetch_metadata())

    assert (result.outcome, {field.field for field in result.skipped}) == (FetchOutcome.PARTLY, skipped)
    said = {key: value for key, value in data["info"].items() if key != "description"}
    good = {**stored(reference), "pypi_info": said, "pypi_classifiers": said.get("classifiers")}
    assert stored(package) == {name: (before if name in skipped | unsaid else good)[name] for name in good}
    assert set(result.updated) == set(good) - skipped - unsaid
    warnings = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    for field in result.skipped:
        assert field.reason
        assert any("fortune" in text and field.field.removeprefix("version.") in text for text in warnings)


EMPTY = [None, "", [], {}, " ", "\n"]


UNLICENSED = {"license_expression": None, "license": None, "classifiers": ["Programming Language :: Python :: 3"]}
WITHDRAWN: dict[str, tuple[Project, Project]] = {
    **{
        f"{key} {value!r}": ({key: value}, {field: empty})
        for key, field, empty in (
            ("classifiers", "pypi_classifiers", []),
            ("requires_python", "pypi_requires_python", ""),
            ("project_urls", "documentation_url", ""),
        )
        for value in EMPTY
    },
    "no documentation among the links": ({"project_urls": {"Source": "https://x.example/"}}, {"documentation_url": ""}),
    "an empty link": ({"project_urls": {"Documentation": ""}}, {"documentation_url": ""}),
    "license": (
        UNLICENSED,
        {"pypi_license": "", "pypi_licenses": [], "version.license": "", "version.licenses": []},
    ),
    "license UNKNOWN": ({**UNLICENSED, "license": "UNKNOWN"}, {"pypi_license": "", "version.licenses": []}),
    "what tells of Python 3": (
        {"requires_python": None, "classifiers": []},
        {"supports_python3": None, "version.supports_python3": False},
    ),
}


@pytest.mark.parametrize("case", WITHDRAWN)
def test_what_is_withdrawn_is_emptied(
    package: Package, pypi: CannedPyPI, caplog: pytest.LogCaptureFixture, case: str
) -> None:
    """A withdrawn value is emptied, and the log has the old one, once."""
    change, emptied = WITHDRAWN[case]
    pypi.knows("fortune")
    package.fetch_metadata()
    before = stored(package)
    caplog.clear()
    pypi.knows("fortune", **change)
    for _ in range(2):
        result = of(package.fetch_metadata())
    after = stored(package)
    assert (result.outcome, set(emptied) - set(result.updated)) == (FetchOutcome.UPDATED, set())
    assert {name: after[name] for name in emptied} == emptied
    logged = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    for name in emptied:
        if not name.startswith("version."):
            [text] = [text for text in logged if f"fortune: {name} emptied" in text]
            assert repr(before[name]) in text


@pytest.mark.parametrize(
    "broken",
    [
        {"name": None},
        {"version": None},
        {"name": 7},
        {"license_expression": 5},
        {"classifiers": [None]},
        {"requires_python": ["3"]},
    ],
    ids=repr,
)
def test_an_answer_that_is_broken_withdraws_nothing(package: Package, pypi: CannedPyPI, broken: dict[str, Any]) -> None:
    """A malformed response withdraws nothing."""
    pypi.knows("fortune")
    package.fetch_metadata()
    before = stored(package)
    everything = {"classifiers": [], "requires_python": None, "license_expression": None, "project_urls": None}
    data = project("fortune")
    data["info"].update(everything | broken)
    pypi.says("fortune", data)
    package.fetch_metadata()
    assert {**stored(package), "pypi_info": 0} == {**before, "pypi_info": 0}


def test_a_field_that_cannot_be_used_withdraws_no_other(package: Package, pypi: CannedPyPI) -> None:
    """An invalid value keeps the stored one, and does not stop other fields from being withdrawn."""
    pypi.knows("fortune")
    package.fetch_metadata()
    pypi.knows("fortune", requires_python=None, project_urls={"Documentation": "UNKNOWN"})
    result = of(package.fetch_metadata())
    package.refresh_from_db()
    assert {field.field for field in result.skipped} == {"documentation_url"}
    assert (package.documentation_url, package.pypi_requires_python) == ("https://fortune.example/docs/", "")


@pytest.mark.parametrize("nothing", [{}, {"description": "Only this"}], ids=repr)
def test_an_empty_info_blanks_nothing(package: Package, pypi: CannedPyPI, nothing: dict[str, Any]) -> None:
    """An empty `info` empties no field."""
    pypi.knows("fortune")
    package.fetch_metadata()
    before = stored(package)
    pypi.says("fortune", {"info": nothing})
    result = of(package.fetch_metadata())
    assert stored(package) == before
    assert {"pypi_classifiers", "pypi_requires_python", "version.number"} <= {field.field for field in result.skipped}


def test_the_description_is_not_stored(package: Package, pypi: CannedPyPI) -> None:
    """The long description is not stored, so an invalid one does no harm."""
    pypi.knows("fortune", description="a\0book")
    result = of(package.fetch_metadata())
    assert result.outcome is FetchOutcome.UPDATED
    assert "description" not in package.pypi_info
    assert package.pypi_info["name"] == "fortune"


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
    def test_is_the_newest_that_can_be_used(self, releases: dict[str, Any], latest: str) -> None:
        """By version, not by date or text; neither yanked nor empty; a pre-release only if there is nothing else."""
        assert read_project({**project("x"), "releases": releases}).number == latest

    @pytest.mark.parametrize(
        "releases", [{"1.0": files(yanked=True), "2.0": files(yanked=True)}, {"1.0": []}, {"final": files()}]
    )
    def test_is_skipped_where_none_is_left(self, releases: dict[str, Any]) -> None:
        """If all releases were yanked, the latest version is skipped with a reason."""
        reading = read_project({**project("x"), "releases": releases})
        assert reading.number is None
        assert skipped_of(reading) == {"version.number"}

    def test_stays_what_it_was_when_all_is_yanked(self, package: Package, pypi: CannedPyPI) -> None:
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

    def test_without_releases_a_yanked_one_is_none(self) -> None:
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


def skipped_of(reading: Reading) -> set[str]:
    return {field.field for field in reading.skipped}


NESTED = pytest.mark.parametrize(("begin", "end"), [("[", "]"), ('{"a":', "}"), ('[{"a":', "}]")], ids=str)


@NESTED
@pytest.mark.parametrize("depth", [50, 500, 900, 940, 1000, 5000])
def test_deep_nesting_can_be_read_back_wherever_it_was_stored(
    package: Package, pypi: CannedPyPI, depth: int, begin: str, end: str
) -> None:
    """Stored JSON can be parsed again from a deeper call stack."""
    pypi.mock.upsert("GET", pypi.url("fortune"), body=dumps_nested(project("fortune"), depth, begin, end))
    package.fetch_metadata()
    assert deeper(100, lambda: Package.objects.get(pk=package.pk).slug) == "fortune"


@NESTED
def test_deep_nesting_costs_no_field_but_its_own(package: Package, pypi: CannedPyPI, begin: str, end: str) -> None:
    """JSON far deeper than PyPI's own is not kept, whether of objects or of lists; some levels more than that are."""
    for depth, kept in ((8, True), (50, False)):
        pypi.mock.upsert("GET", pypi.url("fortune"), body=dumps_nested(project("fortune"), depth, begin, end))
        result = of(package.fetch_metadata())
        assert [(each.field, each.reason) for each in result.skipped] == (
            [] if kept else [("pypi_info", "is nested too deeply")]
        )
        assert package.pypi_license == "MIT"


def dumps_nested(data: Project, depth: int, begin: str, end: str) -> str:
    """Write JSON that nests deeper than `json` itself would write."""
    data["info"]["odd"] = "HERE"
    return json.dumps(data).replace('"HERE"', begin * depth + "0" + end * depth)


def deeper(frames: int, call: Callable[[], Any]) -> Any:
    """Call `call` from `frames` deeper in the stack."""
    return deeper(frames - 1, call) if frames else call()


ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=20)
# Of 16 bits: PostgreSQL keeps numbers in decimal, where a large one comes back as an integer.
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(width=16) | ANY_TEXT
ANY_JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(ANY_TEXT, inner, max_size=4), max_leaves=8
)
SOURCES: Mapping[str, set[str]] = {
    "pypi_classifiers": {"classifiers"},
    "pypi_requires_python": {"requires_python"},
    "pypi_license": {"license_expression"},
    "pypi_licenses": {"license_expression"},
    "documentation_url": {"project_urls"},
}
KEYS = sorted(project("x")["info"])
ODD_INFO = st.dictionaries(st.sampled_from(KEYS) | ANY_TEXT, ANY_JSON)
MOMENTS = st.datetimes(timezones=st.timezones() | st.none()).map(datetime.isoformat)
ODD_FILES = st.lists(
    ANY_JSON | st.fixed_dictionaries({"upload_time_iso_8601": MOMENTS | ANY_JSON, "yanked": ANY_JSON}), max_size=3
)
ODD_RELEASES = st.dictionaries(st.sampled_from(["1.0", "2.1", "3.0rc1"]) | ANY_TEXT, ODD_FILES | ANY_JSON, max_size=4)


def odd_project(odd: dict[str, Any]) -> Project:
    data = project("x")
    data["info"].update(odd)
    return data


@given(ODD_INFO)
def test_whatever_info_holds_the_good_fields_are_read(odd: dict[str, Any]) -> None:
    """No value of one field can keep another one from being read, or raise."""
    good = read_project(project("x"))
    reading = read_project(odd_project(odd))
    for name, sources in SOURCES.items():
        if not sources & odd.keys():
            assert reading.package[name] == good.package[name]
    assert reading.number == "2.1"
    assert reading.version["upload_time"] == good.version["upload_time"]


@given(releases=ODD_RELEASES | ANY_JSON, urls=ODD_FILES | ANY_JSON, version=ANY_JSON)
def test_whatever_the_releases_hold_the_package_is_read(releases: Any, urls: Any, version: Any) -> None:
    """Any list of releases leaves the other fields readable."""
    reading = read_project({**project("x", version=version), "releases": releases, "urls": urls})
    for name in SOURCES:
        assert name in reading.package


@settings(max_examples=60)
@given(odd=ODD_INFO, releases=ODD_RELEASES | ANY_JSON)
def test_whatever_was_read_can_be_stored(
    make_package: MakePackage, pypi: CannedPyPI, odd: dict[str, Any], releases: Any
) -> None:
    """Every value that was read can be stored and loaded again."""
    odd = {key: value for key, value in odd.items() if key != "name"}  # another one is refused
    pypi.says("x", {**odd_project(odd), "releases": releases})
    Package.objects.all().delete()
    category = Category.objects.get()
    package = Package.objects.create(title="x", slug="fortune", category=category, pypi_url="x")
    result = of(package.fetch_metadata())
    assert result.outcome in {FetchOutcome.UPDATED, FetchOutcome.PARTLY}
    kept = Package.objects.select_related("latest_version").get()
    for name in PACKAGE_FIELDS:
        assert getattr(kept, name) == getattr(package, name)
    assert Version.objects.count() == ("version.number" not in {field.field for field in result.skipped})
