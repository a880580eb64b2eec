"""Starts a private PostgreSQL server and runs the tests of stored data against it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers.postgresql import running_postgresql

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[3]
SUBSET = [
    "jobs/test_claims.py",
    "jobs/test_dispatch.py",
    "jobs/test_unfetched.py",
    "jobs/test_lost_messages.py",
    "jobs/test_refresh_one.py",
    "jobs/test_storing.py",
    "jobs/test_tasks.py",
    "jobs/test_threads.py",
    "sources/test_pypi_fields.py",
    "test_models.py",
]
WHAT_DIFFERS = "not test_pypi_fields or NUL or surrogate or NaN or infinity or long"
"""Of the fields of PyPI's JSON, the values that a database may refuse."""


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """Start a private server; return the URL of a database on it."""
    with running_postgresql() as server:
        yield server.url


def test_everything_is_stored_there_as_on_sqlite(postgresql: str) -> None:
    """A site on PostgreSQL keeps the same data as one on SQLite."""
    options = ["-q", "-p", "no:cacheprovider", "-k", WHAT_DIFFERS]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, *(f"tests/package/{name}" for name in SUBSET)],
        cwd=ROOT,
        env={**os.environ, "TEST_DATABASE_URL": postgresql},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, "\n".join(done.stdout.splitlines()[-60:])
    assert " passed" in done.stdout
