"""A simulated PyPI on the loopback interface: generated projects, and faults on demand."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


def project(name: str, **info: Any) -> dict[str, Any]:
    """Return the JSON of a project in good order; `info` replaces parts of its info."""
    return {
        "info": {
            "name": name,
            "version": "2.1",
            "classifiers": [
                "Development Status :: 5 - Production/Stable",
                "Framework :: Django",
                "License :: OSI Approved :: MIT License",
                "Programming Language :: Python :: 3",
            ],
            "license": None,
            "license_expression": "MIT",
            "requires_python": ">=3.10",
            "project_urls": {"Documentation": f"https://{name}.example/docs/"},
            "docs_url": None,
            "description": "# Long text",
            "yanked": False,
            **info,
        },
        "releases": {
            "2.0": [{"upload_time_iso_8601": "2025-01-01T12:00:00.000000Z", "yanked": False}],
            "2.1": [
                {"upload_time_iso_8601": "2026-01-01T12:00:05.000000Z", "yanked": False},
                {"upload_time_iso_8601": "2026-01-01T12:00:00.000000Z", "yanked": False},
            ],
        },
        "urls": [],
    }


class FakePyPI(ThreadingHTTPServer):
    """Knows every project but those whose name begins with "missing". `fault`: answer every call with this status."""

    daemon_threads = True
    fault: int | None = None

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.requested: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FakePyPI

    def do_GET(self) -> None:
        self.server.requested.append(self.path)
        kind, name = self.path.strip("/").split("/")[:2]
        if self.server.fault:
            self._answer(self.server.fault, b"out of order")
        elif name.startswith("missing"):
            self._answer(404, b'{"message": "Not Found"}')
        elif kind == "pypi":
            self._answer(200, json.dumps(project(name)).encode())
        else:
            self._answer(200, b"<h1>a project</h1>")

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        pass


@contextmanager
def serving() -> Iterator[FakePyPI]:
    with FakePyPI() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
