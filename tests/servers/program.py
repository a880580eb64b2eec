"""A program of the site in processes of its own, which can be killed all at once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self

from tests.servers.common import DIRECT, wait_until

ROOT = Path(__file__).parents[2]


class Program:
    """`python …`, started at once; its output goes to a file."""

    def __init__(
        self,
        arguments: list[str],
        environment: Mapping[str, str],
        log: Path,
        *,
        executable: Sequence[str] = (sys.executable,),
    ) -> None:
        """Start the program. `executable`: another program than Python, or a command that runs Python."""
        self._log = log
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [*executable, *arguments],
                cwd=ROOT,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # a group of processes, of which no test is a member
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.kill()

    @property
    def group(self) -> int:
        """The number of the group that all its processes are in."""
        return self._process.pid

    @property
    def ended(self) -> bool:
        return self._process.poll() is not None

    @property
    def said(self) -> str:
        return self._log.read_text(errors="replace")

    @property
    def children(self) -> list[int]:
        """The numbers of the processes that it has started itself."""
        return children(self._process.pid)

    def kill(self) -> None:
        """End it and its children without a chance to do anything more."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def signal(self, number: int) -> None:
        """Send a signal to it, and not to its children."""
        self._process.send_signal(number)

    def wait_for_answer(self, url: str, seconds: float) -> None:
        """Wait until `url` is answered with 200. Raises `AssertionError` with the output if it ends."""

        def answers() -> bool:
            assert not self.ended, self.said
            try:
                with DIRECT.open(url, timeout=5) as answer:
                    return bool(answer.status == 200)
            except OSError:
                return False

        wait_until(answers, seconds, f"{url} answers", every=0.05)

    def wait(self, seconds: float) -> int:
        """Return its exit status when it has ended."""
        return self._process.wait(seconds)

    def stop(self, seconds: float) -> None:
        """Send SIGTERM and wait; then kill all processes that are left."""
        if not self.ended:
            self.signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                self.wait(seconds)
        self.kill()


def children(process: int) -> list[int]:
    """Return the processes that `process` has started and not lost."""
    tasks = Path(f"/proc/{process}/task").glob("*/children")
    return [int(child) for task in tasks for child in task.read_text().split()]
