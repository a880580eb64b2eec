"""Workers and the beat of Celery, as `compose.yaml` runs them."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.servers.program import Program

QUEUES = ("updates", "pypi", "pypistats", "github", "gitlab", "bitbucket", "codeberg", "forgejo", "repository")
_CELERY = ["-m", "celery", "--app", "config"]


def worker(
    environment: Mapping[str, str],
    log: Path,
    *,
    queues: Sequence[str] = QUEUES,
    concurrency: int = 2,
    name: str = "worker",
    executable: Sequence[str] = (sys.executable,),
) -> Program:
    options = ["--queues", ",".join(queues), "--concurrency", str(concurrency), "--hostname", f"{name}@tests"]
    return Program([*_CELERY, "worker", *options, "--loglevel", "INFO"], environment, log, executable=executable)


def beat(environment: Mapping[str, str], log: Path) -> Program:
    options = ["--schedule", str(log.with_suffix(".schedule")), "--loglevel", "INFO"]
    return Program([*_CELERY, "beat", *options], environment, log)
