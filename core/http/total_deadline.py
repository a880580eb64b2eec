"""The total deadline that the hops of one session call share.

requests follows a redirect by calling `Session.send` again, and digest authentication by calling
`HTTPAdapter.send` from a hook; both happen inside the first `Session.send`. So that one opens a scope, and the
adapter finds in it what is left of the time. (A context variable, because everything else that reaches the
adapter is an argument of the caller's, which mocks and other adapters get to see as well.)
"""

from __future__ import annotations

from contextvars import ContextVar
from weakref import ref

from requests import Session
from requests.adapters import BaseAdapter

from .outcome import Attempt


class Scope:
    """One session call: every hop of it, and every attempt of every hop. Or several calls that share a limit."""

    __slots__ = ("__weakref__", "_deadline", "attempts", "limit", "outer", "owner", "spans_calls")

    def __init__(self, owner: Session, limit: float | None, outer: Scope | None, *, spans_calls: bool = False) -> None:
        self.owner = owner
        self.limit = limit
        self.spans_calls = spans_calls
        self.outer = outer
        self._deadline: float | None = None
        self.attempts: tuple[Attempt, ...] = ()
        """Of all its hops so far."""

    def deadline(self, proposed: float) -> float:
        """Return the deadline that the first hop set; it sets `proposed`, or the limit if that comes before."""
        if self._deadline is None:
            self._deadline = proposed if self.limit is None else min(proposed, self.limit)
        return self._deadline


class _Link:
    """The innermost scope, and those around it.

    Weak: an exception of a signal handler between the beginning of a block and its first line would leave the scope
    here, and all later calls of its session would share the deadline of a call that is over.
    """

    __slots__ = ("outer", "scope")

    def __init__(self, scope: Scope, outer: _Link | None) -> None:
        self.scope = ref(scope)
        self.outer = outer


_current: ContextVar[_Link | None] = ContextVar("core.http.scope", default=None)


def _living() -> _Link | None:
    link = _current.get()
    while link is not None and link.scope() is None:
        link = link.outer
    return link


def _innermost() -> Scope | None:
    link = _living()
    return None if link is None else link.scope()


def current(adapter: BaseAdapter) -> Scope | None:
    """Return the session call that `adapter` works for; None where its session is not a ResilientSession."""
    scope = _innermost()
    if scope is not None:
        for mounted in scope.owner.adapters.values():
            if mounted is adapter:
                return scope
    return None


def session_call(owner: Session) -> Entered:
    """Open a scope for a call of the session `owner`, or join the one that it has open already."""
    innermost = _innermost()
    outer = _of(owner, innermost)
    if outer is None:
        return Entered(Scope(owner, None, innermost))
    return Entered(Scope(owner, outer.limit, innermost) if outer.spans_calls else outer)


def several_calls(owner: Session, limit: float) -> Entered:
    """Let no call of `owner` that is made inside go on after `limit`, on its clock."""
    innermost = _innermost()
    outer = _of(owner, innermost)
    if outer is not None and outer.limit is not None:
        limit = min(limit, outer.limit)
    return Entered(Scope(owner, limit, innermost, spans_calls=True))


def _of(owner: Session, scope: Scope | None) -> Scope | None:
    """Return the innermost scope, if it is `owner`'s; limits of other sessions lie in between."""
    while scope is not None and scope.owner is not owner:
        scope = scope.outer if scope.spans_calls else None
    return scope


class Entered:
    """A context manager inside of which a scope holds. Every call goes through it; a generator would cost more."""

    __slots__ = ("_scope", "_token")

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    def __enter__(self) -> Scope:
        self._token = _current.set(_Link(self._scope, _living()))
        return self._scope

    def __exit__(self, *_: object) -> None:
        _current.reset(self._token)
