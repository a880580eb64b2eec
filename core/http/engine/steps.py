"""What `Call.begin` tells a driver to do next."""

from __future__ import annotations

from dataclasses import field

from ..value import value


@value
class Send:
    """Make one attempt and cut it off after this many seconds of wall clock."""

    seconds: float
    fresh: bool = False
    """On a new connection: the one that the last attempt used may be dead, and others like it."""


@value
class Wait:
    """Not yet: wait this many seconds, or less, and ask again."""

    seconds: float
    for_turn: bool = field(default=False, compare=False)
    """A slot or the result of a probe election is awaited: it may come at any moment, so be ready to be woken."""
    if_woken: float | None = field(default=None, compare=False)
    """Seconds to wait for a driver that is woken; None: no more than `seconds`."""


@value
class Stop:
    """No further attempt: the last answer, or the last error, is the call's."""
