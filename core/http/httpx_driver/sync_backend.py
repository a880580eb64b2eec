"""httpcore's network backend for threads, with sockets whose operations all end at the deadline of their attempt."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from typing import Any

from ..wire import attempt_context, connect
from ..wire.attempt_context import AttemptContext, Stage
from ..wire.sockets import DeadlineSocket
from .sync_network_stream import SyncStream, mapped

_NO_DELAY = (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


class SyncBackend:
    """An `httpcore.NetworkBackend` that enforces the deadline of each attempt."""

    def __init__(self, httpcore: Any, socks_replies: int = 0) -> None:
        """Create the backend.

        :param socks_replies: number of replies of the SOCKS proxy before the connection to the server is ready; 0: no
            proxy.
        """
        self._httpcore = httpcore
        self._socks_replies = socks_replies

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> Any:
        """Resolve `host` and connect to the first address that accepts the connection.

        All addresses share the remaining time of the attempt.
        """
        attempt = attempt_context.current() or AttemptContext(86_400)  # None if other code uses the pool
        attempt.connected = True
        with mapped(self._httpcore.ConnectTimeout, self._httpcore.ConnectError):
            sock = connect.connect(
                attempt,
                host,
                port,
                timeout=timeout,
                source_address=None if local_address is None else (local_address, 0),
                socket_options=(*(socket_options or ()), _NO_DELAY),
            )
        attempt.stage = Stage.SEND
        made = SyncStream(sock, self._httpcore, self._socks_replies)
        attempt.negotiation = made if self._socks_replies else None
        return made

    def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[Any] | None = None
    ) -> Any:
        attempt = attempt_context.current()
        if attempt is not None:
            attempt.connected, attempt.stage = True, Stage.CONNECT
        with mapped(self._httpcore.ConnectTimeout, self._httpcore.ConnectError):
            sock = DeadlineSocket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                for option in socket_options or ():
                    sock.setsockopt(*option)
                sock.settimeout(timeout)
                sock.arm()
                sock.connect(path)
            except BaseException:
                sock.close()
                raise
        return SyncStream(sock, self._httpcore)

    def sleep(self, seconds: float) -> None:
        raise NotImplementedError  # httpcore calls it only for its own retries, which this driver does not enable
