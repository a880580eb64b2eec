"""Reads a file of prometheus_client's values, and decodes its keys only if they have changed.

A process adds keys in its first minutes. After that, only the values between the keys change. So the layout that
prometheus_client found is cached, and one `struct` unpacks the file while all bytes except the values are unchanged.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from pathlib import Path
from struct import Struct, calcsize
from typing import NamedTuple, TypeAlias

from prometheus_client.mmap_dict import MmapedDict

Entry: TypeAlias = tuple[str, float, float]
"""A key, its value, and the Unix time when the value was set (0: unknown)."""
_MOST = 1024
"""Maximum number of files whose layout is cached; the oldest is dropped first."""
_VALUE = "dd"


class _Layout(NamedTuple):
    keys: tuple[str, ...]
    between: tuple[bytes, ...]
    """The bytes before each value: its key, and before the first key also the number of used bytes of the file."""
    format: Struct


_layouts: OrderedDict[Path, _Layout] = OrderedDict()
_keys: dict[str, str] = {}
_pieces: dict[bytes, bytes] = {}
"""Keys and bytes that several files share, stored once."""


def entries_of(path: Path) -> Iterable[Entry]:
    """Return the entries of the file. Raises `OSError`, `RuntimeError` or `ValueError` if it cannot be read."""
    data, layout = path.read_bytes(), _layouts.get(path)
    if layout is not None and len(data) >= layout.format.size:
        found = layout.format.unpack_from(data)
        if found[::3] == layout.between:
            return zip(layout.keys, found[1::3], found[2::3], strict=True)
    # If a key was added after `data` was read, the cached layout will not match the file, so it is decoded again.
    entries = list(MmapedDict.read_all_values_from_file(path))  # type: ignore[no-untyped-call]  # it has no types
    _keep(path, data, entries)
    return [(key, value, timestamp) for key, value, timestamp, _ in entries]


def _keep(path: Path, data: bytes, entries: list[tuple[str, float, float, int]]) -> None:
    _layouts.pop(path, None)
    gaps, end = [], 0
    for *_, position in entries:
        gaps.append(f"{position - end}s{_VALUE}")
        end = position + calcsize(_VALUE)
    layout = Struct(f"={''.join(gaps)}")
    if not entries or layout.size > len(data):
        return
    between = layout.unpack_from(data)[::3]
    keys = tuple(_keys.setdefault(key, key) for key, *_ in entries)
    _layouts[path] = _Layout(keys, tuple(_pieces.setdefault(piece, piece) for piece in between), layout)
    while len(_layouts) > _MOST:
        _layouts.popitem(last=False)
