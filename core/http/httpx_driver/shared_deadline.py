"""One total deadline for several calls of a client: see `Client.within`."""

from __future__ import annotations

from contextvars import ContextVar, Token
from typing import TYPE_CHECKING
from weakref import ref

if TYPE_CHECKING:
    from typing import Self


class SharedDeadline:
    """A context manager: all calls of `owner` in its block must end by `ends`, a time on the clock of `owner`."""

    __slots__ = ("__weakref__", "_token", "ends", "outer", "owner")

    def __init__(self, owner: object, ends: float) -> None:
        self.owner = owner
        self.ends = ends
        self.outer: SharedDeadline | None = None
        self._token: Token[ref[SharedDeadline] | None] | None = None

    def __enter__(self) -> Self:
        self.outer = _innermost()
        self._token = _current.set(ref(self))
        return self

    def __exit__(self, *_: object) -> None:
        if self._token is not None:
            _current.reset(self._token)

    @staticmethod
    def of(owner: object) -> float | None:
        """Return the earliest deadline for calls of `owner` in this thread or task; None: no limit."""
        ends: list[float] = []
        limit = _innermost()
        while limit is not None:
            if limit.owner is owner:
                ends.append(limit.ends)
            limit = limit.outer
        return min(ends, default=None)


_current: ContextVar[ref[SharedDeadline] | None] = ContextVar("core.http.shared_deadline", default=None)
"""The reference is weak, because an exception from a signal handler during `__enter__` would leave the variable set."""


def _innermost() -> SharedDeadline | None:
    found = _current.get()
    return None if found is None else found()
