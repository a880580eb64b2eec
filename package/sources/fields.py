"""Reads values for the fields of a package from the JSON of servers. Each value is checked and read separately.

A reader is a function that returns a value; None: the response says that there is no value; `KEEP`: the response does
not say whether there is one. It raises `BadField` if the value cannot be used. docs/sources.md describes the effect of
each case on the stored value.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias, cast

from django.core.exceptions import ValidationError
from django.db import models
from django.utils import timezone

from package.models import Package
from package.sources.fetch_results import SkippedField

Json: TypeAlias = Mapping[str, Any]
_LARGEST = 2**31 - 1
"""The largest value of an IntegerField that every database accepts."""
EARLIEST = datetime(1990, 1, 1, tzinfo=UTC)
"""The earliest valid date of a commit. Histories that were converted to git may be older than git, not than Python."""
_FAR_ZONE = re.compile(r"(.+T.+\d)([+-])(\d{2,4}):?(\d\d)", re.ASCII)
_AHEAD = timedelta(days=1)
"""Tolerated error of clocks and time zones."""


KEEP = object()
"""The result of a reader if the response does not say whether there is a value. The stored value remains."""


class BadField(Exception):  # noqa: N818 - it ends the reading of a field, not the work
    """The value of a field cannot be used. The text says why."""


class Malformed(BadField):
    """A required value is missing or has a wrong type. Other values may be empty for the same reason."""


@dataclass
class Reading:
    """The values that were read from a response, and the fields that could not be read."""

    package: dict[str, Any] = field(default_factory=dict)
    """Values for fields of the package, by the name of the field."""
    skipped: list[SkippedField] = field(default_factory=list)
    """The fields that could not be read."""
    moved_to: str = ""
    """The new address of the repository; "": it has not moved."""

    malformed: bool = False
    """Whether a value that every response has is missing or has a wrong type."""
    _empty: list[tuple[type[models.Model], str]] = field(default_factory=list)

    def take(self, name: str, read: Callable[[], Any], *, withdraw: bool = False) -> None:
        """Add the value that `read` returns, for the field `name` of the package. Invalid values go to `skipped`.

        :param withdraw: whether the stored value is emptied if `read` returns None. See `withdrawn`.
        """
        self.put(self.package, Package, name, read, withdraw=withdraw)

    def put(
        self,
        into: dict[str, Any],
        model: type[models.Model],
        name: str,
        read: Callable[[], Any],
        *,
        withdraw: bool = False,
    ) -> None:
        """Add a value as `take` does, to the dictionary `into`, for a field of any `model`."""
        try:
            value = read()
            if value is None and withdraw:
                self._empty.append((model, name))
            elif value is not None and value is not KEEP:
                into[name] = model_field(model, name).clean(value, None)
        except BadField as exc:
            reason = str(exc)
            self.malformed = self.malformed or isinstance(exc, Malformed)
        except ValidationError as exc:
            reason = " ".join(exc.messages)
        else:
            return
        field_name = name if model is Package else f"version.{name}"
        self.skipped.append(SkippedField(field_name, reason))

    def withdrawn(self, model: type[models.Model] = Package) -> dict[str, Any]:
        """Return the fields of `model` for which the server no longer has a value, with their default values.

        If the response is malformed, there are none, because its values may be empty for the same reason.
        """
        if self.malformed:
            return {}
        return {name: model_field(model, name).get_default() for of, name in self._empty if of is model}

    def save(self, package: Package) -> list[str]:
        """Set the values on `package`, and save those of other models. Returns the names of the changed fields."""
        values = self.withdrawn() | self.package
        for name, value in values.items():
            setattr(package, name, value)
        return list(values)

    @property
    def updated(self) -> tuple[str, ...]:
        """Names of the fields that were read."""
        return (*self.package, *self.withdrawn())


def model_field(model: type[models.Model], name: str) -> models.Field[Any, Any]:
    return cast("models.Field[Any, Any]", model._meta.get_field(name))  # noqa: SLF001 - documented as API


def get(values: Json, key: str, kind: type, described: str) -> Any:
    """Return `values[key]`; None: it is null or empty.

    :param kind: the required type.
    :param described: the type in words, for the error.
    :raises Malformed: if the key is missing, or the value has another type.
    """
    if key not in values:
        raise Malformed("missing")
    value = values[key]
    if value is None or value in ([], {}) or (isinstance(value, str) and not value.strip()):
        return None
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise Malformed(f"must be {described}, is {type(value).__name__}")
    return value


def inside(values: Any, *keys: str) -> Json:
    """Return the object at the nested `keys`. Raises `Malformed` if it is missing."""
    for key in keys:
        values = get(values, key, dict, "an object") if isinstance(values, Mapping) else None
    if not isinstance(values, Mapping):
        raise Malformed("missing")
    return values


def text_at(values: Any, *keys: str) -> str:
    """Return the text at the nested `keys`; "": there is no text."""
    try:
        return text(inside(values, *keys[:-1]).get(keys[-1]))
    except BadField:
        return ""


def time_at(values: Any, *keys: str) -> datetime | None:
    """Return the time at the nested `keys`, even if it cannot be right; None: there is no time."""
    try:
        return _time(inside(values, *keys[:-1]).get(keys[-1]))
    except BadField:
        return None


def text(value: Any) -> str:
    """Return `value` without spaces at its ends. Raises `BadField` unless it is text that every database can store."""
    if not isinstance(value, str):
        raise Malformed(f"must be text, is {type(value).__name__}")
    if "\0" in value:
        raise BadField("contains a NUL")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise BadField("contains a lone surrogate") from None
    return value.strip()


def text_of(values: Json, key: str) -> str | None:
    value = get(values, key, str, "text")
    return None if value is None else text(value)


def count_of(values: Json, key: str, largest: int = _LARGEST) -> int:
    value = get(values, key, int, "a whole number")
    if value is None:
        raise Malformed("must be a whole number, is empty")
    return count(value, largest)


def count(value: int, largest: int = _LARGEST) -> int:
    """Return `value`. Raises `BadField` if it is negative or larger than `largest`."""
    if not 0 <= value <= largest:
        raise BadField("is not a valid count")
    return value


def date_of(values: Json, key: str) -> datetime | None:
    value = get(values, key, str, "a date")
    return None if value is None else date(value)


def date(value: Any, earliest: datetime = EARLIEST) -> datetime:
    """Parse a date in ISO 8601; without a time zone, it is read as UTC.

    :raises BadField: if it is not a date, or if `can_be_right` is False for it.
    """
    time = _time(value)
    if not can_be_right(time, earliest):
        raise BadField(f"is {time:%Y-%m-%d}, which cannot be right")
    return time


def can_be_right(time: datetime, earliest: datetime = EARLIEST) -> bool:
    """Return whether `time` is not before `earliest`, and at most a day in the future."""
    return earliest <= time <= timezone.now() + _AHEAD


def _time(value: Any) -> datetime:
    written = text(value)
    try:
        try:
            time = datetime.fromisoformat(written)
        except ValueError:
            time = _far_from_utc(written)
        return time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise BadField("is not an ISO 8601 date") from None


def _far_from_utc(written: str) -> datetime:
    """Parse a time with an offset of more than a day, such as "+518:00", which git and the hosts accept."""
    match = _FAR_ZONE.fullmatch(written)
    if match is None:
        raise ValueError(written)
    time, sign, hours, minutes = match.groups()
    offset = timedelta(hours=int(hours), minutes=int(minutes))
    return datetime.fromisoformat(time) + (offset if sign == "-" else -offset)
