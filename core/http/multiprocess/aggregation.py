"""Combines the values of several processes into one value for each series."""

from __future__ import annotations

import json
import operator
from collections.abc import Callable, Iterable
from functools import lru_cache
from itertools import repeat
from pathlib import Path
from typing import Self, TypeAlias

from .value_file_reader import read

Entry: TypeAlias = tuple[str, float, float]
"""A key, its value, and the Unix time when the value was set (0: unknown)."""


class Values(dict[str, tuple[float, float]]):
    """Maps a series, in prometheus_client's form, to its value and the Unix time when it was set (0: unknown)."""

    @classmethod
    def of(cls, kind: str, paths: Iterable[Path]) -> Self:
        """Return the combined values of these files.

        Unreadable values are logged and omitted. Raises `OSError` for a temporary read error, because the sums would
        decrease without the file.

        :param kind: prometheus_client's name of the kind of the values. It determines how values are combined: sum,
            minimum, maximum or latest.
        """
        found, how = cls(), _how(kind)
        sums: dict[tuple[str, ...], tuple[float, ...]] = {}
        for path in paths:
            keys, values, timestamps = read(path)
            if how is _total:  # most files have the same keys, so their values are added without checking each key
                sums[keys] = tuple(map(operator.add, sums[keys], values)) if keys in sums else values
            else:
                how(found, zip(keys, values, timestamps, strict=True))
        for keys, values in sums.items():
            _total(found, zip(keys, values, repeat(0.0)))
        found.pop("", None)  # the key that is read from a page that was never written
        return found

    def by_series(self, kind: str) -> Values:
        """Return the values with one key for each series: values of several keys of one series are combined.

        Invalid keys are omitted.
        """
        found = Values()
        _how(kind)(found, ((_series(key), value, timestamp) for key, (value, timestamp) in self.items()))
        found.pop("", None)
        return found


def _how(kind: str) -> Callable[[Values, Iterable[Entry]], None]:
    return _ADD.get(kind, _ADD.get(kind.removeprefix("gauge_").removeprefix("live"), _total))


@lru_cache(maxsize=20_000)
def _series(key: str) -> str:
    """Return the first known key of the series of `key`, because keys of other releases may differ in the help text.

    Return "" for an invalid key, for example from a page that was never written.
    """
    try:
        metric, name, labels, _ = json.loads(key)
        float(labels.get("le", 0))
    except (ValueError, TypeError, AttributeError):
        return ""
    return _first.setdefault(json.dumps([metric, name, labels]), key)


_first: dict[str, str] = {}


def _total(values: Values, entries: Iterable[Entry]) -> None:
    for key, value, timestamp in entries:
        if key in values:
            value += values[key][0]  # noqa: PLW2901 - there are thousands in a scrape
        values[key] = (value, timestamp)


def _least(values: Values, entries: Iterable[Entry]) -> None:
    for key, value, timestamp in entries:
        if key not in values or value < values[key][0]:
            values[key] = (value, timestamp)


def _earliest(values: Values, entries: Iterable[Entry]) -> None:
    """Combine as `_least`, for gauges that remain after the end of their process. A 0 is skipped: it was never set."""
    _least(values, (entry for entry in entries if entry[1]))


def _greatest(values: Values, entries: Iterable[Entry]) -> None:
    for key, value, timestamp in entries:
        if key not in values or value > values[key][0]:
            values[key] = (value, timestamp)


def _latest(values: Values, entries: Iterable[Entry]) -> None:
    for key, value, timestamp in entries:
        if timestamp > (values[key][1] if key in values else 0.0):  # 0: the gauge was never set
            values[key] = (value, timestamp)


_ADD = {"gauge_min": _earliest, "min": _least, "max": _greatest, "mostrecent": _latest}
