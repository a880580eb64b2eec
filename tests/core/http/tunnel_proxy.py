"""A proxy that makes tunnels, plain or over TLS."""

from __future__ import annotations

import select
import socket
import ssl
from contextlib import suppress
from typing import Any

from tests.core.http.misbehave import MisbehavingServer


class TunnelProxy(MisbehavingServer):
    """Answers CONNECT, and passes on all that follows; every other request gets an answer of its script."""

    def _answer(self, connection: Any, answer: Any) -> bool:
        request = self.requests[-1] if self.requests else b""
        if not request.startswith(b"CONNECT "):
            return super()._answer(connection, answer)
        host, _, port = request.split(b" ")[1].decode().rpartition(":")
        with suppress(OSError), socket.create_connection((host, int(port))) as server:
            connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            _relay(connection, server)
        return False


def _relay(one: Any, other: socket.socket) -> None:
    while True:
        for ready in select.select([one, other], [], [])[0]:
            try:
                data = ready.recv(65_536)
            except ssl.SSLWantReadError:
                continue
            if not data:
                return
            (other if ready is one else one).sendall(data)
