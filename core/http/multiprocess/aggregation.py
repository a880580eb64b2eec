"""What the files hold: a value and a time for each series, and how those of several processes become one."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterable
from functools import lru_cache
from pathlib import Path

from ..log import logger
from .value_file import Entry, entries_of


class Values(dict[str, tuple[float, float]]):
    """By series, as prometheus_client writes it: its value, and when that was set (Unix time; 0: not told)."""

    def add(self, kind: str, path: Path) -> None:
        """Add those of another process, as their `kind` demands. What is not to be read is logged, and left out.

        Raises `OSError` where it could not be read for now: without it, sums would go down.
        """
        try:
            if path.stat().st_size == 0:  # just made
                return
            _how(kind)(self, entries_of(path))
        except FileNotFoundError:
            pass
        except (PermissionError, RuntimeError, ValueError, struct.error) as exc:
            logger.warning("%s: %s: only a part of this file is counted; remove the file", path, exc)
        self.pop("", None)  # what a page that was never written to reads as

    def by_series(self, kind: str) -> Values:
        """Return them with one key for each series; what is no key is left out."""
        found = Values()
        _how(kind)(found, ((_series(key), value, timestamp) for key, (value, timestamp) in self.items()))
        found.pop("", None)
        return found


def _how(kind: str) -> Callable[[Values, Iterable[Entry]], None]:
    return _ADD.get(kind, _ADD.get(kind.removeprefix("gauge_").removeprefix("live"), _total))


@lru_cache(maxsize=20_000)
def _series(key: str) -> str:
    """Return by which key a series is known here: a key has the help text too, and another release may word it anew.

    "" for what is no key, as in a page that was never written to.
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
    """As `_least`, of gauges that outlive their process. 0: a child has the gauge, and has not set it."""
    _least(values, (entry for entry in entries if entry[1]))


def _greatest(values: Values, entries: Iterable[Entry]) -> None:
    for key, value, timestamp in entries:
        if key not in values or value > values[key][0]:
            values[key] = (value, timestamp)


def _latest(values: Values, entries: Iterable[Entry]) -> None:
    for key, value, timestamp in entries:
        if timestamp > (values[key][1] if key in values else 0.0):  # 0: it was never set
            values[key] = (value, timestamp)


_ADD = {"gauge_min": _earliest, "min": _least, "max": _greatest, "mostrecent": _latest}
