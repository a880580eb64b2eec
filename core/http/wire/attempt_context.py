"""One attempt on the wire: when it has to end, and how far it got.

`timeout=` in requests and urllib3 bounds each operation on a socket, so a server that sends a byte now and then holds a
call for ever. Here each operation gets the time that is left of its attempt, and no more. The `AttemptContext` is found
through a context variable: so it reaches every socket that works for the attempt, whichever layer of urllib3 made it,
and no longer bounds those that are handed to the caller (``stream=True``).
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
    """How far an attempt got."""

    NONE = 0
    """It never touched a socket of ours: a mock answered, or the request could not even be begun."""
    DNS = 1
    CONNECT = 2
    TLS = 3
    SEND = 4
    HEADERS = 5
    BODY = 6


class AttemptContext:
    """Holds for what runs inside its ``with`` block."""

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
        """Make one.

        :param configured: an upstream names the host.
        :param untrusted: only public addresses may be reached.
        :param fresh: on a new connection.
        """
        self.ends = time.monotonic() + seconds
        self.configured = configured
        self.untrusted = untrusted
        self.fresh = fresh
        self.connected = False
        """It made, or tried to make, a connection."""
        self.hung_up = False
        """The server has closed the connection. (Noted by the httpx driver only.)"""
        self.negotiation: Any = None
        """The stream on which a SOCKS proxy is still to be told where it leads to. (Of the httpx driver only.)"""
        self.expire: Callable[[], object] | None = None
        """Ends the attempt as its deadline does. (Of the httpx driver in event loops only, as is `read_limit`.)"""
        self.read_limit: float | None = None
        """Seconds that one read may take; None: all that are left of the attempt."""
        self.stage = Stage.NONE
        self.received = 0
        """Bytes, as they came over the wire (or out of TLS)."""
        self._token: Token[ref[AttemptContext] | None] | None = None

    @property
    def got_nothing(self) -> bool:
        """Its request went out on a connection that had been used before, and not one byte came back."""
        return self.stage >= Stage.SEND and not (self.connected or self.received)

    def left(self) -> float:
        """Seconds until the end. Raises `TimeoutError` where none are left."""
        seconds = self.ends - time.monotonic()
        if seconds <= 0:
            raise TimeoutError("the attempt has used up its time")
        return seconds

    def __enter__(self) -> Self:
        self._token = _current.set(ref(self))
        return self

    def __exit__(self, *_: object) -> None:
        if self._token is not None:
            _current.reset(self._token)


_current: ContextVar[ref[AttemptContext] | None] = ContextVar("core.http.attempt", default=None)
"""Weak: an exception of a signal handler between the beginning of a block and its first line would leave it here."""


def current() -> AttemptContext | None:
    """Return the attempt that the caller works for."""
    found = _current.get()
    return None if found is None else found()
