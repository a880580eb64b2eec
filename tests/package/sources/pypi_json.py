"""Fields that are read from PyPI's JSON, as they are stored and as they are skipped."""

from __future__ import annotations

from typing import Any

from package.models import Package
from package.sources.pypi_fields import Reading

Project = dict[str, Any]
LONG = "x" * 101
"""A text that is too long for most fields."""
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


def stored(package: Package) -> dict[str, Any]:
    """Return all values that a fetch fills, by their names in its result."""
    package = Package.objects.get(pk=package.pk)
    values = {name: getattr(package, name) for name in PACKAGE_FIELDS}
    version = package.latest_version
    assert version
    return {**values, **{f"version.{name}": getattr(version, name) for name in VERSION_FIELDS}}


def skipped_of(reading: Reading) -> set[str]:
    """Return the names of the fields that were skipped."""
    return {field.field for field in reading.skipped}
