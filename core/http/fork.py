"""Gives a forked child process its own connections, locks and state.

If parent and child shared a connection, one could read the response to the other's request. A lock that another thread
held at the time of the fork stays locked in the child forever.
"""

from __future__ import annotations

import os
from typing import Protocol
from weakref import WeakSet

from .log import logger


class _Forkable(Protocol):
    def after_fork(self) -> None: ...


_forkable: WeakSet[_Forkable] = WeakSet()


def renew_in_children(thing: _Forkable) -> None:
    """Call ``thing.after_fork()`` in every child process that is forked while `thing` exists."""
    _forkable.add(thing)


def _renew() -> None:
    for thing in tuple(_forkable):
        try:
            thing.after_fork()
        except Exception:  # noqa: BLE001 - logged, with its traceback
            logger.exception("Renewing %r after a fork failed", thing)


if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork either
    os.register_at_fork(after_in_child=_renew)
