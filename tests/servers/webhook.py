"""A receiver of alerts, as Alertmanager calls it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Webhook(ThreadingHTTPServer):
    """Keeps each alert of each message, in the order they came."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self._changed = threading.Condition()
        self._alerts: list[dict[str, Any]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/"

    @property
    def alerts(self) -> list[dict[str, Any]]:
        with self._changed:
            return self._alerts.copy()

    def keep(self, alerts: list[dict[str, Any]]) -> None:
        with self._changed:
            self._alerts += alerts
            self._changed.notify_all()

    def wait_for(self, name: str, status: str, seconds: float, **labels: str) -> dict[str, Any]:
        """Return the first alert of that name with these labels that is `firing` or `resolved`; wait for it."""
        wanted = {"alertname": name, **labels}

        def found() -> dict[str, Any] | None:
            fitting = (alert for alert in self._alerts if alert["status"] == status)
            return next((alert for alert in fitting if wanted.items() <= alert["labels"].items()), None)

        with self._changed:
            alert = self._changed.wait_for(found, seconds)
            assert alert is not None, f"{wanted} not {status} within {seconds:g} s, but: {self._alerts}"
            return alert


class _Handler(BaseHTTPRequestHandler):
    server: Webhook

    def do_POST(self) -> None:
        message = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.keep(message["alerts"])
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def receiving() -> Iterator[Webhook]:
    """Receive alerts in a thread."""
    with Webhook() as webhook:
        thread = threading.Thread(target=webhook.serve_forever, kwargs={"poll_interval": 0.05}, name="webhook")
        thread.start()
        try:
            yield webhook
        finally:
            webhook.shutdown()
            thread.join()
