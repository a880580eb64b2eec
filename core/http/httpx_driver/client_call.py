"""What the hops of one `Client.send` share: the total deadline, their attempts, and whether the caller reads the body.

A transport is handed each hop of a redirect and of an authentication by itself, and nothing says which belong together
or whether the client was asked to stream. So a client of ours says it here. (A context variable and no extension of the
request, which outlives the call: the same request, or its ``next_request``, may be sent again later.)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

from ..outcome import Attempt


class ClientCall:
    """One `send` of a client of ours."""

    __slots__ = ("_deadline", "_limit", "_transports", "attempts", "stream")

    def __init__(self, transports: Sequence[object], *, stream: bool, limit: float | None) -> None:
        self._transports = transports
        self._limit = limit
        self._deadline: float | None = None
        self.stream = stream
        self.attempts: tuple[Attempt, ...] = ()
        """Of all hops so far."""

    def deadline(self, proposed: float) -> float:
        """Return the deadline that the first hop set; it sets `proposed`, or the limit if that comes before."""
        if self._deadline is None:
            self._deadline = proposed if self._limit is None else min(proposed, self._limit)
        return self._deadline

    def uses(self, transport: object) -> bool:
        """Say whether the client sends through `transport`; a hook of it may send by another client meanwhile."""
        return any(transport is mounted for mounted in self._transports)


_current: ContextVar[ClientCall | None] = ContextVar("core.http.client_call", default=None)


def current() -> ClientCall | None:
    """Return the call that is made in this thread or task."""
    return _current.get()


@contextmanager
def entered(transports: Sequence[object], *, stream: bool, limit: float | None) -> Iterator[ClientCall]:
    """Inside of this, `transports`, those of a client, find a new call of it. It ends by `limit`, if any."""
    call = ClientCall(transports, stream=stream, limit=limit)
    token = _current.set(call)
    try:
        yield call
    finally:
        _current.reset(token)
