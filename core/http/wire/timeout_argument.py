"""Combines the `timeout=` of a call, in all forms that requests accepts, with the seconds of an attempt."""

from __future__ import annotations

from typing import Any

from urllib3.util import Timeout

from .attempt_context import Stage


def bounded(timeout: Any, seconds: float) -> Any:
    """Return `timeout` with all its parts limited to `seconds`.

    Invalid values are returned unchanged, so that requests raises its error.
    """
    if timeout is None:
        return seconds
    if isinstance(timeout, tuple):
        return tuple(bounded(part, seconds) for part in timeout)
    if isinstance(timeout, Timeout):
        shortened = timeout.clone()
        shortened.total = bounded(timeout.total if is_seconds(timeout.total) else None, seconds)
        return shortened
    return seconds if is_seconds(timeout) and timeout > seconds else timeout


def part_of(timeout: Any, stage: Stage) -> float | None:
    """Return the part of `timeout` that applied in `stage` (connect or read), in seconds; None if it has no parts."""
    parts: Any = timeout
    if isinstance(timeout, Timeout) and timeout.total is None:  # a total already limits the whole attempt
        parts = (timeout.connect_timeout, timeout.read_timeout)
    if not isinstance(parts, tuple):
        return None
    part: Any = parts[0 if stage < Stage.SEND else 1]
    return part if is_seconds(part) else None


def is_seconds(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
