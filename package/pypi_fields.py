"""From PyPI's JSON to values for the fields of Package and Version: each read on its own, none trusted.

A reader returns the value, or None where PyPI says nothing about it. It raises `BadField` where what PyPI
says cannot be used.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any, TypeAlias, cast

from django.core.exceptions import ValidationError
from django.db import models
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import Version as ParsedVersion

from core.utils import status_choices_switch
from package.models import Package, Version
from package.results import SkippedField

Json: TypeAlias = Mapping[str, Any]
_PYTHON_3 = "Programming Language :: Python :: 3"
_PYTHON_2 = "Programming Language :: Python :: 2"
_LICENSE = "License :: "
_STATUS = "Development Status :: "
_DEEPEST = 20
"""Levels of objects and lists; PyPI's own JSON has three."""


class BadField(Exception):  # noqa: N818 - it ends the reading of a field, not the work
    """What PyPI says of a field cannot be used; the text says why."""


@dataclass
class Reading:
    """What could be read of a project, and what could not."""

    package: dict[str, Any] = field(default_factory=dict)
    version: dict[str, Any] = field(default_factory=dict)
    number: str | None = None
    """The latest release."""
    skipped: list[SkippedField] = field(default_factory=list)


def read_project(data: Json) -> Reading:
    """Read everything that is of use in the JSON of a project. `data["info"]` is an object."""
    reading = Reading()
    info: Json = data["info"]
    for name, reader in _PACKAGE_READERS.items():
        _store(reading, reading.package, Package, name, partial(reader, info))
    numbers: dict[str, Any] = {}
    _store(reading, numbers, Version, "number", partial(_latest_release, data))
    reading.number = numbers.get("number")
    if reading.number is None:
        return reading
    _store(reading, reading.version, Version, "upload_time", partial(_upload_time, data, reading.number))
    if info.get("version") == reading.number:  # `info` tells of that release, and of no other
        for name, reader in _VERSION_READERS.items():
            _store(reading, reading.version, Version, name, partial(reader, info))
    return reading


def _store(
    reading: Reading, into: dict[str, Any], model: type[models.Model], name: str, read: Callable[[], Any]
) -> None:
    """Put what `read` returns into the field `name`, if it is something and the model accepts it."""
    try:
        value = read()
        if value is not None:
            into[name] = _field(model, name).clean(value, None)
    except BadField as exc:
        reason = str(exc)
    except ValidationError as exc:
        reason = " ".join(exc.messages)
    else:
        return
    field_name = name if model is Package else f"version.{name}"
    reading.skipped.append(SkippedField(field_name, reason))


def _field(model: type[models.Model], name: str) -> models.Field[Any, Any]:
    return cast("models.Field[Any, Any]", model._meta.get_field(name))  # noqa: SLF001 - documented as API


def _get(values: Json, key: str, kind: type, described: str) -> Any:
    """Return `values[key]`, None where it is null or empty."""
    if key not in values:
        raise BadField("missing")
    value = values[key]
    if value is None or value in ([], {}) or (isinstance(value, str) and not value.strip()):
        return None
    if not isinstance(value, kind):
        raise BadField(f"must be {described}, is {type(value).__name__}")
    return value


def _text(value: Any) -> str:
    """Return `value`, stripped, if it is text that every database can store."""
    if not isinstance(value, str):
        raise BadField(f"must be text, is {type(value).__name__}")
    if "\0" in value:
        raise BadField("holds a NUL")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise BadField("holds a lone surrogate") from None
    return value.strip()


def _info(info: Json) -> Json | None:
    kept = {key: value for key, value in info.items() if key != "description"}  # whole books, and nobody reads them
    for text in _texts(kept):
        _text(text)
    try:
        json.dumps(kept, allow_nan=False)
    except ValueError:
        raise BadField("holds a number that JSON does not know") from None
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
    values = _get(info, "classifiers", list, "a list")
    return None if values is None else [_text(value) for value in values]


def _requires_python(info: Json) -> str | None:
    value = _get(info, "requires_python", str, "text")
    if value is None:
        return None
    text = _short(_text(value), "pypi_requires_python")
    try:
        SpecifierSet(text)
    except InvalidSpecifier:
        raise BadField("is not a version specifier") from None
    return text


