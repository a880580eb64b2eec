"""A Redis server of our own, for tests that need a broker, or a cache between processes, and one that fails."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from tests.servers.common import LONGEST, cannot, free_port, wait_until


class RedisServer:
    """It listens on this machine only."""

    def __init__(self, directory: str, *, keep: bool = False) -> None:
        """Start the server. `keep`: store data on disk, so that they are there after a restart."""
        self._directory = directory
        self._keep = keep
        self._process: subprocess.Popen[bytes] | None = None
        self.port = free_port()
        self.start()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Start it, and return when it answers."""
        binary = shutil.which("redis-server")
        assert binary, "redis-server is not installed"
        command = [binary, "--port", str(self.port), "--bind", "127.0.0.1", "--save", ""]
        command += ["--appendonly", "yes" if self._keep else "no"]
        self._process = subprocess.Popen(command, cwd=self._directory, stdout=subprocess.DEVNULL)
        wait_until(self._answers, LONGEST, "redis-server answers")

    def kill(self) -> None:
        """Let connections be refused."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def suspend(self) -> None:
        """Let it accept connections, and answer nothing."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, "redis-server ended"
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(7) == b"+PONG\r\n"  # and no error that it is still loading its data
        return False


@contextmanager
def running_redis(*, keep: bool = False) -> Iterator[RedisServer]:
    """Run a server on a free port and in a directory of its own. Skips if it is not installed."""
    if shutil.which("redis-server") is None:
        cannot("redis-server is not installed")
    with tempfile.TemporaryDirectory(prefix="redis-") as directory:
        server = RedisServer(directory, keep=keep)
        try:
            yield server
        finally:
            server.kill()


@pytest.fixture
def redis_server() -> Iterator[RedisServer]:
    """Start a server that keeps nothing on disk."""
    with running_redis() as server:
        yield server
