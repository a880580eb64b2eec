"""gunicorn forks its workers from a process that may have made calls already."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.request import Request

import pytest
import requests

from tests.servers.common import DIRECT, LONGEST, free_port
from tests.servers.program import Program
from tests.servers.site import database
from tests.servers.web import TOKEN, Visitor, measured_site
from tests.upstreams.server import serving
from tests.upstreams.world import World

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]

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
                "PYTHONPATH": str(ROOT),
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


PATCHED_LATE = """
import requests
from core.http import Policy, ResilientSession

session = ResilientSession(Policy(retries=0))


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    try:
        return [session.get("http://127.0.0.1:9/").content]
    except requests.RequestException as exc:
        return [str(exc).encode()]
"""


def test_preloaded_under_gevent_without_a_patch_is_refused(tmp_path: Path) -> None:
    """With --preload, the application is imported before the workers patch; the error says what to do."""
    (tmp_path / "application.py").write_text(PATCHED_LATE)
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{tmp_path}"}
    port = free_port()
    command = ["-m", "gunicorn", "--preload", "--worker-class=gevent", f"--bind=127.0.0.1:{port}", "application"]
    with Program(command, environment, tmp_path / "gunicorn.log") as program:
        program.wait_for_answer(f"http://127.0.0.1:{port}/", 60)
        with DIRECT.open(f"http://127.0.0.1:{port}/", timeout=60) as answer:
            assert b"of gunicorn's configuration file with --preload" in answer.read()


@pytest.mark.parametrize("preload", [False, True], ids=["", "preload"])
def test_the_site_under_gevent(preload: bool, tmp_path: Path, django_db_blocker: Any) -> None:
    """Greenlets serve pages, refresh packages by calls to all their sources, and answer a scrape that counts those."""
    port = free_port()
    configuration = tmp_path / "gunicorn.conf.py"
    patch = "from gevent import monkey\nmonkey.patch_all()\n" * preload
    configuration.write_text(f"{patch}control_socket_disable = True\n")  # which older releases do not have, and ignore
    options = ["--worker-class=gevent", "--workers=2", f"--bind=127.0.0.1:{port}"]
    command = ["-m", "gunicorn", "config.wsgi", *options, "--config", str(configuration), *["--preload"] * preload]
    with (
        serving(World(3)) as upstreams,
        django_db_blocker.unblock(),
        database(f"sqlite:///{tmp_path / 'site.sqlite3'}"),
    ):
        site = measured_site(upstreams, tmp_path)
        with Program(command, site.environment, site.log("gunicorn")) as program:
            program.wait_for_answer(f"http://127.0.0.1:{port}/healthz", LONGEST)
            visitor = Visitor(port)
            with ThreadPoolExecutor(3) as pool:
                fetched = set(pool.map(visitor.fetch, [package.slug for package in upstreams.world.packages]))
            with DIRECT.open(f"http://127.0.0.1:{port}/", timeout=LONGEST) as page:
                assert page.status == 200
            scrape = Request(f"http://127.0.0.1:{port}/metrics", headers={"Authorization": f"Bearer {TOKEN}"})
            with DIRECT.open(scrape, timeout=LONGEST) as answer:
                samples = answer.read().decode()
        sent = sum(len(upstream.requests) for upstream in upstreams.all)
    assert fetched == {302}
    counted = re.findall(r"^outbound_http_attempts_total\{.*\} (\S+)$", samples, re.MULTILINE)
    assert sum(map(float, counted)) == sent > 6
