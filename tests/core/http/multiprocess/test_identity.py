"""The identity of a process among others; each test starts processes, because a process has one identity."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self

import pytest

from core.http.multiprocess import ProcessRole
from core.http.multiprocess.compaction import KEPT
from core.http.multiprocess.directory import files_of, hold, locked
from core.http.multiprocess.process_identity import Identity
from tests.core.http.multiprocess.conftest import Scrape, Write
from tests.servers.program import ROOT

HOST = re.sub("[^A-Za-z0-9.]+", "-", socket.gethostname())
Alive = Callable[[str], None]

PROCESS = """
import os, sys
from core.http.multiprocess import ProcessRole, take_part

part = ProcessRole(*sys.argv[1].split(":"))
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
sys.stdout.write(f"ready {os.getpid()}\\n")  # at once: the one that was forked off writes there too
sys.stdout.flush()
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
        """Let the process end. Returns its stderr."""
        return self._process.communicate()[1]

    def kill(self) -> None:
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.kill()
        self._process.communicate()  # forked processes read the end of their input from it, too


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
    """The second process sees that the name is in use."""
    own = f"web-{HOST}-{os.getpid()}"
    alive(own)
    alive(f"{own}-2")
    assert Identity(tmp_path, ProcessRole("web"))() == f"{own}-3"


def test_a_process_that_forks_off_has_its_own(tmp_path: Path, scrape: Scrape) -> None:
    """Forked workers, as of gunicorn and Celery, get identities of their own; the parent keeps its own."""
    with Process(tmp_path, "job:update_packages", "fork") as process:
        child = max(process.pids)
        assert identities(tmp_path) == {"job-update-packages", f"job-{HOST}-{child}"}
        assert scrape("calls_total", role="job") == 11.0
        assert scrape("active", role="job") == 11.0
        process.kill()
        assert scrape("active", role="job") == 10.0
        assert scrape("calls_total", role="job") == 11.0


def test_a_killed_process_has_no_calls_in_flight(tmp_path: Path, scrape: Scrape) -> None:
    """The calls in flight of a killed process are dropped; its counters stay."""
    with Process(tmp_path, "worker") as process:
        assert scrape("active", role="worker") == 1.0
        process.kill()
        assert scrape("active", role="worker") is None
        assert scrape("calls_total", role="worker") == 1.0


def test_a_reused_name_begins_without_calls_in_flight(tmp_path: Path, write: Write, scrape: Scrape) -> None:
    """The calls in flight of the last process with that name are dropped."""
    write("gauge_livesum", "job-update-packages", {"active": 5.0})
    with Process(tmp_path, "job:update_packages"):
        assert scrape("active", role="job") == 1.0


def test_processes_without_scrapes_do_not_fill_the_disk(tmp_path: Path) -> None:
    """Each new process merges the files of ended ones."""
    for n in range(KEPT + 1):
        (tmp_path / f"web-a-{n}.lock").touch()
        (tmp_path / f"gauge_livesum_web-a-{n}.db").touch()
    Identity(tmp_path, ProcessRole("web"))()
    assert identities(tmp_path) == set()


@pytest.fixture
def read_only(tmp_path: Path) -> Path:
    """Return a path that no process can write to, not even root's, because it is a file."""
    path = tmp_path / "file"
    path.touch()
    return path / "metrics"


def test_a_directory_that_cannot_be_used(read_only: Path) -> None:
    """The process keeps its metrics in memory, and logs what to do."""
    with Process(read_only, "web") as process:
        said = process.end()
    assert f"PROMETHEUS_MULTIPROC_DIR={read_only}" in said
    assert "the metrics of this process are not exported" in said


