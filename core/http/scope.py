"""The total deadline that the hops of one session call share.

requests follows a redirect by calling `Session.send` again, and digest authentication by calling
`HTTPAdapter.send` from a hook; both happen inside the first `Session.send`. So that one opens a scope, and the
adapter finds in it what is left of the time. (A context variable, because everything else that reaches the
adapter is an argument of the caller's, which mocks and other adapters get to see as well.)
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from requests import Session
from requests.adapters import BaseAdapter


class Scope:
    """One session call: every hop of it, and every attempt of every hop."""

    __slots__ = ("_deadline", "owner")

    def __init__(self, owner: Session, deadline: float | None) -> None:
        self.owner = owner
        self._deadline = deadline

    def deadline(self, proposed: float) -> float:
        """Return the deadline that was set, by the owner or by the first hop, which sets `proposed`."""
        if self._deadline is None:
            self._deadline = proposed
        return self._deadline


_current: ContextVar[Scope | None] = ContextVar("core.http.scope", default=None)


def current(adapter: BaseAdapter) -> Scope | None:
    """Return the session call that `adapter` works for; None where its session is not a ResilientSession."""
    scope = _current.get()
    if scope is None or all(mounted is not adapter for mounted in scope.owner.adapters.values()):
        return None
    return scope


@contextmanager
def session_call(owner: Session, deadline: float | None = None) -> Iterator[None]:
    """Open a scope for a call of the session `owner`, or join the one that it has open already."""
    outer = _current.get()
    if outer is not None and outer.owner is owner:
        yield
        return
    token = _current.set(Scope(owner, deadline))
    try:
        yield
    finally:
        _current.reset(token)
