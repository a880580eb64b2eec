"""The total deadline that all requests of one session call share: the first request, redirects and authentication.

requests follows a redirect by calling `Session.send` again, and digest authentication calls `HTTPAdapter.send` from a
hook. Both happen inside the first `Session.send`. So the first `send` opens a scope, in which the adapter finds the
deadline. The scope is in a context variable, because an extra argument would also reach mocks and other adapters.
"""

from __future__ import annotations

from contextvars import ContextVar
from weakref import ref

from requests import Session
from requests.adapters import BaseAdapter

from .outcome import Attempt


class Scope:
    """One session call with all its requests and their attempts, or several calls that share a time limit."""

    __slots__ = ("__weakref__", "_deadline", "attempts", "limit", "outer", "owner", "spans_calls")

    def __init__(self, owner: Session, limit: float | None, outer: Scope | None, *, spans_calls: bool = False) -> None:
        self.owner = owner
        self.limit = limit
        self.spans_calls = spans_calls
        self.outer = outer
        self._deadline: float | None = None
        self.attempts: tuple[Attempt, ...] = ()
        """The attempts so far, those before a redirect included."""

    def deadline(self, proposed: float) -> float:
        """Return the deadline of the call.

        The first request of the call sets it to `proposed`, or to `limit` if that is earlier.
        """
        if self._deadline is None:
            self._deadline = proposed if self.limit is None else min(proposed, self.limit)
        return self._deadline


class _Link:
    """The innermost scope, and a link to the scopes around it.

    The reference to the scope is weak. If a signal handler raises between `__enter__` and the first line of the block,
    `__exit__` does not run. With a strong reference, all later calls of the session would then share the deadline of a
    finished call.
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
    """Return the session call that uses `adapter`; None: the session is not a `ResilientSession`."""
    scope = _innermost()
    if scope is not None:
        for mounted in scope.owner.adapters.values():
            if mounted is adapter:
                return scope
    return None


def session_call(owner: Session) -> Entered:
    """Return a context manager that opens a scope for a call of the session `owner`, or joins its open scope."""
    innermost = _innermost()
    outer = _of(owner, innermost)
    if outer is None:
        return Entered(Scope(owner, None, innermost))
    return Entered(Scope(owner, outer.limit, innermost) if outer.spans_calls else outer)


def several_calls(owner: Session, limit: float) -> Entered:
    """Return a context manager: calls of `owner` in its block must end by `limit`, a time on the clock of `owner`."""
    innermost = _innermost()
    outer = _of(owner, innermost)
    if outer is not None and outer.limit is not None:
        limit = min(limit, outer.limit)
    return Entered(Scope(owner, limit, innermost, spans_calls=True))


def _of(owner: Session, scope: Scope | None) -> Scope | None:
    """Return the innermost scope of `owner`, beginning with `scope`; None if there is none.

    Limits that other sessions set are skipped. The search ends at a call of another session.
    """
    while scope is not None and scope.owner is not owner:
        scope = scope.outer if scope.spans_calls else None
    return scope


class Entered:
    """A context manager that activates a scope. It is a class, because each call uses it and a generator is slower."""

    __slots__ = ("_scope", "_token")

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    def __enter__(self) -> Scope:
        self._token = _current.set(_Link(self._scope, _living()))
        return self._scope

    def __exit__(self, *_: object) -> None:
        _current.reset(self._token)
