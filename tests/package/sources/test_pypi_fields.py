"""PyPI's JSON: an invalid field keeps its stored value, a withdrawn one is emptied, and no other field changes."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest

from package.models import Package
from package.sources.fetch_results import FetchOutcome
from tests.package.conftest import CannedPyPI, of
from tests.package.sources.pypi_json import LONG, Project, stored
from tests.upstreams.pypi import project

Change = Callable[[Project], object]

NUL = "MIT\0"
SURROGATE = "MIT\ud800"
LICENSES = {"pypi_license", "pypi_licenses", "version.license", "version.licenses"}


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
def test_withdrawn_values_are_emptied(
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
