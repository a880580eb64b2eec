"""The total deadline that the hops of one session call share.

requests follows a redirect by calling `Session.send` again, and digest authentication calls `HTTPAdapter.send` from a
hook. Both happen inside the first `Session.send`. So the first `send` opens a scope, in which the adapter finds the
deadline. The scope is a context variable, because an extra argument would also reach mocks and other adapters.
"""

from __future__ import annotations

from contextvars import ContextVar
from weakref import ref

from requests import Session
from requests.adapters import BaseAdapter

from .outcome import Attempt


class Scope:
    """One session call with all its hops and their attempts, or several calls that share a time limit."""

    __slots__ = ("__weakref__", "_deadline", "attempts", "limit", "outer", "owner", "spans_calls")

    def __init__(self, owner: Session, limit: float | None, outer: Scope | None, *, spans_calls: bool = False) -> None:
        self.owner = owner
        self.limit = limit
        self.spans_calls = spans_calls
        self.outer = outer
        self._deadline: float | None = None
        self.attempts: tuple[Attempt, ...] = ()
        """The attempts of all hops so far."""

    def deadline(self, proposed: float) -> float:
        """Return the deadline of the call. The first hop sets it to `proposed`, or to the limit if that is earlier."""
        if self._deadline is None:
            self._deadline = proposed if self.limit is None else min(proposed, self.limit)
        return self._deadline


class _Link:
    """The innermost scope, and a link to the scopes around it.

    The reference to the scope is weak: an exception of a signal handler between the start of a block and its first line
    would leave the scope here, and all later calls of its session would share the deadline of a finished call.
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
    """Return the session call that uses `adapter`; None if the session is not a ResilientSession."""
    scope = _innermost()
    if scope is not None:
        for mounted in scope.owner.adapters.values():
            if mounted is adapter:
                return scope
    return None


def session_call(owner: Session) -> Entered:
    """Open a scope for a call of the session `owner`, or join its open scope."""
    innermost = _innermost()
    outer = _of(owner, innermost)
    if outer is None:
        return Entered(Scope(owner, None, innermost))
    return Entered(Scope(owner, outer.limit, innermost) if outer.spans_calls else outer)


def several_calls(owner: Session, limit: float) -> Entered:
    """Limit the calls of `owner` inside the block to `limit`, a moment on the clock of `owner`."""
    innermost = _innermost()
    outer = _of(owner, innermost)
    if outer is not None and outer.limit is not None:
        limit = min(limit, outer.limit)
    return Entered(Scope(owner, limit, innermost, spans_calls=True))


def _of(owner: Session, scope: Scope | None) -> Scope | None:
    """Return the innermost scope if it belongs to `owner`, skipping the limits that other sessions set inside it."""
    while scope is not None and scope.owner is not owner:
        scope = scope.outer if scope.spans_calls else None
    return scope


class Entered:
    """A context manager that activates a scope. It is a class, because every call uses it and a generator is slower."""

    __slots__ = ("_scope", "_token")

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    def __enter__(self) -> Scope:
        self._token = _current.set(_Link(self._scope, _living()))
        return self._scope

    def __exit__(self, *_: object) -> None:
        _current.reset(self._token)
