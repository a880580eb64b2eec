"""Benchmarks run: their figures are for a quiet machine, and for people to read."""

from __future__ import annotations

import subprocess
import sys


def test_peers_are_measured() -> None:
    """The smallest form of it prints a row for requests and for this library."""
    command = [sys.executable, "-m", "benchmarks.peers", "--rounds", "1", "--only", "http.get"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert "requests.get" in done.stdout
    assert "http.get " in done.stdout
