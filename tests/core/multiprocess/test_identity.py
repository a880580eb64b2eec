"""Who a process is to the others: in processes of their own, for what is tested is there once in each."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Self

import pytest

from core.multiprocess import Part
from core.multiprocess.directory import files_of
from core.multiprocess.ended import KEPT
from core.multiprocess.identity import Identity
from tests.core.multiprocess.conftest import Scrape, Write
from tests.servers.program import ROOT

HOST = re.sub("[^A-Za-z0-9.]+", "-", socket.gethostname())
Alive = Callable[[str], None]

PROCESS = """
import os, sys
from core.multiprocess import Part, take_part

part = Part(*sys.argv[1].split(":"))
take_part(part)
from prometheus_client import Counter, Gauge

calls = Counter("calls", "Help.")
active = Gauge("active", "Help.", multiprocess_mode="livesum")
calls.inc()
active.inc()
if "fork" in sys.argv:
    if not os.fork():
        calls.inc(10)
        active.inc(10)
print("ready", os.getpid(), flush=True)
sys.stdin.read()
"""


class Process:
    """One that counts a call, and has one under way, until its standard input is closed."""

    def __init__(self, directory: Path, part: str, *arguments: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", PROCESS, part, *arguments],
            cwd=ROOT,
            env={**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(directory), "DJANGO_SETTINGS_MODULE": ""},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        self.pids = [int(self._process.stdout.readline().split()[1]) for _ in range(1 + ("fork" in arguments))]

    def end(self) -> str:
        """Let it end by itself. Returns what it said on stderr."""
        return self._process.communicate()[1]

    def kill(self) -> None:
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.kill()
        self._process.communicate()  # by which whoever forked off reads the end of its input as well


def identities(directory: Path) -> set[str]:
    return {file.identity for file in files_of(directory)}


def test_of_a_daemon(tmp_path: Path) -> None:
    """Role, host and process id: the process id alone is that of others too, in other containers."""
    with Process(tmp_path, "web") as process:
        assert identities(tmp_path) == {f"web-{HOST}-{process.pids[0]}"}


def test_of_a_command(tmp_path: Path, scrape: Scrape) -> None:
    """The same for each run, so its files are as many after a hundred; they go on counting."""
    for _ in range(3):
        with Process(tmp_path, "job:update_packages") as process:
            process.end()
    assert identities(tmp_path) == {"job-update-packages"}
    assert scrape("calls_total", role="job") == 3.0
    assert scrape("active", role="job") is None


def test_a_second_run_at_the_same_time_has_its_own(tmp_path: Path, scrape: Scrape) -> None:
    """Two that write to one file lose each other's counts."""
    with Process(tmp_path, "job:update_packages"), Process(tmp_path, "job:update_packages") as second:
        assert identities(tmp_path) == {"job-update-packages", f"job-{HOST}-{second.pids[0]}"}
        assert scrape("calls_total", role="job") == 2.0
        assert scrape("active", role="job") == 2.0


def test_two_containers_with_the_same_name_and_process_id(tmp_path: Path, alive: Alive) -> None:
    """Whoever comes second sees that the name is taken."""
    own = f"web-{HOST}-{os.getpid()}"
    alive(own)
    alive(f"{own}-2")
    assert Identity(tmp_path, Part("web"))() == f"{own}-3"


def test_a_process_that_forks_off_has_its_own(tmp_path: Path, scrape: Scrape) -> None:
    """Workers of gunicorn and Celery; the parent's stays with the parent, and is held for as long as that lives."""
    with Process(tmp_path, "job:update_packages", "fork") as process:
        child = max(process.pids)
        assert identities(tmp_path) == {"job-update-packages", f"job-{HOST}-{child}"}
        assert scrape("calls_total", role="job") == 11.0
        assert scrape("active", role="job") == 11.0
        process.kill()
        assert scrape("active", role="job") == 10.0
        assert scrape("calls_total", role="job") == 11.0


def test_one_that_was_killed_has_nothing_under_way(tmp_path: Path, scrape: Scrape) -> None:
    """Nobody had the time to say so; what it has counted stays."""
    with Process(tmp_path, "worker") as process:
        assert scrape("active", role="worker") == 1.0
        process.kill()
        assert scrape("active", role="worker") is None
        assert scrape("calls_total", role="worker") == 1.0


def test_who_takes_up_a_name_begins_with_nothing_under_way(tmp_path: Path, write: Write, scrape: Scrape) -> None:
    """What the one before it was doing ended with that one."""
    write("gauge_livesum", "job-update-packages", {"active": 5.0})
    with Process(tmp_path, "job:update_packages"):
        assert scrape("active", role="job") == 1.0


def test_processes_that_nobody_scrapes_do_not_fill_the_disk(tmp_path: Path) -> None:
    """Each that begins merges what those before it have left."""
    for n in range(KEPT + 1):
        (tmp_path / f"web-a-{n}.lock").touch()
        (tmp_path / f"gauge_livesum_web-a-{n}.db").touch()
    Identity(tmp_path, Part("web"))()
    assert identities(tmp_path) == set()


@pytest.fixture
def read_only(tmp_path: Path) -> Path:
    """Return a directory in which nobody can write: not even root, for it is a file."""
    path = tmp_path / "file"
    path.touch()
    return path / "metrics"


def test_a_directory_that_cannot_be_used_stops_nobody(read_only: Path) -> None:
    """The process keeps its metrics to itself, and says what to do."""
    with Process(read_only, "web") as process:
        said = process.end()
    assert f"PROMETHEUS_MULTIPROC_DIR={read_only}" in said
    assert "nobody will see the metrics of this process" in said


def test_a_directory_without_room_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever wrote to it would be killed; the metrics stay in memory, and the log says why."""
    full = tmp_path / "sitecustomize.py"
    full.write_text("import shutil, types; shutil.disk_usage = lambda _: types.SimpleNamespace(free=2**20)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with Process(tmp_path / "metrics", "web") as process:
        said = process.end()
    assert "the file system is nearly full" in said
    assert list((tmp_path / "metrics").iterdir()) == []


def test_the_directory_is_made(tmp_path: Path) -> None:
    """A fresh tmpfs has none."""
    with Process(tmp_path / "run" / "metrics", "web"):
        assert len(identities(tmp_path / "run" / "metrics")) == 1


def test_a_name_is_free_again_when_its_process_has_ended(tmp_path: Path) -> None:
    """Whatever ended it."""
    with Process(tmp_path, "web") as process:
        assert [file.has_ended for file in files_of(tmp_path)] == [False, False]
        process.kill()
        assert [file.has_ended for file in files_of(tmp_path)] == [True, True]
