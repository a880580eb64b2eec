"""`manage.py upstreams` in a process of its own, beside one that makes calls, on a real Redis server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest
import redis

from core.http.shared import upstream_diagnostics
from tests.core.http.misbehave import MisbehavingServer, reply
from tests.servers.common import free_port, wait_until
from tests.servers.preloaded import run_python
from tests.servers.program import ROOT
from tests.servers.redis import RedisServer

DEADLINE = 60.0
QUOTA = (
    "X-RateLimit-Limit: 5000",
    "X-RateLimit-Remaining: 4321",
    "X-RateLimit-Reset: 1800",
    "X-RateLimit-Resource: core",
)
CALLS = """
import django
django.setup()
from django.conf import settings
from core import http

for _ in range(10):  # POST is not retried: so it takes no time
    http.post(settings.PYPI_URL + "/pypi/django/json?token=s3cret", proxies={"http": None})
http.get(settings.GITHUB_API_URL + "/repos/django/django", proxies={"http": None})
print("done", flush=True)
input()
"""


@pytest.fixture
def environment(redis_server: RedisServer) -> Iterator[Mapping[str, str]]:
    """Make that of a site whose PyPI is down."""
    down = {"pypi/django/json?token=s3cret": reply(503)}
    quota = {"repos/django/django": reply(200, b"{}", *QUOTA)}
    with MisbehavingServer(routes=down) as pypi, MisbehavingServer(routes=quota) as github:
        yield {
            **{name: value for name, value in os.environ.items() if name != "PROMETHEUS_MULTIPROC_DIR"},
            "CACHE_URL": redis_server.url,
            "DATABASE_URL": f"postgres://nobody@127.0.0.1:{free_port()}/away",  # it has to do without
            "DEBUG": "false",
            "DJANGO_SETTINGS_MODULE": "config.settings",
            "GITHUB_API_URL": github.url,
            "LOG_LEVEL": "WARNING",
            "PYPI_URL": pypi.url,
            "SECRET_KEY": "for tests only",
        }


@contextmanager
def caller(environment: Mapping[str, str]) -> Iterator[None]:
    """Run a process that has made its calls, and stays."""
    command = [sys.executable, "-c", CALLS]
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "done\n"
            yield
        finally:
            process.kill()


def look(environment: Mapping[str, str], *args: str) -> subprocess.CompletedProcess[str]:
    return run_python(["manage.py", "upstreams", *args], environment)


def test_a_new_process_shows_the_state_of_another(environment: Mapping[str, str], redis_server: RedisServer) -> None:
    """It shows PyPI's open breaker and last error, and GitHub's quota; without the cache, it says that."""
    told: dict[str, Any] = {}

    def is_told() -> bool:
        done = look(environment, "--json")
        assert (done.returncode, done.stderr) == (0, "")
        assert "s3cret" not in done.stdout
        told.update({upstream["upstream"]: upstream for upstream in json.loads(done.stdout)["upstreams"]})
        return bool(told["pypi"]["last_error"] and told["github"]["quotas"])

    with caller(environment), redis.Redis.from_url(redis_server.url) as stored:
        keys = [f":1:{upstream_diagnostics.key_of(name)}" for name in ("pypi", "github")]
        wait_until(lambda: stored.exists(*keys) == 2, DEADLINE, "the news are in the cache")
        wait_until(is_told, DEADLINE, "all of them")
        pypi, github = told["pypi"], told["github"]
        assert pypi["breaker"]["state"] in {"open", "half_open"}  # the latter on a machine that takes 15 s for this
        assert pypi["breaker"]["since"] is not None
        assert (pypi["last_error"]["status"], pypi["last_error"]["path"]) == (503, "/pypi/django/json")
        assert github["breaker"] == {"state": "closed", "since": None, "next_probe": None}
        assert [(quota["resource"], quota["remaining"], quota["limit"]) for quota in github["quotas"]] == [
            ("core", 4321, 5000)
        ]
        redis_server.kill()
        done = look(environment)
        assert done.returncode == 1
        assert done.stderr.startswith("The shared cache cannot be read (ConnectionError: ")
        assert "Traceback" not in done.stderr
        assert "pypi: breaker unknown" in done.stdout


def test_misuse(environment: Mapping[str, str]) -> None:
    """An option that there is not is status 2."""
    assert look(environment, "--jason").returncode == 2
