"""Grafana's own types, as TypeScript has them, hold for the dashboards: no option is misspelt or of another kind."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.grafana.expressions import DASHBOARDS
from tests.servers.common import cannot

HERE = Path(__file__).parent / "types"
LOCK = HERE / "package-lock.json"


@pytest.fixture(scope="module")
def types(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory with the compiler and the types, as locked. Nothing of it stays in the repository."""
    if not (shutil.which("node") and shutil.which("npm")):
        cannot("node or npm is not there; Debian's packages nodejs and npm have them")
    directory = tmp_path_factory.mktemp("types")
    shutil.copytree(HERE, directory, dirs_exist_ok=True, ignore=shutil.ignore_patterns("node_modules"))
    done = _run(directory, "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
    assert done.returncode == 0, done.stdout
    return directory


MISTAKES = (
    ('"colorMode": "background"', '"colourMode": "background"'),
    ('"mode": "dashed"', '"mode": "dotted"'),
    ('"fillOpacity": 50', '"fillOpacity": "50"'),
    ('"type": "heatmap"', '"type": "heat"'),
    ('"graphTooltip": 1', '"graphTooltip": 7'),
    ('"titleFormat"', '"title"'),
)


@pytest.fixture(scope="module")
def complaints(types: Path) -> str:
    """Return the compiler's messages for each dashboard, and for one with each of the mistakes, in one run."""
    texts = {path.stem: path.read_text() for path in DASHBOARDS}
    for number, (right, wrong) in enumerate(MISTAKES):
        text = DASHBOARDS[0].read_text()
        assert right in text
        texts[f"mistake-{number}"] = text.replace(right, wrong)
    for name, text in texts.items():
        constant = f'import type {{ Stored }} from "./dashboard.js";\n\nexport const stored: Stored = {text};\n'
        (types / f"{name}.ts").write_text(constant)
    return _run(types, "node_modules/.bin/tsc", "--project", ".", "--pretty", "false").stdout


def test_grafanas_types_hold(complaints: str) -> None:
    """Each panel agrees with Grafana's schema."""
    assert [line for line in complaints.splitlines() if not line.startswith(("mistake-", " "))] == []


@pytest.mark.parametrize("number", range(len(MISTAKES)), ids=lambda number: MISTAKES[number][1])
def test_a_mistake_is_seen(complaints: str, number: int) -> None:
    """A misspelled key or a value that Grafana does not know is reported."""
    assert re.search(rf"^mistake-{number}\.ts\(.*error TS", complaints, re.MULTILINE)


def test_the_lock_names_no_registry() -> None:
    """Packages are pinned by hash, and the lock names no registry."""
    packages = json.loads(LOCK.read_text())["packages"]
    assert [name for name, package in packages.items() if name and "integrity" not in package] == []
    assert re.findall(r"https?://\S*", LOCK.read_text()) == []


def test_the_types_are_those_of_the_builder() -> None:
    """The types are of the version of Grafana that the dashboard is built for."""
    builder = re.search(r"grafana-foundation-sdk==\d+!(\d+\.\d+)", (HERE.parents[2] / "pyproject.toml").read_text())
    assert builder
    version = json.loads(LOCK.read_text())["packages"]["node_modules/@grafana/schema"]["version"]
    assert version.startswith(f"{builder[1]}.")


def _run(directory: Path, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=directory,
        env={**os.environ, "NO_COLOR": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=300,
    )
