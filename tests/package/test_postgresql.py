"""The same on PostgreSQL: a private server is started, and the tests of what is stored run against it."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest

ROOT = Path(__file__).resolve().parents[2]
SUBSET = [
    "test_claims.py",
    "test_downloads.py",
    "test_leaving.py",
    "test_load_sample.py",
    "test_models.py",
    "test_pypi.py",
    "test_pypi_fields.py",
    "test_storing.py",
    "test_tasks.py",
    "test_threads.py",
    "test_tickets.py",
    "test_update.py",
    "test_updater.py",
]


def cannot(reason: str) -> NoReturn:
    """Skip, for nobody needs PostgreSQL to work on the site; but the gate must not pass without it."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


def newest_binaries() -> Path:
    found = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    if not found:
        cannot("PostgreSQL is not installed: there is no /usr/lib/postgresql/*/bin/initdb")
    return max(found, key=lambda path: float(path.parent.name))


def as_its_user(directory: Path) -> list[str]:
    """Return what to put before a command: the server refuses to run as root."""
    if os.geteuid() != 0:
        return []
    try:
        user = pwd.getpwnam("postgres")
    except KeyError:
        cannot("As root, the tests need a user `postgres` to run the server as")
    os.chown(directory, user.pw_uid, user.pw_gid)
    return ["runuser", "-u", "postgres", "--"]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """Start a server of our own; return the URL of a database on it."""
    binaries = newest_binaries()
    # Not below tmp_path: that is closed to other users, and too long a path for a socket.
    directory = Path(tempfile.mkdtemp(prefix="pg-"))
    try:
        prefix, data, port = as_its_user(directory), directory / "data", free_port()

        def run(tool: str, *args: str) -> None:
            command = [*prefix, str(binaries / tool), "-D", str(data), *args]
            # Not into a pipe: the server would inherit it, and keep it open.
            with (directory / f"{tool}.out").open("w+") as output:
                done = subprocess.run(
                    command, cwd=directory, stdout=output, stderr=subprocess.STDOUT, timeout=60, check=False
                )
                output.seek(0)
                assert done.returncode == 0, output.read()

        run("initdb", "--no-sync", "--auth=trust", "--username=tests", "--encoding=UTF8", "--no-locale")
        options = f"-c listen_addresses=127.0.0.1 -p {port} -k {directory} -c fsync=off -c max_connections=20"
        run("pg_ctl", "start", "--wait", "--log", str(directory / "log"), "--options", options)
        try:
            yield f"postgres://tests@127.0.0.1:{port}/postgres"
        finally:
            run("pg_ctl", "stop", "--mode=immediate")
    finally:
        shutil.rmtree(directory)


def test_everything_is_stored_there_as_on_sqlite(postgresql: str) -> None:
    """A site on PostgreSQL keeps the same data as one on SQLite."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *(f"tests/package/{name}" for name in SUBSET)],
        cwd=ROOT,
        env={**os.environ, "TEST_DATABASE_URL": postgresql},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, "\n".join(done.stdout.splitlines()[-60:])
    assert " passed" in done.stdout
