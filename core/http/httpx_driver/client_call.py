"""The state that all requests of one `Client.send` share: the first request, its redirects and its authentication.

The state is the total deadline, the attempts, and whether the caller reads the body. A transport receives each request
separately, without information about the others or about streaming. So the clients store the state here, in a context
variable. (An extension of the request would outlive the call: the same request, or its ``next_request``, may be sent
again later.)
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
        """The attempts so far, those before a redirect included."""

    def deadline(self, proposed: float) -> float:
        """Return the deadline of the call.

        The first request of the call sets it to `proposed`, or to the limit if that is earlier.
        """
        if self._deadline is None:
            self._deadline = proposed if self._limit is None else min(proposed, self._limit)
        return self._deadline

    def uses(self, transport: object) -> bool:
        """Return whether the client of this call uses `transport`: a hook of the client may use another client."""
        return any(transport is mounted for mounted in self._transports)


_current: ContextVar[ClientCall | None] = ContextVar("core.http.client_call", default=None)


def current() -> ClientCall | None:
    """Return the call that is running in this thread or task; None outside of calls."""
    return _current.get()


@contextmanager
def entered(transports: Sequence[object], *, stream: bool, limit: float | None) -> Iterator[ClientCall]:
    """Return a context manager: in its block, the `transports` of a client find a new call that ends by `limit`."""
    call = ClientCall(transports, stream=stream, limit=limit)
    token = _current.set(call)
    try:
        yield call
    finally:
        _current.reset(token)
