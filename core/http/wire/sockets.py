"""Sockets, plain and TLS, of which every operation ends with the attempt that it works for."""

from __future__ import annotations

import socket
import ssl
from typing import Any

from . import compat
from .attempt_context import AttemptContext, current

_SLACK = 0.005
"""Seconds that an operation may last too long, to save a system call for each: most calls are over by then."""


class _Timed(socket.socket):
    """What plain and TLS sockets share: before each operation the timeout becomes what is left of the attempt."""

    _limit: float | None = None
    """What urllib3 asked for, for each operation."""

    _set: float | None = None
    """What the socket has for a timeout now."""

    def settimeout(self, value: float | None) -> None:
        self._limit = self._set = value
        socket.socket.settimeout(self, value)

    def arm(self) -> AttemptContext | None:
        """Set the timeout for the next operation. Raises `TimeoutError` where the attempt has no time left."""
        attempt = current()
        limit = self._limit
        if attempt is not None:
            left = attempt.left()
            limit = left if limit is None else min(left, limit)
            if self._set is not None and limit <= self._set <= limit + _SLACK:
                return attempt
        self._set = limit
        socket.socket.settimeout(self, limit)
        return attempt


class DeadlineSocket(_Timed, socket.socket):
    """A TCP socket whose every operation ends with the attempt that it works for."""

    def recv_into(self, *args: Any, **kwargs: Any) -> int:
        attempt = self.arm()
        count = super().recv_into(*args, **kwargs)
        if attempt is not None:
            attempt.received += count
        return count

    def recv(self, *args: Any) -> bytes:
        self.arm()
        return super().recv(*args)

    def send(self, *args: Any) -> int:
        self.arm()
        return super().send(*args)

    def sendall(self, *args: Any) -> None:
        self.arm()
        super().sendall(*args)


class DeadlineSSLSocket(_Timed, ssl.SSLSocket):
    """The same over TLS: `SSLSocket.recv_into` reads, and `sendall` sends, through these."""

    def do_handshake(self, block: bool = False) -> None:
        self.arm()
        try:
            super().do_handshake(block)
        except BaseException:
            self.close()  # ssl does so for OSError only
            raise

    def recv(self, *args: Any) -> bytes:
        try:
            return super().recv(*args)
        except OSError:
            # Before the handshake, ssl looks whether the server has hung up already; and then forgets this socket.
            if compat.has_no_session(self):
                self.close()
            raise

    def read(self, *args: Any) -> Any:
        attempt = self.arm()
        got: Any = super().read(*args)  # bytes, or their number where a buffer was given
        if attempt is not None:
            attempt.received += got if isinstance(got, int) else len(got)
        return got

    def send(self, *args: Any) -> int:
        self.arm()
        return super().send(*args)
