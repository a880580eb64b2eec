"""Changes the values of prometheus_client without its checks and locks, which cost more than the change itself.

An HTTP call without retries changes ten values of metrics. Only this module uses private names of prometheus_client.
If a value does not have these names in the form that this module knows, the public methods are used instead. The
functions are not thread-safe: the caller must hold one lock for all changes of a value.
"""

from __future__ import annotations

import struct
from bisect import bisect_left
from collections.abc import Callable
from typing import Any, TypeAlias

from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.values import MutexValue

Change: TypeAlias = Callable[[float], object]
"""A function that adds to a counter, sets a gauge, or observes a value of a histogram."""
_FLOAT = struct.Struct("d")
"""The form of a value in a file (with PROMETHEUS_MULTIPROC_DIR). The next eight bytes, for the time when the value was
set, stay 0."""
_pack = _FLOAT.pack


def adder(counter: Counter) -> Change:
    """Return a function that adds to `counter`, whose labels are set."""
    return _adder(getattr(counter, "_value", None)) or counter.inc


def setter(gauge: Gauge) -> Change:
    """Return a function that sets `gauge`, whose labels are set."""
    value: Any = getattr(gauge, "_value", None)
    if _is_in_memory(value):
        return lambda new: setattr(value, "_value", new)
    return _change_in_file(value, adds=False) if _is_in_file(value) else gauge.set


def observer(histogram: Histogram) -> Change:
    """Return a function that observes a value of `histogram`, whose labels are set."""
    bounds = getattr(histogram, "_upper_bounds", None)
    add = _adder(getattr(histogram, "_sum", None))
    counts = [count for bucket in getattr(histogram, "_buckets", ()) if (count := _adder(bucket))]
    if add is None or bounds is None or not len(counts) == len(bounds) > 0:
        return histogram.observe
    return lambda amount: (add(amount), counts[bisect_left(bounds, amount)](1.0))


def _adder(value: Any) -> Change | None:
    if _is_in_memory(value):

        def add(amount: float) -> None:
            value._value += amount

        return add
    return _change_in_file(value, adds=True) if _is_in_file(value) else None


def _is_in_memory(value: Any) -> bool:
    return type(value) is MutexValue and type(getattr(value, "_value", None)) is float


def _is_in_file(value: Any) -> bool:
    """Return whether `value` is in a mapped file, at the position and in the form that `_change_in_file` assumes."""
    try:
        return bool(type(value)._multiprocess) and _stored(value) == value._file.read_value(value._key)
    except (AttributeError, LookupError, TypeError, ValueError):
        return False


def _stored(value: Any) -> tuple[Any, ...]:
    place = value._file._positions[value._key]
    return struct.unpack("dd", value._file._m[place : place + 16])


def _change_in_file(value: Any, *, adds: bool) -> Change:
    file: Any = None
    place = slice(0)

    def change(amount: float) -> None:
        nonlocal file, place
        if adds:
            amount += value._value
        value._value = amount
        if file is not value._file:  # the first time, and after a fork
            file = value._file
            begin = file._positions[value._key]
            place = slice(begin, begin + _FLOAT.size)
        # Not pack_into, because it writes zeros first, which another process could read.
        file._m[place] = _pack(amount)

    return change
