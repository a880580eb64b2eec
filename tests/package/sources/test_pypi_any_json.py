"""PyPI's JSON: any JSON, however odd or deeply nested, can be read and stored."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from package.models import Category, Package, Version
from package.sources.fetch_results import FetchOutcome
from package.sources.pypi_fields import read_project
from tests.package.conftest import CannedPyPI, MakePackage, of
from tests.package.sources.pypi_json import PACKAGE_FIELDS, Project
from tests.upstreams.pypi import project

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
def test_good_fields_are_read_from_any_info(odd: dict[str, Any]) -> None:
    """No value of one field can keep another one from being read, or raise."""
    good = read_project(project("x"))
    reading = read_project(odd_project(odd))
    for name, sources in SOURCES.items():
        if not sources & odd.keys():
            assert reading.package[name] == good.package[name]
    assert reading.number == "2.1"
    assert reading.version["upload_time"] == good.version["upload_time"]


@given(releases=ODD_RELEASES | ANY_JSON, urls=ODD_FILES | ANY_JSON, version=ANY_JSON)
def test_other_fields_are_read_with_any_releases(releases: Any, urls: Any, version: Any) -> None:
    """Any list of releases leaves the other fields readable."""
    reading = read_project({**project("x", version=version), "releases": releases, "urls": urls})
    for name in SOURCES:
        assert name in reading.package


@settings(max_examples=30)
@given(odd=ODD_INFO, releases=ODD_RELEASES | ANY_JSON)
def test_every_value_that_was_read_can_be_stored(
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
