"""What the files hold: a value and a time for each series, and how those of several processes become one."""

from __future__ import annotations

import logging
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import TypeAlias

from prometheus_client.mmap_dict import MmapedDict

_Entry: TypeAlias = tuple[str, float, float, int]


class Values(dict[str, tuple[float, float]]):
    """By series, as prometheus_client writes it: its value, and when that was set (Unix time; 0: not told)."""

    def add(self, kind: str, path: Path) -> None:
        """Add those of another process, as their `kind` demands. What cannot be read is logged, and left out."""
        try:
            if path.stat().st_size == 0:  # just made
                return
            entries: Iterable[_Entry]
            entries = MmapedDict.read_all_values_from_file(path)  # type: ignore[no-untyped-call]  # it has no types
            _ADD.get(kind.removeprefix("gauge_").removeprefix("live"), _total)(self, entries)
        except FileNotFoundError:
            pass
        except (OSError, RuntimeError, ValueError, struct.error) as exc:
            logging.getLogger(__name__).warning("%s: %s: not all of it could be read; remove it", path, exc)
        self.pop("", None)  # what a page that was never written to reads as


def _total(values: Values, entries: Iterable[_Entry]) -> None:
    for key, value, timestamp, _ in entries:
        if key in values:
            value += values[key][0]  # noqa: PLW2901 - there are thousands in a scrape
        values[key] = (value, timestamp)


def _least(values: Values, entries: Iterable[_Entry]) -> None:
    for key, value, timestamp, _ in entries:
        if key not in values or value < values[key][0]:
            values[key] = (value, timestamp)


def _greatest(values: Values, entries: Iterable[_Entry]) -> None:
    for key, value, timestamp, _ in entries:
        if key not in values or value > values[key][0]:
            values[key] = (value, timestamp)


def _latest(values: Values, entries: Iterable[_Entry]) -> None:
    for key, value, timestamp, _ in entries:
        if timestamp > (values[key][1] if key in values else 0.0):  # 0: it was never set
            values[key] = (value, timestamp)


_ADD = {"min": _least, "max": _greatest, "mostrecent": _latest}
