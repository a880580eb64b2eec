"""Type checkers accept correct uses of core.http and the example programs, and reject wrong uses."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import requests

from core import http
from tests.servers.common import cannot

ROOT = Path(__file__).parents[2]
API = Path(__file__).parent / "api.py"


def run(*command: str | Path, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", *map(str, command)],
        cwd=ROOT,
        env={**os.environ, **environment},
        text=True,
        capture_output=True,
        timeout=600,
        check=False,
    )
    return "" if done.returncode == 0 else done.stdout + done.stderr


def test_mypy_strict_accepts_it_and_the_examples(tmp_path: Path, pytestconfig: pytest.Config) -> None:
    """Right uses pass with --strict and wrong ones do not; the example programs pass with the installed library.

    In one run, because most of the time goes to types of other libraries, which a later run takes from the cache.
    """
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "core" / "http", tmp_path / "outbound_http", ignore=ignore)
    kept = pytestconfig.cache.mkdir("mypy") if pytestconfig.cache else tmp_path / "cache"
    options = ("--strict", "--config-file=", "--python-version=3.11", f"--cache-dir={kept}", "--follow-imports=silent")
    programs = (ROOT / "examples" / name for name in ("provider_service", "async_view"))
    path = {"PYTHONPATH": str(tmp_path), "MYPYPATH": str(ROOT / "examples")}
    assert run("mypy", *options, API, *programs, **path) == ""


def test_pyright_strict_accepts_it() -> None:
    """The code passes pyright in strict mode."""
    if not (find_spec("pyright") and shutil.which("node")):
        cannot("pyright or node is not there; Debian's package nodejs has the latter")
    assert run("pyright", "--pythonpath", sys.executable, API) == ""


def test_every_public_name_is_used() -> None:
    """A name that is added to the public ones is added here."""
    nodes = list(ast.walk(ast.parse(API.read_text(encoding="utf-8"))))
    used = {node.id for node in nodes if isinstance(node, ast.Name)}
    used |= {node.attr for node in nodes if isinstance(node, ast.Attribute)}
    assert set(http.__all__) - used == set()


def test_type_checkers_know_all_public_names_of_requests() -> None:
    """core.http.requests exports all names of requests."""
    assert http.requests.__file__
    tree = ast.parse(Path(http.requests.__file__).read_text(encoding="utf-8"))
    imported = {alias.asname for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert set(requests.__all__) - imported == {"Session", "session"}  # which are ours
