"""The services of compose.yaml."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import yaml

from tests.pages import ROOT
from tests.servers.common import cannot

COMPOSE = ROOT / "compose.yaml"
WORKERS = {f"worker-{name}" for name in ("pypi", "pypistats", "github", "gitlab", "other", "updates")}


def document(path: Path) -> dict[str, Any]:
    return yaml.safe_load(path.read_text())


def services() -> dict[str, dict[str, Any]]:
    return document(COMPOSE)["services"]


def tool(name: str, package: str) -> str:
    """Return where `name` is. Where it is not, the test is skipped; in CI it fails."""
    return shutil.which(name) or cannot(f"{name} is not there; Debian's package {package} has it")


def compose() -> list[str]:
    """Return the command: Compose 2, or the one before it, which Debian has."""
    docker = shutil.which("docker")
    if docker and subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode == 0:
        return [docker, "compose"]
    return [tool("docker-compose", "docker-compose")]
