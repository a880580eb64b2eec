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
    """One session call: every hop of it, and every attempt of every hop. Or several calls that share a limit."""

    __slots__ = ("_deadline", "limit", "owner", "spans_calls")

    def __init__(self, owner: Session, limit: float | None, *, spans_calls: bool = False) -> None:
        self.owner = owner
        self.limit = limit
        self.spans_calls = spans_calls
        self._deadline: float | None = None

    def deadline(self, proposed: float) -> float:
        """Return the deadline that the first hop set; it sets `proposed`, or the limit if that comes before."""
        if self._deadline is None:
            self._deadline = proposed if self.limit is None else min(proposed, self.limit)
        return self._deadline


_current: ContextVar[Scope | None] = ContextVar("core.http.scope", default=None)


def current(adapter: BaseAdapter) -> Scope | None:
    """Return the session call that `adapter` works for; None where its session is not a ResilientSession."""
    scope = _current.get()
    if scope is None or all(mounted is not adapter for mounted in scope.owner.adapters.values()):
        return None
    return scope


@contextmanager
def session_call(owner: Session) -> Iterator[None]:
    """Open a scope for a call of the session `owner`, or join the one that it has open already."""
    outer = _current.get()
    if outer is None or outer.owner is not owner:
        scope = Scope(owner, None)
    elif outer.spans_calls:
        scope = Scope(owner, outer.limit)
    else:
        scope = outer
    with _entered(scope):
        yield


@contextmanager
def several_calls(owner: Session, limit: float) -> Iterator[None]:
    """Let no call of `owner` that is made inside go on after `limit`, on its clock."""
    outer = _current.get()
    if outer is not None and outer.owner is owner and outer.limit is not None:
        limit = min(limit, outer.limit)
    with _entered(Scope(owner, limit, spans_calls=True)):
        yield


@contextmanager
def _entered(scope: Scope) -> Iterator[None]:
    token = _current.set(scope)
    try:
        yield
    finally:
        _current.reset(token)