def test_a_directory_without_room_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that wrote to a full directory would be killed, so the metrics stay in memory, and the log says why."""
    full = tmp_path / "sitecustomize.py"
    full.write_text("import shutil, types; shutil.disk_usage = lambda _: types.SimpleNamespace(free=2**20)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with Process(tmp_path / "metrics", "web") as process:
        said = process.end()
    assert "the file system is nearly full" in said
    assert list((tmp_path / "metrics").iterdir()) == []


def test_an_empty_name_of_a_directory_is_ignored(tmp_path: Path) -> None:
    """An empty PROMETHEUS_MULTIPROC_DIR does not mean the current directory."""
    program = (
        "from core.http.multiprocess import take_part; take_part(); import prometheus_client as p; p.Counter('a', 'b')"
    )
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": "", "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, env=environment, check=True)
    assert list(tmp_path.iterdir()) == []


def test_a_relative_path_is_that_of_the_start(tmp_path: Path) -> None:
    """A process that changes its directory later, as daemons do, writes to the same files."""
    program = (
        "import os; from core.http.multiprocess import take_part; take_part(); os.mkdir('else'); os.chdir('else');"
        "import prometheus_client as p; p.Counter('a', 'b').inc()"
    )
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": "metrics", "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, env=environment, check=True)
    assert len(identities(tmp_path / "metrics")) == 1


def test_the_directory_is_made(tmp_path: Path) -> None:
    """A fresh tmpfs has none."""
    with Process(tmp_path / "run" / "metrics", "web"):
        assert len(identities(tmp_path / "run" / "metrics")) == 1


def test_a_name_is_free_again_when_its_process_has_ended(tmp_path: Path) -> None:
    """The name of an ended process is free again, however the process ended."""
    with Process(tmp_path, "web") as process:
        assert [file.has_ended for file in files_of(tmp_path)] == [False, False]
        process.kill()
        assert [file.has_ended for file in files_of(tmp_path)] == [True, True]


def test_while_others_merge_a_process_begins_files_of_its_own(
    tmp_path: Path, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    """During a merge, a new process creates new files, because those of an earlier run may be removed."""
    monkeypatch.setattr("core.http.multiprocess.directory._PATIENCE", 0.0)
    write("counter", "job-update-packages", {"calls_total": 1.0})
    with locked(tmp_path):
        name = Identity(tmp_path, ProcessRole("job", "update_packages"))()
    assert name.startswith(f"job-{HOST}-{os.getpid()}-")


def test_where_no_lock_can_be_made_no_other_name_is_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process would look for one for ever."""

    def refuse(*_: object) -> int:
        raise PermissionError

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refuse)
        with pytest.raises(PermissionError):
            hold(tmp_path / "web-a-1.lock")


def test_the_lock_of_another_user_may_be_unreadable(
    tmp_path: Path, write: Write, scrape: Scrape, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process whose lock cannot be read, such as one of root, counts as running, and all others are shown."""
    write("counter", "job-check", {"calls_total": 1.0})
    theirs = tmp_path / "job-check.lock"
    theirs.touch()
    real = Path.open

    def opened(path: Path, *args: Any, **kwargs: Any) -> object:
        if path == theirs:
            raise PermissionError
        return real(path, *args, **kwargs)

    monkeypatch.setattr(Path, "open", opened)
    assert scrape("calls_total", role="job") == 1.0


def test_a_fork_during_a_scrape_blocks_no_other_scrape(tmp_path: Path) -> None:
    """The child has the lock file of its parent open, but does not hold the lock."""
    with locked(tmp_path):
        copies = [os.dup(int(fd.name)) for fd in Path("/proc/self/fd").iterdir() if _is_lock(fd)]
    try:
        with locked(tmp_path) as alone:
            assert alone
    finally:
        for copy in copies:
            os.close(copy)


def _is_lock(fd: Path) -> bool:
    try:
        return fd.readlink().name == "directory.lock"
    except FileNotFoundError:  # the listing itself
        return False


def test_a_child_of_a_full_file_system_is_not_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a full file system, a child gets no identity, because a write to its file would raise SIGBUS."""
    identity = Identity(tmp_path, ProcessRole("worker"))
    identity()
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=2**20))
    identity.after_fork()
    with pytest.raises(OSError, match="nearly full"):
        identity()


def test_without_flock_each_process_shows_its_own(tmp_path: Path) -> None:
    """On Windows, which has no flock, the process keeps its metrics in memory and logs why."""
    program = """
import sys
sys.modules["fcntl"] = None
from core.http.multiprocess import IS_SUPPORTED, take_part
take_part()
from prometheus_client import Counter, REGISTRY
Counter("calls", "Help.").inc()
print(IS_SUPPORTED, REGISTRY.get_sample_value("calls_total"))
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env={**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "False 1.0\n"
    assert "PROMETHEUS_MULTIPROC_DIR is not used, because it needs flock" in done.stderr
    assert list(tmp_path.iterdir()) == []
