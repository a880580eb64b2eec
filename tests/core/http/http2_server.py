"""A local server that speaks HTTP/2 over TLS, and answers by path."""

from __future__ import annotations

import ssl
import threading
from contextlib import suppress
from types import TracebackType
from typing import Self

from h2 import events
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.exceptions import ProtocolError

from tests.core.http.misbehave import MisbehavingServer, server_context


class HTTP2Server:
    """Answers each path with its name: "/hang…" never, "/later…" once `release` is set, all others at once."""

    def __init__(self) -> None:
        self.connections = 0
        self.asked: list[str] = []
        self.release = threading.Event()
        context = server_context()
        context.set_alpn_protocols(["h2"])
        self._server = _Server(context=context)
        self._server.talk = self._talk
        self.url = self._server.url

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.release.set()
        self._server.__exit__(kind, error, tb)

    def _talk(self, connection: ssl.SSLSocket) -> None:
        self.connections += 1
        connection.settimeout(0.02)
        http2 = H2Connection(H2Configuration(client_side=False))
        http2.initiate_connection()
        waiting: dict[int, str] = {}
        while True:
            with suppress(ssl.SSLError):
                connection.sendall(http2.data_to_send())
            received = b""
            with suppress(TimeoutError):
                received = connection.recv(65536)
                if not received:
                    return
            try:
                arrived = http2.receive_data(received) if received else []
            except ProtocolError:  # it is HTTP/1.1
                return
            for event in arrived:
                if isinstance(event, events.RequestReceived):
                    path = dict(event.headers)[b":path"].decode()
                    self.asked.append(path)
                    waiting[event.stream_id] = path
            for stream, path in list(waiting.items()):
                if path.startswith("/hang") or (path.startswith("/later") and not self.release.is_set()):
                    continue
                del waiting[stream]
                http2.send_headers(stream, [(":status", "200")])
                http2.send_data(stream, path.encode(), end_stream=True)


class _Server(MisbehavingServer):
    talk: object = None

    def _converse(self, connection: ssl.SSLSocket) -> None:  # type: ignore[override]  # it always is one here
        self.talk(connection)  # type: ignore[operator]  # set above
