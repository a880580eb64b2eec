"""A PostgreSQL server of the tests, which can be killed and started again with its data."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg
from psycopg import sql

from tests.servers.common import LONGEST, cannot, free_port, wait_until
from tests.servers.program import children


class PostgreSQL:
    """A PostgreSQL server that listens on the loopback interface, and needs no password."""

    def __init__(self, directory: Path, *, connections: int = 20) -> None:
        """Make one that stores below `directory`, and start it."""
        self._binaries = _newest_binaries()
        self._directory = directory
        self._data = directory / "data"
        self._prefix = _as_its_user(directory)
        self._connections = connections
        self.port = free_port()
        self._run("initdb", "--no-sync", "--auth=trust", "--username=tests", "--encoding=UTF8", "--no-locale")
        self.start()

    @property
    def url(self) -> str:
        """The URL of a database."""
        return self._url("postgres")

    def make_database(self, name: str) -> str:
        """Make another database, and return its URL."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        return self._url(name)

    def _url(self, database: str) -> str:
        return f"postgres://tests@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        """Start it, and return when it answers. After `kill` it puts its data in order first."""
        # fsync=off: writes of a killed process are in the kernel, so only a power failure loses them.
        options = f"-c listen_addresses=127.0.0.1 -p {self.port} -k {self._directory} -c fsync=off"
        options += f" -c max_connections={self._connections}"
        self._run("pg_ctl", "start", "--wait", "--log", str(self._directory / "log"), "--options", options)

    def kill(self) -> None:
        """End it, and all processes of it, without a chance to do anything more."""
        process = int((self._data / "postmaster.pid").read_text().split()[0])
        os.kill(process, signal.SIGSTOP)  # so that it makes no new ones meanwhile
        family = [process, *children(process)]
        for each in family:
            with suppress(ProcessLookupError):
                os.kill(each, signal.SIGKILL)
        wait_until(lambda: not any(map(_runs, family)), LONGEST, "PostgreSQL is dead")
        # If no process reaps zombies, a zombie would count as running.
        for lock in (self._data / "postmaster.pid", *self._directory.glob(".s.PGSQL.*")):
            lock.unlink()

    def stop(self) -> None:
        if (self._data / "postmaster.pid").exists():
            self._run("pg_ctl", "stop", "--mode=immediate")

    def _run(self, tool: str, *args: str) -> None:
        command = [*self._prefix, str(self._binaries / tool), "-D", str(self._data), *args]
        # Not into a pipe: the server would inherit it, and keep it open.
        with (self._directory / f"{tool}.out").open("w+") as output:
            done = subprocess.run(
                command, cwd=self._directory, stdout=output, stderr=subprocess.STDOUT, timeout=LONGEST, check=False
            )
            output.seek(0)
            log = self._directory / "log"
            assert done.returncode == 0, output.read() + (log.read_text()[-2000:] if log.exists() else "")


@contextmanager
def running_postgresql(*, connections: int = 20) -> Iterator[PostgreSQL]:
    """Run a server on a free port and in a directory of its own. Skips if it is not installed."""
    # Not below tmp_path: that is closed to other users, and too long a path for a socket.
    directory = Path(tempfile.mkdtemp(prefix="pg-"))
    try:
        server = PostgreSQL(directory, connections=connections)
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(directory)


def _newest_binaries() -> Path:
    found = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    if not found:
        cannot("PostgreSQL is not installed: there is no /usr/lib/postgresql/*/bin/initdb")
    return max(found, key=lambda path: float(path.parent.name))


def _as_its_user(directory: Path) -> list[str]:
    """Return the prefix of a command that runs it as another user, because the server refuses to run as root."""
    if os.geteuid() != 0:
        return []
    try:
        user = pwd.getpwnam("postgres")
    except KeyError:
        cannot("As root, the tests need a user `postgres` to run the server as")
    os.chown(directory, user.pw_uid, user.pw_gid)
    return ["runuser", "-u", "postgres", "--"]


def _runs(process: int) -> bool:
    """Return whether the process exists and is no zombie."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
