"""Reads a file with values of prometheus_client, and decodes its keys only if they have changed.

A process adds keys in its first minutes. After that, only the values between the keys change. So the layout of the file
is cached. As long as all bytes except the values are unchanged, one `struct` unpacks the file.
"""

from __future__ import annotations

import struct
from collections import OrderedDict
from pathlib import Path
from typing import NamedTuple

from prometheus_client.mmap_dict import MmapedDict

from ..log import logger

_MOST = 1024
"""Maximum number of files whose layout is cached. The oldest is dropped first."""
_VALUE = "dd"


class Columns(NamedTuple):
    """The entries of a file. An entry is a key, its value, and the Unix time when it was set (0: unknown)."""

    keys: tuple[str, ...] = ()
    values: tuple[float, ...] = ()
    timestamps: tuple[float, ...] = ()


class _Layout(NamedTuple):
    keys: tuple[str, ...]
    between: tuple[bytes, ...]
    """The bytes before each value: its key; before the first key also the number of bytes of the file that are used."""
    format: struct.Struct


_layouts: OrderedDict[Path, _Layout] = OrderedDict()
_keys: dict[str, str] = {}
_pieces: dict[bytes, bytes] = {}
"""Keys and bytes that several files have in common, so that they are in memory only once."""


def read(path: Path) -> Columns:
    """Return the entries of the file; no entries if the file is missing or was just created.

    If an entry is unreadable, this is logged, and that entry and all later ones are omitted. Raises `OSError` for a
    temporary read error, because the sums would decrease without the file.
    """
    try:
        data, layout = path.read_bytes(), _layouts.get(path)
        if layout is not None and len(data) >= layout.format.size:
            found = layout.format.unpack_from(data)
            if found[::3] == layout.between:
                return Columns(layout.keys, found[1::3], found[2::3])
        # If a key was added after `data` was read, the cached layout will not match the file, so it is decoded again.
        return _decode(path, data) if data else Columns()
    except FileNotFoundError:
        return Columns()
    except PermissionError as exc:
        logger.warning("%s: %s: this file is not counted; make it readable, or remove it", path, exc)
        return Columns()


def _decode(path: Path, data: bytes) -> Columns:
    entries: list[tuple[str, float, float, int]] = []
    try:
        entries.extend(MmapedDict.read_all_values_from_file(path))  # type: ignore[no-untyped-call]  # it has no types
    except (RuntimeError, ValueError, struct.error) as exc:
        logger.warning("%s: %s: only a part of this file is counted; remove the file", path, exc)
    else:
        _keep(path, data, entries)
    keys, values, timestamps, _ = zip(*entries, strict=True) if entries else ((), (), (), ())
    return Columns(keys, values, timestamps)


def _keep(path: Path, data: bytes, entries: list[tuple[str, float, float, int]]) -> None:
    _layouts.pop(path, None)
    gaps, end = [], 0
    for *_, position in entries:
        gaps.append(f"{position - end}s{_VALUE}")
        end = position + struct.calcsize(_VALUE)
    layout = struct.Struct(f"={''.join(gaps)}")
    if not entries or layout.size > len(data):
        return
    between = layout.unpack_from(data)[::3]
    keys = tuple(_keys.setdefault(key, key) for key, *_ in entries)
    _layouts[path] = _Layout(keys, tuple(_pieces.setdefault(piece, piece) for piece in between), layout)
    while len(_layouts) > _MOST:
        _layouts.popitem(last=False)
