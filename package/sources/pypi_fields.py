"""Reads the values of fields of Package and Version from PyPI's JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any

from django.utils import timezone
from packaging.version import Version as ParsedVersion

from core.utils import status_choices_switch
from package.models import Package, Version
from package.sources.fields import KEEP, BadField, Json, Reading, date, get, model_field, text
from package.sources.requires_python import allows_python3, specifiers_in

_PYTHON_3 = "Programming Language :: Python :: 3"
_PYTHON_2 = "Programming Language :: Python :: 2"
_LICENSE = "License :: "
_STATUS = "Development Status :: "
_BEGAN = datetime(2003, 1, 1, tzinfo=UTC)
"""The year of the first uploads to PyPI."""
_LONGEST_EXPRESSION = 10_000
_LONGEST_NAME = 100
"""Maximum number of characters of the name of a license. If it is longer, it is the text of the license."""
_DEEPEST = 20
"""Maximum number of levels of nested objects and lists. PyPI's JSON has three."""


@dataclass
class ProjectReading(Reading):
    """The values that were read from a project: for the package, and for its latest release."""

    version: dict[str, Any] = field(default_factory=dict)
    number: str | None = None
    """The number of the latest release; None: it could not be read."""

    def save(self, package: Package) -> list[str]:
        names = super().save(package)
        if self.number is None:
            return names
        values = self.withdrawn(Version) | self.version
        version = Version(package=package, number=self.number, modified=timezone.now(), **values)
        Version.objects.bulk_create(
            [version],
            update_conflicts=True,  # one statement, whether the release is new or known
            unique_fields=["package", "number"],
            update_fields=[*values, "modified"],
        )
        package.latest_version = version
        return [*names, "latest_version"]

    @property
    def updated(self) -> tuple[str, ...]:
        return (*super().updated, *(f"version.{name}" for name in (*self.version, *self.withdrawn(Version))))


def read_project(data: Json) -> ProjectReading:
    """Read all fields from the JSON of a project. `data["info"]` must be an object."""
    reading = ProjectReading()
    info: Json = data["info"]
    reading.malformed = not all(isinstance(info.get(key), str) for key in ("name", "version"))
    for name, reader in _PACKAGE_READERS.items():
        reading.take(name, partial(reader, info), withdraw=True)
    numbers: dict[str, Any] = {}
    reading.put(numbers, Version, "number", partial(_latest_release, data))
    reading.number = numbers.get("number")
    if reading.number is not None:
        reading.put(reading.version, Version, "upload_time", partial(_upload_time, data, reading.number))
        if info.get("version") == reading.number:  # `info` describes only this release
            for name, reader in _VERSION_READERS.items():
                withdraw = name != "development_status"  # classifiers often omit the status
                reading.put(reading.version, Version, name, partial(reader, info), withdraw=withdraw)
    return reading


def _info(info: Json) -> Json | None:
    kept = {key: value for key, value in info.items() if key != "description"}  # long, and not used
    for each in _texts(kept):
        text(each)
    try:
        json.dumps(kept, allow_nan=False)
    except ValueError:
        raise BadField("contains a number that JSON does not allow") from None
    return kept or None


def _texts(value: Any, depth: int = 0) -> Iterator[str]:
    if depth > _DEEPEST:
        raise BadField("is nested too deeply")
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, member in value.items():
            yield key
            yield from _texts(member, depth + 1)
    elif isinstance(value, list):
        for member in value:
            yield from _texts(member, depth + 1)


def _classifiers(info: Json) -> list[str] | None:
    values = get(info, "classifiers", list, "a list")
    return None if values is None else [text(value) for value in values]


def _requires_python(info: Json) -> str | None:
    value = get(info, "requires_python", str, "text")
    if value is None:
        return None
    specifier = text(value)
    longest = model_field(Package, "pypi_requires_python").max_length or 0
    if len(specifier) > longest:
        raise BadField(f"is longer than {longest} characters")
    specifiers_in(specifier)
    return specifier


def _supports_python3(info: Json) -> Any:
    """Return whether the project supports Python 3.

    A classifier for Python 3 decides first, then requires_python, then a classifier for Python 2. Without any of them:
    see `_nothing`.
    """
    classifiers = _readable(_classifiers, info) or []
    if any(c == _PYTHON_3 or c.startswith((f"{_PYTHON_3}.", f"{_PYTHON_3} ::")) for c in classifiers):
        return True
    required = _requires_python(info)
    if required:
        return allows_python3(required)
    return False if any(c.startswith(_PYTHON_2) for c in classifiers) else _nothing(info)


def _readable(reader: Callable[[Any], Any], info: Any) -> Any:
    """Return the value of another field; None: it cannot be used, which is reported when that field is read."""
    try:
        return reader(info)
    except BadField:
        return None


def _nothing(info: Json) -> Any:
    """Return None if the classifiers can be read, so there is no value; `KEEP` if not, because they may contain one."""
    try:
        _classifiers(info)
    except BadField:
        return KEEP
    return None


