"""Runs promtool, which the package prometheus of Debian brings."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from tests.servers.common import cannot


def promtool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    program = shutil.which("promtool") or cannot("promtool is not there; Debian's package prometheus has it")
    return subprocess.run([program, *map(str, arguments)], capture_output=True, text=True, check=False)
