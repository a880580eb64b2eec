"""Run a command in a small world.

    python -m tests.upstreams COMMAND …

starts simulated servers of all upstreams, runs COMMAND with their addresses in its environment, and returns its exit
status. The servers have the packages of `load_sample`.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

from tests.upstreams.server import serving
from tests.upstreams.world import World

SAMPLE = Path(__file__).parents[2] / "package" / "fixtures" / "sample.json"


def world() -> World:
    made = World(100)
    for entry in json.loads(SAMPLE.read_text()):
        if entry["model"] == "package.package":
            fields = entry["fields"]
            path = urlsplit(fields["repo_url"]).path.strip("/")
            made.add(fields["pypi_url"], fields["repo_host"], path)
    return made


def main(command: list[str]) -> int:
    if not command:
        print(__doc__, file=sys.stderr)  # noqa: T201 - a command of its own
        return 2
    with (
        serving(world()) as upstreams,
        subprocess.Popen(command, env={**os.environ, **upstreams.environment}) as process,
    ):
        # Ctrl-C is sent to the command too; this process waits for its end.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        status = process.wait()
    return status if status >= 0 else 128 - status  # as shells say that a signal ended it


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
