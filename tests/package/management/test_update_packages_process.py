"""update_packages in a process of its own: output, exit status, signals and the terminal."""

from __future__ import annotations

import json
import os
import pty
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from pytest_httpserver import HTTPServer

from package.models import Category, Package
from tests.servers.site import database as site_database
from tests.servers.site import make_tables
from tests.upstreams.pypi import FakePyPI, serving

ROOT = Path(__file__).resolve().parents[3]


class Process:
    """`manage.py` in a separate process with its own database; all servers are on the loopback interface."""

    def __init__(self, database: Path, pypi: FakePyPI, statistics: str) -> None:
        self.database, self.pypi = database, pypi
        self.env = {
            **{name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")},
            "COLUMNS": "100",
            "DATABASE_URL": f"sqlite:///{database}",
            "DEBUG": "true",
            "DJANGO_SETTINGS_MODULE": "config.settings",
            "LOG_LEVEL": "INFO",
            "PYPI_URL": pypi.url,
            "PYPISTATS_URL": statistics,
            "TERM": "xterm",
        }

    def start(self, *args: str, **kwargs: Any) -> subprocess.Popen[str]:
        command = [sys.executable, "manage.py", "update_packages", "--workers=1", *args]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen(command, cwd=ROOT, env=self.env, text=True, **{**pipes, **kwargs})

    def run(self, *args: str) -> tuple[int, str, str]:
        """Return exit status, stdout and stderr."""
        with self.start(*args) as process:
            out, err = process.communicate(timeout=60)
        return process.returncode, out, err

    def refreshed(self) -> list[str]:
        with closing(sqlite3.connect(self.database)) as connection:
            return [row[0] for row in connection.execute("SELECT slug FROM package_package WHERE pypi_license = 'MIT'")]

    def claims(self) -> int:
        with closing(sqlite3.connect(self.database)) as connection:
            return int(connection.execute("SELECT count(*) FROM package_claim").fetchone()[0])


@pytest.fixture(scope="session")
def filled_database(tmp_path_factory: pytest.TempPathFactory, django_db_blocker: Any) -> Path:
    """Make a database with three packages."""
    path = tmp_path_factory.mktemp("database") / "db.sqlite3"
    with django_db_blocker.unblock(), site_database(f"sqlite:///{path}"):
        make_tables()
        category = Category.objects.using("site").create(title="App", slug="app")
        for slug in ("first", "second", "third"):
            Package.objects.using("site").create(title=slug, slug=slug, category=category, pypi_url=slug)
    return path


@pytest.fixture
def process(filled_database: Path, tmp_path: Path, httpserver: HTTPServer) -> Iterator[Process]:
    httpserver.expect_request(re.compile("/api/packages/")).respond_with_json({"data": {"last_month": 7}})
    with serving() as pypi:
        yield Process(Path(shutil.copy(filled_database, tmp_path)), pypi, httpserver.url_for("").rstrip("/"))


class AtRequest(list[str]):
    """A list of requests that calls `action` at the n-th one, before the answer."""

    def __init__(self, position: int, action: Callable[[], object]) -> None:
        super().__init__()
        self._position, self._action = position, action

    def append(self, path: str) -> None:
        super().append(path)
        if len(self) == self._position:
            self._action()


class TestProcess:
    """The command in a real process."""

    def test_json_is_the_whole_of_stdout(self, process: Process) -> None:
        """With --json, stdout has nothing but the JSON."""
        status, out, err = process.run("--json")
        assert status == 0
        assert json.loads(out)["sources"]["pypi"]["updated"] == 3
        assert "[3/3] third: pypi updated, pypistats updated" in err
        assert process.refreshed() == ["first", "second", "third"]

    def test_misuse(self, process: Process) -> None:
        """An unknown package gives exit status 2 and a message without a traceback."""
        status, out, err = process.run("first", "nonesuch")
        assert (status, out) == (2, "")
        assert "nonesuch" in err
        assert "Traceback" not in err
        assert process.pypi.requested == []

    @pytest.mark.parametrize(("number", "expected"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
    def test_a_signal_of_another_process(self, process: Process, number: signal.Signals, expected: int) -> None:
        """On Ctrl-C, or the SIGTERM of a service manager, the current attempt is saved, then the run ends."""
        started: list[subprocess.Popen[str]] = []
        process.pypi.requested = AtRequest(2, lambda: started[0].send_signal(number))
        with process.start() as running:
            started.append(running)
            out, err = running.communicate(timeout=60)
        assert running.returncode == expected
        assert process.refreshed() == ["first", "second"]
        assert f"2 packages left for the next run: {number.name} received" in out
        assert "Traceback" not in err

    def test_a_signal_to_many_threads(self, process: Process) -> None:
        """The current attempts of all threads are saved; the run ends with the slowest, and no claim stays."""
        asked, go = threading.Event(), threading.Event()
        process.pypi.requested = AtRequest(3, lambda: asked.set() or go.wait(60))
        with process.start("--workers=8") as running:
            assert asked.wait(60)
            running.send_signal(signal.SIGINT)
            assert "Repeat the signal to abort" in read_until(running.stderr, "Repeat the signal to abort")
            go.set()
            running.communicate(timeout=60)
        assert running.returncode == 130
        assert process.refreshed() == ["first", "second", "third"]
        assert process.claims() == 0

    def test_the_second_signal_to_many_threads(self, process: Process) -> None:
        """The process does not wait for its threads, and their claims are free at once."""
        asked, go = threading.Event(), threading.Event()
        process.pypi.requested = AtRequest(1, lambda: asked.set() or go.wait(60))
        try:
            with process.start("--workers=8") as running:
                assert asked.wait(60)
                running.send_signal(signal.SIGINT)
                read_until(running.stderr, "Repeat the signal to abort")
                running.send_signal(signal.SIGINT)
                _, err = running.communicate(timeout=30)
        finally:
            go.set()
        assert running.returncode == 130
        assert "Aborted" in err
        assert "Traceback" not in err
        assert process.claims() == 0

    def test_a_killed_run_loses_only_the_current_package(self, process: Process) -> None:
        """Results that were stored before SIGKILL stay."""
        started: list[subprocess.Popen[str]] = []
        process.pypi.requested = AtRequest(3, lambda: started[0].send_signal(signal.SIGKILL))
        with process.start() as running:
            started.append(running)
            running.communicate(timeout=60)
        assert running.returncode == -signal.SIGKILL
        assert process.refreshed() == ["first", "second"]

    def test_a_terminal_gets_a_bar(self, process: Process) -> None:
        """On a terminal a bar shows the current package, and the terminal is restored at the end."""
        master, slave = pty.openpty()
        with process.start("--json", stderr=slave) as running:
            os.close(slave)
            shown = read_all(master)
            out, _ = running.communicate(timeout=60)
        assert running.returncode == 0
        assert json.loads(out)["tried"] == 3
        assert "third: pypi updated" in shown
        assert "3/3" in shown
        assert shown.rfind("\x1b[?25h") > shown.rfind("\x1b[?25l") >= 0, "the cursor is hidden, and shown again"
        assert shown.endswith(("\n", "\x1b[?25h"))


def read_until(stream: Any, text: str) -> str:
    """Read what a process writes, line by line, until it has written `text`, or ends."""
    read = ""
    while text not in read and (line := stream.readline()):
        read += line
    return read


def read_all(descriptor: int) -> str:
    """Read what a process writes to its terminal, until it ends."""
    chunks = []
    try:
        while chunk := os.read(descriptor, 65536):
            chunks.append(chunk)
    except OSError:  # raised on Linux when the last process has closed the terminal
        pass
    os.close(descriptor)
    return b"".join(chunks).decode()
