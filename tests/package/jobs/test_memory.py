"""Memory: the process of a run stays below 200 MiB for any answers of servers."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from package.models import Package
from tests.servers.common import LONGEST
from tests.servers.measured_run import FORGE
from tests.servers.program import Program
from tests.servers.site import Site, database
from tests.upstreams.faults import FirstOf, Packed
from tests.upstreams.server import Upstreams, serving
from tests.upstreams.upstream import Upstream
from tests.upstreams.world import FakePackage, World

MOST = 200
"""MiB, of the whole process; without such an answer it takes 70."""
BOUNDS = {"pypi": 8 * 2**20, "github": 2 * 2**20, "forgejo": 2 * 2**20}
"""Bytes of an answer that is still read."""
PATHS: dict[str, Callable[[FakePackage], str]] = {
    "pypi": lambda package: f"/pypi/{package.pypi}",
    "github": lambda package: f"/repos/{package.full_name}",
    "forgejo": lambda package: f"/api/v1/repos/{package.full_name}",
}

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="measures with /proc")]


def bodies(bound: int) -> list[bytes]:
    """Return JSON documents that take much more memory than bytes; most are small when compressed."""
    emoji, nodes = "😀".encode(), 100_000
    objects = b'"a":[' + b",".join(b'{"%d":{}}' % number for number in range(nodes)) + b"]"
    text = emoji + b"-" * (bound - len(objects) - 100)
    return [
        b'{"a":[' + b"[]," * 10_000_000 + b"[]]}",
        b'{"info":{"description":"' + emoji + b"-" * 31_000_000 + b'"}}',
        b'{"info":{"description":"' + emoji + b"-" * (bound - 100) + b'"}}',
        b'{"info":{"description":"' + text + b'"},' + objects + b"}",  # as much text and as many objects as may be
        b'{"a":[' + (b'"' + emoji + b"-" * 60 + b'",') * (bound // 70) + b"0]}",
        b'{"a":' + b"[" * 3_000_000 + b"]" * 3_000_000 + b"}",
        b"{" + b",".join(b'"%d":%d' % (number, number) for number in range(1_000_000)) + b"}",
    ]


@pytest.fixture(params=list(BOUNDS))
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def upstreams(kind: str) -> Iterator[Upstreams]:
    """Let a server answer with a different document for each package."""
    hostile = bodies(BOUNDS[kind])
    with serving(World(len(hostile) + 3, shares={"github" if kind == "pypi" else kind: 1.0})) as upstreams:
        upstreams.github.pending = 0
        server: Upstream = getattr(upstreams, kind)
        packages = [package for package in upstreams.world.packages if package.pypi and package.kind][: len(hostile)]
        server.fault = FirstOf(
            *(Packed(body, on=PATHS[kind](package)) for package, body in zip(packages, hostile, strict=True))
        )
        yield upstreams


def test_of_a_run(kind: str, upstreams: Upstreams, tmp_path: Path, django_db_blocker: Any) -> None:
    """For any JSON of PyPI, GitHub and a user's server, every package has its turn."""
    url = f"sqlite:///{tmp_path / 'site.sqlite3'}"
    with django_db_blocker.unblock(), database(url):
        site = Site(upstreams, tmp_path, url, DJANGO_SETTINGS_MODULE="config.settings")
        site.fill()
        for package in Package.objects.using("site").filter(repo_host="forgejo"):
            package.repo_url = package.repo_url.replace(upstreams.forgejo.url, f"http://{FORGE}")
            package.save(using="site")
        port = upstreams.forgejo.url.rpartition(":")[2]
        command = ["-m", "tests.servers.measured_run", port, "--workers=1"]
        with Program(command, site.environment, site.log("run")) as run:
            assert run.wait(2 * LONGEST) == 0, run.said
        assert site.due == []
    [peak] = re.findall(r"peak: (\d+) MiB", run.said)
    assert int(peak) <= MOST
    assert "unexpected" not in run.said
    assert "too large" in run.said
