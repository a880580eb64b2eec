"""A server on a port of its own that answers JSON, and that a test breaks and mends."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class BreakableServer:
    """Serves `answers`, by path without the query; 404 for all others."""

    def __init__(self, answers: dict[str, Any]) -> None:
        self.answers = answers
        self.requests: list[str] = []
        """Path and query of each request that arrived."""
        self.status = 200
        """Every answer has this status instead, if it is an error."""
        self._answering = threading.Event()
        self._answering.set()
        self._server: ThreadingHTTPServer | None = None
        # Bound, and never listening: the port stays this server's while connections to it are refused.
        self._port = socket.socket()
        self._port.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._port.bind(("127.0.0.1", 0))

    @property
    def url(self) -> str:
        host, port = self._port.getsockname()
        return f"http://{host}:{port}"

    def hang(self) -> None:
        """Accept requests, and answer none until `mend`."""
        self._answering.clear()

    def refuse(self) -> None:
        """Refuse connections until `mend`."""
        self._answering.set()
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def mend(self) -> None:
        """Answer all requests, those that hang included."""
        self.status = 200
        self._answering.set()
        if self._server is None:
            self._server = _Server(self._port.getsockname(), self._handler())
            threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        self.refuse()
        self._port.close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):  # of HTTP/1.0: each answer ends its connection
            def do_GET(self) -> None:
                server.requests.append(self.path)
                server._answering.wait()
                answer = server.answers.get(self.path.partition("?")[0])
                self.send_response(server.status if server.status != 200 else 404 if answer is None else 200)
                self.send_header("Content-Type", "application/json")
                self.end_headers()
                self.wfile.write(json.dumps(answer).encode())

            def log_message(self, *_: object) -> None:
                pass

        return Handler


class _Server(ThreadingHTTPServer):
    block_on_close = False

    def handle_error(self, *_: object) -> None:
        """Say nothing: the client may have hung up."""


@contextmanager
def breakable(answers: dict[str, Any]) -> Iterator[BreakableServer]:
    server = BreakableServer(answers)
    server.mend()
    try:
        yield server
    finally:
        server.close()