def _licenses(info: Json) -> Any:
    """Return the license expression (PEP 639); without one, the license field and the names in the classifiers."""
    expression = get(info, "license_expression", str, "text") if "license_expression" in info else None
    if expression:
        return [_one_line(expression)]
    classifiers = [c for c in _readable(_classifiers, info) or [] if c.startswith(_LICENSE)]
    licenses = [name for c in classifiers if (name := c.rsplit(" :: ", 1)[-1]) != "OSI Approved"]
    try:
        free = get(info, "license", str, "text")
        if free and (name := _name_of_license(free)).upper() != "UNKNOWN":
            licenses.insert(0, name)
    except BadField:
        if not licenses:
            raise
    return list(dict.fromkeys(licenses)) or _nothing(info)


def _one_line(value: str) -> str:
    value = text(value)
    if len(value) > _LONGEST_EXPRESSION:
        raise BadField(f"is longer than {_LONGEST_EXPRESSION} characters")
    if len(value.splitlines()) > 1:
        raise BadField("has several lines")
    return value


def _name_of_license(value: str) -> str:
    name = _one_line(value)
    if len(name) > _LONGEST_NAME:
        raise BadField(f"is longer than {_LONGEST_NAME} characters")
    return name


def _license(info: Json) -> Any:
    licenses = _licenses(info)
    return licenses[0] if isinstance(licenses, list) else licenses


def _documentation_url(info: Json) -> str | None:
    urls = get(info, "project_urls", dict, "an object") or {}
    by_label = {str(label).strip().lower(): url for label, url in urls.items()}
    for label in ("documentation", "docs", "doc"):
        if by_label.get(label):
            return _web_address(by_label[label])
    url = info.get("docs_url")
    return _web_address(url) if url else None


def _web_address(value: Any) -> str:
    url = text(value)
    if not url.lower().startswith(("http://", "https://")):
        raise BadField("is not an http or https address")
    return url


def _development_status(info: Json) -> int | None:
    found = [c for c in _readable(_classifiers, info) or [] if c.startswith(_STATUS)]
    if not found:
        return None
    status = status_choices_switch(found[-1])
    if status is None:
        raise BadField(f"unknown classifier {found[-1][:80]!r}")
    return status


def _latest_release(data: Json) -> str | None:
    """Return the newest release that was not yanked; a pre-release only if there is no other release.

    A release without files, or with a version that does not follow PEP 440, is returned only if there is no other
    release and PyPI calls it the latest.
    """
    numbers = []
    for number, files in _releases(data).items():
        if not all(map(_is_yanked, files)):
            try:
                parsed = ParsedVersion(number)
            except ValueError:
                continue
            numbers.append((not parsed.is_prerelease, parsed, number))
    if numbers:
        return text(max(numbers)[2])
    number, releases = data["info"].get("version"), data.get("releases")
    listed = releases.get(number) if isinstance(releases, dict) and isinstance(number, str) else None
    if not isinstance(listed, list) or data["info"].get("yanked") or (listed and all(map(_is_yanked, listed))):
        raise BadField("there is no release that was not yanked")
    return text(number)


def _is_yanked(file: Any) -> bool:
    return not isinstance(file, Mapping) or bool(file.get("yanked"))


def _releases(data: Json) -> dict[str, list[Any]]:
    """Return the files of each release; without a list of releases, only the files of the release in `info`."""
    releases = data.get("releases")
    if isinstance(releases, dict) and releases:
        return {number: files for number, files in releases.items() if isinstance(files, list)}
    number = get(data["info"], "version", str, "text")
    files = data.get("urls")
    if number is None:
        raise BadField("missing")
    return {number: files if isinstance(files, list) and files else [{"yanked": data["info"].get("yanked")}]}


def _upload_time(data: Json, number: str | None) -> datetime | None:
    """Return when the first file of the release was uploaded; None: the release has no files."""
    listed = _releases(data).get(number or "", [])
    if not listed:
        return None
    files = [file for file in listed if isinstance(file, Mapping)]
    times = [time for file in files if (time := file.get("upload_time_iso_8601") or file.get("upload_time"))]
    if not times:
        raise BadField("missing")
    read = [time for each in times if (time := _readable(_uploaded, each))]
    return min(read) if read else _uploaded(times[0])  # raises an error that describes the value


def _uploaded(value: Any) -> datetime:
    return date(value, _BEGAN)


_PACKAGE_READERS: dict[str, Callable[[Json], Any]] = {
    "pypi_info": _info,
    "pypi_classifiers": _classifiers,
    "pypi_requires_python": _requires_python,
    "supports_python3": _supports_python3,
    "pypi_license": _license,
    "pypi_licenses": _licenses,
    "documentation_url": _documentation_url,
}
_VERSION_READERS: dict[str, Callable[[Json], Any]] = {
    "license": _license,
    "licenses": _licenses,
    "development_status": _development_status,
    "supports_python3": _supports_python3,
}
