"""The next step of a driver, as `Call.begin` returns it."""

from __future__ import annotations

from dataclasses import field

from ..value import value


@value
class Send:
    """Make one attempt and abort it after `seconds` of wall-clock time."""

    seconds: float
    fresh: bool = False
    """Use a new connection, because the reused connection of the last attempt, and other idle ones, may be dead."""


@value
class Wait:
    """Wait for `seconds` or less, then call `Call.begin` again."""

    seconds: float
    for_turn: bool = field(default=False, compare=False)
    """The call waits for a slot or a probe election, which may come at any moment: wait inside `Call.waking`."""
    if_woken: float | None = field(default=None, compare=False)
    """Seconds to wait for a driver with wake-up; None: `seconds`."""


@value
class Stop:
    """Make no further attempt: the call ends with the last response or the last error."""
