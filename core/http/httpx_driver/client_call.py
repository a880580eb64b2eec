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

    __slots__ = ("_transports", "attempts", "deadline", "stream")

    def __init__(self, transports: Sequence[object], *, stream: bool) -> None:
        self._transports = transports
        self.stream = stream
        self.deadline: float | None = None
        """On the clock of the first hop's upstream, which sets it."""
        self.attempts: tuple[Attempt, ...] = ()
        """Of all hops so far."""

    def uses(self, transport: object) -> bool:
        """Say whether the client sends through `transport`; a hook of it may send by another client meanwhile."""
        return any(transport is mounted for mounted in self._transports)


_current: ContextVar[ClientCall | None] = ContextVar("core.http.client_call", default=None)


def current() -> ClientCall | None:
    """Return the call that is made in this thread or task."""
    return _current.get()


@contextmanager
def entered(transports: Sequence[object], *, stream: bool) -> Iterator[ClientCall]:
    """Inside of this, `transports`, those of a client, find a new call of it."""
    call = ClientCall(transports, stream=stream)
    token = _current.set(call)
    try:
        yield call
    finally:
        _current.reset(token)
