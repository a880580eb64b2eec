"""The next step of a driver: the classes of which `Call.begin` returns an instance."""

from __future__ import annotations

from dataclasses import field

from ..value import value


@value
class Send:
    """Make one attempt and abort it after `seconds` of wall-clock time."""

    seconds: float
    fresh: bool = False
    """Whether to use a new connection, because the reused connection of the last attempt, and other idle connections,
    may be dead."""


@value
class Wait:
    """Wait for `seconds` or less, then call `Call.begin` again."""

    seconds: float
    for_turn: bool = field(default=False, compare=False)
    """Whether the call waits for a free slot, or for the result of a probe election. Either may come before `seconds`
    have passed, so the driver should wait inside `Call.waking`."""
    if_woken: float | None = field(default=None, compare=False)
    """Seconds that a driver waits instead of `seconds` if `Call.waking` can end the wait; None: `seconds`."""


@value
class Stop:
    """Make no further attempt: the call ends with the last response or the last error."""
