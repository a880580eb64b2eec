"""The example programs run as their READMEs say: with the library under the name that pip gives it, under uvicorn."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias
from urllib.error import HTTPError
from urllib.request import Request

import pytest

from tests.servers.common import DIRECT, LONGEST, free_port, wait_until
from tests.servers.program import ROOT, Program

TOKEN = "for-scrapes-only"


@dataclass(frozen=True)
class Answer:
    status: int
    retry_after: str | None
    body: Any


@dataclass(frozen=True)
class Service:
    """An example that runs under uvicorn."""

    url: str
    program: Program

    def get(self, path: str) -> Answer:
        try:
            with DIRECT.open(f"{self.url}{path}", timeout=LONGEST) as answer:
                return Answer(answer.status, answer.headers["Retry-After"], json.load(answer))
        except HTTPError as error:
            with error:
                return Answer(error.code, error.headers["Retry-After"], json.load(error))

    def wait_for(self, path: str, condition: Callable[[Answer], object], what: str) -> Answer:
        """Ask again and again, and return the first answer for which `condition` holds."""
        answers: list[Answer] = []

        def holds() -> bool:
            answers.append(self.get(path))
            return bool(condition(answers[-1]))

        wait_until(holds, LONGEST, what)
        return answers[-1]

    def sample(self, series: str) -> float | None:
        """Return the value of one series of /metrics."""
        request = Request(f"{self.url}/metrics", headers={"Authorization": f"Bearer {TOKEN}"})
        with DIRECT.open(request, timeout=LONGEST) as answer:
            lines = answer.read().decode().splitlines()
        return next((float(line.rpartition(" ")[2]) for line in lines if line.rpartition(" ")[0] == series), None)


Start: TypeAlias = Callable[..., Service]


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Put the library where nothing else is, as pip does (tests/test_distribution.py compares them)."""
    to = tmp_path_factory.mktemp("library")
    shutil.copytree(ROOT / "core" / "http", to / "outbound_http", ignore=shutil.ignore_patterns("__pycache__"))
    return to


def _stop(program: Program) -> None:
    program.stop(LONGEST)
    assert "Finished server process" in program.said


@pytest.fixture
def start(library: Path, tmp_path: Path) -> Iterator[Start]:
    """Start an application: ``start("package.module:app", ready="/metrics", VARIABLE="value")``."""
    with ExitStack() as stack:

        def start(application: str, *, ready: str, **variables: str) -> Service:
            kept = {
                name: value for name, value in os.environ.items() if not name.startswith(("DJANGO_", "PROMETHEUS_"))
            }
            environment = {**kept, "PYTHONPATH": str(library), "PYTHONUNBUFFERED": "1", "NO_PROXY": "127.0.0.1"}
            port = free_port()
            arguments = ["-m", "uvicorn", application, "--app-dir", "examples", "--port", str(port)]
            program = stack.enter_context(Program(arguments, {**environment, **variables}, tmp_path / "uvicorn.log"))
            stack.callback(_stop, program)
            service = Service(f"http://127.0.0.1:{port}", program)
            program.wait_for_answer(f"{service.url}{ready}", LONGEST)
            return service

        yield start
