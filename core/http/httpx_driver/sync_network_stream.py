"""The network stream that httpcore uses in a thread: a socket whose operations end at the deadline of their attempt."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from urllib3.util.ssltransport import SSLTransport

from ..wire import attempt_context, tls_contexts
from ..wire.attempt_context import AttemptContext, Stage
from ..wire.sockets import keep_deadlines
from .library import MOST_OF_HEAD
from .readability import is_readable


class SyncStream:
    """An `httpcore.NetworkStream` on a socket that enforces the deadline of its attempt."""

    def __init__(self, sock: Any, httpcore: Any, socks_replies: int = 0) -> None:
        self._sock = sock
        self._httpcore = httpcore
        self._socks_replies = socks_replies

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        attempt = attempt_context.current()
        if attempt is not None and attempt.stage <= Stage.HEADERS:
            attempt.stage = Stage.HEADERS
            max_bytes = min(max_bytes, MOST_OF_HEAD)
        with mapped(self._httpcore.ReadTimeout, self._httpcore.ReadError):
            self._sock.settimeout(timeout)
            data: bytes = self._sock.recv(max_bytes)
        self._socks_replies -= self._socks_replies > 0
        if attempt is not None:
            attempt.hung_up = not data
        return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        attempt = attempt_context.current()
        self._negotiated(attempt)
        if attempt is not None and attempt.stage < Stage.SEND:
            attempt.stage = Stage.SEND
        with mapped(self._httpcore.WriteTimeout, self._httpcore.WriteError):
            left = memoryview(buffer)
            while left:
                self._sock.settimeout(timeout)
                left = left[self._sock.send(left) :]

    def close(self) -> None:
        self._sock.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> SyncStream:
        attempt = attempt_context.current()
        self._negotiated(attempt)
        if attempt is not None:
            attempt.stage = Stage.TLS
        with mapped(self._httpcore.ConnectTimeout, self._httpcore.ConnectError):
            self._sock.settimeout(timeout)
            if isinstance(self._sock, ssl.SSLSocket):  # TLS inside the TLS connection to a proxy
                stream = SyncStream(SSLTransport(self._sock, ssl_context, server_hostname), self._httpcore)
            else:
                stream = SyncStream(_over_tls(self._sock, ssl_context, server_hostname), self._httpcore)
        if attempt is not None:
            attempt.stage = Stage.SEND
        return stream

    def _negotiated(self, attempt: AttemptContext | None) -> None:
        if attempt is not None and attempt.negotiation is self and not self._socks_replies:
            attempt.negotiation = None

    def get_extra_info(self, info: str) -> Any:
        if info == "ssl_object":
            return self._sock if isinstance(self._sock, ssl.SSLSocket | SSLTransport) else None
        if info == "client_addr":
            return self._sock.getsockname()
        if info == "server_addr":
            return self._sock.getpeername()
        if info == "socket":
            return self._sock
        if info == "is_readable":
            return is_readable(self._sock)
        return None


def _over_tls(sock: socket.socket, context: ssl.SSLContext, name: str | None) -> Any:
    """Perform the TLS handshake within the time of the attempt, with any class of context. Returns the TLS socket."""
    wrapped: list[Any] = []

    def shake_hands() -> None:
        tls = context.wrap_socket(sock, server_hostname=name, do_handshake_on_connect=False)
        wrapped.append(keep_deadlines(tls))
        wrapped[0].do_handshake()

    try:
        tls_contexts.in_turn(context, shake_hands)
    except BaseException:
        sock.close()
        for tls in wrapped:
            tls.close()
        raise
    return wrapped[0]


@contextmanager
def mapped(timed_out: Any, failed: Any) -> Iterator[None]:
    """Raise `timed_out` for a `TimeoutError`, and `failed` for other errors of the socket."""
    try:
        yield
    except TimeoutError as exc:
        raise timed_out(str(exc)) from exc
    except OSError as exc:
        raise failed(str(exc)) from exc
