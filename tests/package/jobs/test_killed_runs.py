"""Processes that run `update_packages` with threads: one is killed, and two run at once."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.servers.common import LONGEST, wait_until
from tests.servers.postgresql import PostgreSQL, running_postgresql
from tests.servers.program import Program
from tests.servers.site import Site, database
from tests.upstreams.server import Upstreams, serving
from tests.upstreams.world import World

pytestmark = pytest.mark.slow

WORKERS = 6
SHARES = {"github": 0.4, "gitlab": 0.3, "codeberg": 0.3}  # a fetch from Bitbucket asks for the same twice

UNHURRIED = "tests.servers.hurried.unhurried_settings"
"""The hurried site ends a fetch after 2 s. A busy machine can take longer, and the run then rightly asks again for the
parts that are missing."""


@pytest.fixture
def upstreams() -> Iterator[Upstreams]:
    with serving(World(20, shares=SHARES), latency=0.05) as upstreams:
        upstreams.github.pending = 0  # so that nothing has to be asked for a second time
        yield upstreams


@pytest.fixture(params=["sqlite", "postgresql"])
def site(
    request: pytest.FixtureRequest, upstreams: Upstreams, tmp_path: Path, django_db_blocker: Any
) -> Iterator[Site]:
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path / 'site.sqlite3'}"
    else:
        url = request.getfixturevalue("postgresql").make_database(request.node.originalname)
    with django_db_blocker.unblock(), database(url):
        site = Site(upstreams, tmp_path, url, DJANGO_SETTINGS_MODULE=UNHURRIED)
        site.fill()
        yield site


@pytest.fixture(scope="module")
def postgresql() -> Iterator[PostgreSQL]:
    with running_postgresql() as server:
        yield server


def run(site: Site) -> Program:
    return site.start("update_packages", f"--workers={WORKERS}", "--json")


def asked(upstreams: Upstreams) -> list[str]:
    """Return all requests that any server has answered."""
    requests = ((upstream.kind, entry) for upstream in upstreams.all for entry in upstream.requests)
    return [f"{kind}{entry.path}" for kind, entry in requests if entry.status is not None]


def twice(paths: list[str]) -> list[str]:
    return [path for path, times in Counter(paths).items() if times > 1]


def test_a_run_is_killed(site: Site, upstreams: Upstreams) -> None:
    """A killed run loses its current fetches at most; the next run does the rest, and these after their leases."""
    with run(site) as first:
        wait_until(lambda: len(asked(upstreams)) > 30, LONGEST, "the first run is in its midst")
        first.kill()
    in_flight = site.claims
    assert len(in_flight) <= WORKERS
    assert run(site).wait(LONGEST) == 0
    assert {line.partition(":")[0] for line in site.behind} <= {package for package, _ in in_flight}
    site.end_all_leases()
    assert run(site).wait(LONGEST) == 0
    assert site.behind == []
    assert (site.due, site.claims) == ([], set())
    repeated = [key for upstream in upstreams.all for key in upstream.fetches.repeated()]
    assert set(repeated) <= in_flight


def test_two_runs_at_once(site: Site, upstreams: Upstreams) -> None:
    """Two runs never request the same, and all packages are up to date at the end."""
    with run(site) as one, run(site) as other:
        assert (one.wait(LONGEST), other.wait(LONGEST)) == (0, 0), one.said + other.said
    assert twice(asked(upstreams)) == []
    assert site.behind == []
    assert (site.due, site.claims) == ([], set())
    for program in one, other:
        summary = json.loads(program.said.splitlines()[-1])
        assert summary["attempts"] > 0


def test_a_run_begins_while_another_is_in_its_midst(site: Site, upstreams: Upstreams) -> None:
    """Sources that the first run is fetching when the second plans are not fetched again by the second."""
    with run(site) as one:
        wait_until(lambda: len(asked(upstreams)) > 30, LONGEST, "the first run is in its midst")
        with run(site) as other:
            assert (one.wait(LONGEST), other.wait(LONGEST)) == (0, 0), one.said + other.said
    assert twice(asked(upstreams)) == []
    assert site.behind == []
    assert (site.due, site.claims) == ([], set())
