"""The state that all hops of one `Client.send` share: total deadline, attempts, and whether the caller reads the body.

A transport receives each hop of a redirect or an authentication separately, without information about the other hops or
about streaming. So the clients store it here, in a context variable. (Not in an extension of the request, which
outlives the call: the same request, or its ``next_request``, may be sent again later.)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

from ..outcome import Attempt


class ClientCall:
    """One `send` of a resilient client."""

    __slots__ = ("_deadline", "_limit", "_transports", "attempts", "stream")

    def __init__(self, transports: Sequence[object], *, stream: bool, limit: float | None) -> None:
        self._transports = transports
        self._limit = limit
        self._deadline: float | None = None
        self.stream = stream
        self.attempts: tuple[Attempt, ...] = ()
        """The attempts of all hops so far."""

    def deadline(self, proposed: float) -> float:
        """Return the deadline of the call. The first hop sets it, to `proposed` or the limit, whichever is earlier."""
        if self._deadline is None:
            self._deadline = proposed if self._limit is None else min(proposed, self._limit)
        return self._deadline

    def uses(self, transport: object) -> bool:
        """Return whether the client sends through `transport`; one of its hooks may use another client meanwhile."""
        return any(transport is mounted for mounted in self._transports)


_current: ContextVar[ClientCall | None] = ContextVar("core.http.client_call", default=None)


def current() -> ClientCall | None:
    """Return the call that is running in this thread or task; None outside of calls."""
    return _current.get()


@contextmanager
def entered(transports: Sequence[object], *, stream: bool, limit: float | None) -> Iterator[ClientCall]:
    """Return a context manager inside which `transports`, those of a client, find a new call that ends by `limit`."""
    call = ClientCall(transports, stream=stream, limit=limit)
    token = _current.set(call)
    try:
        yield call
    finally:
        _current.reset(token)