def _supports_python3(info: Json) -> bool | None:
    """From the classifiers; where they name no Python, from requires_python."""
    classifiers = _readable(_classifiers, info) or []
    if any(c == _PYTHON_3 or c.startswith((f"{_PYTHON_3}.", f"{_PYTHON_3} ::")) for c in classifiers):
        return True
    required = _requires_python(info)
    if required:
        specifiers = SpecifierSet(required)
        return any(f"3.{minor}" in specifiers for minor in range(100))
    return False if any(c.startswith(_PYTHON_2) for c in classifiers) else None


def _readable(reader: Callable[[Json], Any], info: Json) -> Any:
    """Return what a field says, None where it cannot be used: that is said where the field itself is read."""
    try:
        return reader(info)
    except BadField:
        return None


def _licenses(info: Json) -> list[str] | None:
    """PEP 639's expression; else the free text, unless that is a whole licence; else the classifiers."""
    expression = _get(info, "license_expression", str, "text") if "license_expression" in info else None
    if expression:
        return [_one_line(expression)]
    classifiers = [c for c in _readable(_classifiers, info) or [] if c.startswith(_LICENSE)]
    licenses = [name for c in classifiers if (name := c.rsplit(" :: ", 1)[-1]) != "OSI Approved"]
    try:
        text = _get(info, "license", str, "text")
        if text and (line := _one_line(text)).upper() != "UNKNOWN":
            licenses.insert(0, line)
    except BadField:
        if not licenses:
            raise
    return list(dict.fromkeys(licenses)) or None


def _one_line(value: str) -> str:
    value = _short(_text(value), "pypi_license")
    if len(value.splitlines()) > 1:
        raise BadField("has several lines")
    return value


def _short(value: str, field_name: str) -> str:
    longest = _field(Package, field_name).max_length or 0
    if len(value) > longest:
        raise BadField(f"is longer than {longest} characters")
    return value


def _license(info: Json) -> str | None:
    licenses = _licenses(info)
    return licenses[0] if licenses else None


def _documentation_url(info: Json) -> str | None:
    urls = _get(info, "project_urls", dict, "an object") or {}
    by_label = {str(label).strip().lower(): url for label, url in urls.items()}
    for label in ("documentation", "docs", "doc"):
        if by_label.get(label):
            return _web_address(by_label[label])
    url = info.get("docs_url")
    return _web_address(url) if url else None


def _web_address(value: Any) -> str:
    url = _text(value)
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
    """Return the newest release that was not yanked; a pre-release only where there is nothing else."""
    numbers = []
    for number, files in _releases(data).items():
        if any(isinstance(file, Mapping) and not file.get("yanked") for file in files):
            try:
                parsed = ParsedVersion(number)
            except ValueError:  # not PEP 440: from before PyPI asked for it
                continue
            numbers.append((not parsed.is_prerelease, parsed, number))
    if not numbers:
        raise BadField("no release is left that was not yanked")
    return _text(max(numbers)[2])


def _releases(data: Json) -> dict[str, list[Any]]:
    """Return the files of each release. Without a list of all, the one that `info` tells of."""
    releases = data.get("releases")
    if isinstance(releases, dict) and releases:
        return {number: files for number, files in releases.items() if isinstance(files, list)}
    number = _get(data["info"], "version", str, "text")
    files = data.get("urls")
    if number is None:
        raise BadField("missing")
    return {number: files if isinstance(files, list) and files else [{"yanked": data["info"].get("yanked")}]}


def _upload_time(data: Json, number: str | None) -> datetime | None:
    """Return when the first file of the release was uploaded."""
    files = [file for file in _releases(data).get(number or "", []) if isinstance(file, Mapping)]
    times = [file.get("upload_time_iso_8601") or file.get("upload_time") for file in files]
    try:
        parsed = [_utc(datetime.fromisoformat(_text(time))) for time in times if time]
    except (ValueError, OverflowError):
        raise BadField("is not an ISO 8601 date") from None
    if not parsed:
        raise BadField("missing")
    return min(parsed)


def _utc(time: datetime) -> datetime:
    return time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)


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
