"""From what servers say to values for the fields of a package: each read on its own, none trusted.

A reader returns the value, None where the server says that there is none, or `KEEP` where it says nothing. It raises
`BadField` where what the server says cannot be used. docs/sources.md tells what each of them does to what is stored.
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
from package.sources.results import SkippedField

Json: TypeAlias = Mapping[str, Any]
_LARGEST = 2**31 - 1
"""What every database takes for an IntegerField."""
EARLIEST = datetime(1990, 1, 1, tzinfo=UTC)
"""Of what people date themselves, such as commits: histories are older than git, but none of Python's than Python."""
_FAR_ZONE = re.compile(r"(.+T.+\d)([+-])(\d{2,4}):?(\d\d)", re.ASCII)
_AHEAD = timedelta(days=1)
"""By so much a clock or a time zone may be wrong."""


KEEP = object()
"""What a reader returns where nothing can be said: what is stored stays."""


class BadField(Exception):  # noqa: N818 - it ends the reading of a field, not the work
    """What a server says of a field cannot be used; the text says why."""


class Malformed(BadField):
    """What should be there is missing, or of another type: so what else is empty may be empty for the same reason."""


@dataclass
class Reading:
    """What could be read of a package, and what could not."""

    package: dict[str, Any] = field(default_factory=dict)
    skipped: list[SkippedField] = field(default_factory=list)
    moved_to: str = ""
    """The repository's new address, where it has one."""

    malformed: bool = False
    """Something that every answer has is missing in this one, or of another type."""
    _empty: list[tuple[type[models.Model], str]] = field(default_factory=list)

    def take(self, name: str, read: Callable[[], Any], *, withdraw: bool = False) -> None:
        """Keep what `read` returns for the package's field `name`, if it is something and the model accepts it.

        :param withdraw: None empties what is stored. See `withdrawn`.
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
        """As `take`, for a field of any model."""
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
        """Return the fields of `model` of which the server says that there is nothing, and what they become.

        None are where the answer is malformed: then what is empty may be so for the same reason.
        """
        if self.malformed:
            return {}
        return {name: model_field(model, name).get_default() for of, name in self._empty if of is model}

    def save(self, package: Package) -> list[str]:
        """Put the values on `package`, and save what is not a field of it. Returns the names of the fields set."""
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
    """Return `values[key]`, None where it is null or empty."""
    if key not in values:
        raise Malformed("missing")
    value = values[key]
    if value is None or value in ([], {}) or (isinstance(value, str) and not value.strip()):
        return None
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise Malformed(f"must be {described}, is {type(value).__name__}")
    return value


def inside(values: Any, *keys: str) -> Json:
    """Return the object that `keys` lead to, one inside the other."""
    for key in keys:
        values = get(values, key, dict, "an object") if isinstance(values, Mapping) else None
    if not isinstance(values, Mapping):
        raise Malformed("missing")
    return values


def text_at(values: Any, *keys: str) -> str:
    """Return the text that `keys` lead to; "" where they do not lead to text."""
    try:
        return text(inside(values, *keys[:-1]).get(keys[-1]))
    except BadField:
        return ""


def time_at(values: Any, *keys: str) -> datetime | None:
    """Return the time that `keys` lead to, though it cannot be right; None where they do not lead to one."""
    try:
        return _time(inside(values, *keys[:-1]).get(keys[-1]))
    except BadField:
        return None


def text(value: Any) -> str:
    """Return `value`, stripped, if it is text that every database can store."""
    if not isinstance(value, str):
        raise Malformed(f"must be text, is {type(value).__name__}")
    if "\0" in value:
        raise BadField("holds a NUL")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise BadField("holds a lone surrogate") from None
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
    """Return `value`, if it can be a count that is stored."""
    if not 0 <= value <= largest:
        raise BadField("is no count")
    return value


def date_of(values: Json, key: str) -> datetime | None:
    value = get(values, key, str, "a date")
    return None if value is None else date(value)


def date(value: Any, earliest: datetime = EARLIEST) -> datetime:
    """Read a date in ISO 8601, which is to be one that can be right; without a zone it is UTC."""
    time = _time(value)
    if not can_be_right(time, earliest):
        raise BadField(f"is {time:%Y-%m-%d}, which cannot be right")
    return time


def can_be_right(time: datetime, earliest: datetime = EARLIEST) -> bool:
    """Say whether `time` is not before `earliest`, nor more than a day in the future."""
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
    """Read a time with an offset of more than a day, which Git and its hosts keep as it was committed: "+518:00"."""
    match = _FAR_ZONE.fullmatch(written)
    if match is None:
        raise ValueError(written)
    time, sign, hours, minutes = match.groups()
    offset = timedelta(hours=int(hours), minutes=int(minutes))
    return datetime.fromisoformat(time) + (offset if sign == "-" else -offset)
