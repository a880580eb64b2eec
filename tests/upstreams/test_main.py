from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
ASK = """
import os, sys, urllib.error, urllib.request
try:
    urllib.request.urlopen(os.environ["BITBUCKET_API_URL"] + "/repositories/no/thing")
except urllib.error.HTTPError as error:
    sys.exit(error.code // 100 + (os.environ["BITBUCKET_API_URL"].endswith("/2.0")))
"""


def test_runs_a_command() -> None:
    """The command can call the simulated servers, and its exit status is returned."""
    command = [sys.executable, "-m", "tests.upstreams", sys.executable, "-c", ASK]
    assert subprocess.run(command, cwd=ROOT, check=False).returncode == 5
