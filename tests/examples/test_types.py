"""mypy accepts the example programs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.servers.program import ROOT


def test_mypy_strict_accepts_them(library: Path, tmp_path: Path) -> None:
    """The programs pass mypy --strict with the types of the installed library."""
    options = (
        "--strict",
        "--config-file=",
        "--python-version=3.11",
        f"--cache-dir={tmp_path}",
        "--follow-imports=silent",
    )
    done = subprocess.run(
        [sys.executable, "-m", "mypy", *options, "--follow-imports=silent", "provider_service", "async_view"],
        cwd=ROOT / "examples",
        env={**os.environ, "PYTHONPATH": str(library)},
        text=True,
        capture_output=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
