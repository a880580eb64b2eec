"""The LOGGING examples of docs/logging.md, each in a process of its own, because logging is global."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.pages import ROOT, examples

PLAIN, JSON = examples("logging.md")
CALL_FAILS = """
import logging

import django
import responses

django.setup()

from core import http
from core.http import process, registry
from core.http.testing import FakeClock

clock = FakeClock()
process.use(runtime=registry.Runtime(clock, clock.wait, lambda: 0.0))


def slow(request):
    clock.advance(0.1)
    return 503, {"Set-Cookie": "id=s3cret"}, "s3cret"


with responses.RequestsMock() as upstream:
    upstream.add_callback("GET", "https://pypi.example/pypi/django/json", slow)
    http.get("https://pypi.example/pypi/django/json?key=s3cret", headers={"Authorization": "Bearer s3cret"})
logging.getLogger("package").warning("%d packages", 3)
try:
    raise ValueError("of the site")
except ValueError:
    logging.getLogger("core.http").exception("It fails")
"""


def log_of_failed_call(example: str, directory: Path) -> list[str]:
    """Return the log of a failed call in a site with `example` in its settings, in which no secret is."""
    (directory / "pasted.py").write_text(f"from config.settings import *\n\n{example}", encoding="utf-8")
    environment = os.environ | {
        "ALLOWED_HOSTS": "site.example",
        "CACHE_URL": "",
        "DATABASE_URL": "sqlite://:memory:",
        "DEBUG": "false",
        "DJANGO_SETTINGS_MODULE": "pasted",
        "PYPI_URL": "https://pypi.example",
        "PYTHONPATH": f"{directory}{os.pathsep}{ROOT}",
        "SECRET_KEY": "for tests only",
    }
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", CALL_FAILS],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert "s3cret" not in done.stderr  # none of the call is in the log records, so no example writes one
    return done.stderr.splitlines()


def test_plain_text_has_its_fields_at_fixed_places(tmp_path: Path) -> None:
    """A call has upstream, reason and attempts before its message; records without them have dashes or none."""
    call, other, error, *traceback = log_of_failed_call(PLAIN, tmp_path)
    assert " WARNING core.http: upstream=pypi reason=http_5xx attempts=4 GET https://pypi.example/pypi/" in call
    assert other.endswith(" WARNING package: 3 packages")
    assert error.endswith(" ERROR core.http: upstream=- reason=- attempts=- It fails")
    assert traceback[-1] == "ValueError: of the site"


def test_json_is_as_the_page_shows_it(tmp_path: Path) -> None:
    """Each record is one line of JSON; that of a failed call has the fields that docs/logging.md shows."""
    call, other, error = map(json.loads, log_of_failed_call(JSON, tmp_path))
    (shown,) = map(json.loads, examples("logging.md", "json"))
    assert call == shown | {"timestamp": call["timestamp"]}
    assert other.items() >= {"level": "WARNING", "logger": "package", "message": "3 packages"}.items()
    assert error["exc_info"].endswith("ValueError: of the site")
