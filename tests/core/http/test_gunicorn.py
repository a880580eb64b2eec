"""gunicorn forks its workers from a process that may have made calls already."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections import defaultdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import requests

APPLICATION = """
import os
from core.http import ResilientSession

session = ResilientSession()
session.get(os.environ["UPSTREAM"], headers={"X-Pid": str(os.getpid())})  # the parent's connection, kept warm


def application(environ, start_response):
    pid = str(os.getpid())
    answers = {session.get(os.environ["UPSTREAM"], headers={"X-Pid": pid}).text for _ in range(20)}
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [("ok" if answers == {pid} else f"{pid} got {answers}").encode()]
"""


class Upstream(ThreadingHTTPServer):
    """Answers with the process id that the request names, and notes which connections a process uses."""

    daemon_threads = True
    pids: defaultdict[Any, set[str]]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Upstream

    def do_GET(self) -> None:
        pid = self.headers["X-Pid"]
        self.server.pids[self.client_address].add(pid)
        self.send_response(200)
        self.send_header("Content-Length", str(len(pid)))
        self.end_headers()
        self.wfile.write(pid.encode())

    def log_message(self, *args: Any) -> None:
        pass


def test_no_connection_is_shared_between_workers(tmp_path: Path) -> None:
    """Each worker of a preloaded application has connections of its own, and gets its own answers."""
    (tmp_path / "application.py").write_text(APPLICATION)
    with Upstream(("127.0.0.1", 0), Handler) as upstream:
        upstream.pids = defaultdict(set)
        threading.Thread(target=upstream.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        gunicorn = subprocess.Popen(
            [sys.executable, "-m", "gunicorn", "--preload", "--workers=3", "--bind=127.0.0.1:0", "application"],
            stderr=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
            env={
                **os.environ,
                "PYTHONPATH": str(Path(__file__).parents[3]),
                "UPSTREAM": f"http://127.0.0.1:{upstream.server_address[1]}/",
            },
        )
        try:
            assert gunicorn.stderr is not None
            address = next(found[1] for line in gunicorn.stderr if (found := re.search(r"Listening at: (\S+)", line)))
            threads = [
                threading.Thread(target=lambda: answers.append(requests.get(address, timeout=30).text))
                for _ in range(12)
            ]
            answers: list[str] = []
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        finally:
            gunicorn.send_signal(signal.SIGTERM)
            gunicorn.communicate(timeout=30)
            upstream.shutdown()
    assert answers == 12 * ["ok"]
    assert [pids for pids in upstream.pids.values() if len(pids) > 1] == []
    assert len(set.union(*upstream.pids.values())) > 1
