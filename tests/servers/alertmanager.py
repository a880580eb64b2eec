"""An Alertmanager of our own."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.servers.common import LONGEST, cannot, free_port
from tests.servers.program import Program


class Alertmanager:
    """An Alertmanager that listens on the loopback interface and has no peers."""

    def __init__(self, directory: Path, configuration: Mapping[str, Any], binary: str) -> None:
        """Start it, with its data below `directory`."""
        self.address = f"127.0.0.1:{free_port()}"
        file = directory / "alertmanager.yml"
        file.write_text(json.dumps(configuration))  # which is YAML too
        self._program = Program(
            [
                f"--config.file={file}",
                f"--storage.path={directory / 'data'}",
                f"--web.listen-address={self.address}",
                "--cluster.listen-address=",
            ],
            os.environ,
            directory / "alertmanager.log",
            executable=[binary],
        )

    def wait_until_ready(self) -> None:
        self._program.wait_for_answer(f"http://{self.address}/-/ready", LONGEST)

    def stop(self) -> None:
        self._program.stop(LONGEST)


@contextmanager
def running_alertmanager(directory: Path, configuration: Mapping[str, Any]) -> Iterator[Alertmanager]:
    """Run Alertmanager on a free port. Skips if it is not installed."""
    name = "prometheus-alertmanager"  # Debian's; its makers call it alertmanager
    binary = shutil.which(name) or shutil.which("alertmanager") or cannot(f"{name} is not there; Debian has it")
    directory = directory / "alertmanager"
    directory.mkdir()
    server = Alertmanager(directory, configuration, binary)
    try:
        server.wait_until_ready()
        yield server
    finally:
        server.stop()
