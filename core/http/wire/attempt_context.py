"""One attempt on the network: its deadline, and the stage that it has reached.

`timeout=` in requests and urllib3 limits each socket operation, so a server that sends a byte from time to time can
hold a call forever. Here the timeout of each operation is the time left for the attempt. Sockets find the
`AttemptContext` in a context variable. So the deadline applies to every socket that the attempt uses, whichever layer
of urllib3 created it, and no longer applies after the response was returned to the caller (``stream=True``).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextvars import ContextVar, Token
from enum import IntEnum
from typing import TYPE_CHECKING, Any
from weakref import ref

if TYPE_CHECKING:
    from typing import Self


class Stage(IntEnum):
    """The stage that an attempt has reached."""

    NONE = 0
    """No deadline socket was used: a mock responded, or an error came before the DNS lookup."""
    DNS = 1
    CONNECT = 2
    TLS = 3
    SEND = 4
    HEADERS = 5
    BODY = 6


class AttemptContext:
    """The state of one attempt. It applies to all socket operations inside its ``with`` block."""

    __slots__ = (
        "__weakref__",
        "_token",
        "configured",
        "connected",
        "ends",
        "expire",
        "fresh",
        "hung_up",
        "negotiation",
        "read_limit",
        "received",
        "stage",
        "untrusted",
    )

    def __init__(
        self, seconds: float, *, configured: bool = True, untrusted: bool = False, fresh: bool = False
    ) -> None:
        """Start the attempt's clock.

        :param seconds: time for the whole attempt.
        :param configured: whether the host belongs to a configured upstream.
        :param untrusted: whether only public addresses may be reached.
        :param fresh: whether to use a new connection.
        """
        self.ends = time.monotonic() + seconds
        self.configured = configured
        self.untrusted = untrusted
        self.fresh = fresh
        self.connected = False
        """Whether the attempt opened, or tried to open, a connection."""
        self.hung_up = False
        """Whether the server has closed the connection. (Only the httpx driver sets it.)"""
        self.negotiation: Any = None
        """The stream to a SOCKS proxy whose negotiation is not complete. (Only in the httpx driver.)"""
        self.expire: Callable[[], object] | None = None
        """A function that ends the attempt as its deadline does. (Only in the httpx driver for event loops.)"""
        self.read_limit: float | None = None
        """Maximum seconds of one read; None: the remaining time of the attempt. (Only in the httpx driver for event
        loops.)"""
        self.stage = Stage.NONE
        self.received = 0
        """Number of bytes received from the socket (with TLS: after decryption)."""
        self._token: Token[ref[AttemptContext] | None] | None = None

    @property
    def got_nothing(self) -> bool:
        """Whether the request was sent on a reused connection and no byte was received."""
        return self.stage >= Stage.SEND and not (self.connected or self.received)

    def left(self) -> float:
        """Return the seconds until the deadline. Raises `TimeoutError` if it has passed."""
        seconds = self.ends - time.monotonic()
        if seconds <= 0:
            raise TimeoutError("the time of the attempt has run out")
        return seconds

    def __enter__(self) -> Self:
        self._token = _current.set(ref(self))
        return self

    def __exit__(self, *_: object) -> None:
        if self._token is not None:
            _current.reset(self._token)


_current: ContextVar[ref[AttemptContext] | None] = ContextVar("core.http.attempt", default=None)
"""The reference is weak, because an exception from a signal handler during `__enter__` would leave the variable set."""


def current() -> AttemptContext | None:
    """Return the attempt that is running in this thread or task; None outside of attempts."""
    found = _current.get()
    return None if found is None else found()
