"""A package that kills its worker comes last and is postponed; all others are refreshed."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from package.models import SourceStatus
from tests.servers.celery import beat, worker
from tests.servers.common import LONGEST, wait_until
from tests.servers.redis import running_redis
from tests.servers.site import Site, database
from tests.upstreams.faults import BlackHole
from tests.upstreams.server import Upstreams, serving
from tests.upstreams.world import World

pytestmark = pytest.mark.slow

WHY = "PyPI was not asked: in the last fetches of this package the worker process died (killed, or out of memory)"
SHARES = {"github": 0.5, "codeberg": 0.5}


@pytest.fixture
def upstreams() -> Iterator[Upstreams]:
    with serving(World(10, shares=SHARES)) as upstreams:
        upstreams.github.pending = 0
        yield upstreams


@pytest.fixture
def deadly(upstreams: Upstreams) -> str:
    """Return the slug of the package that kills its worker; it is the first in the queue."""
    package = upstreams.world.packages[0]
    upstreams.pypi.fault = BlackHole(on=f"/pypi/{package.pypi}")
    return package.slug


@pytest.fixture
def database_url(tmp_path: Path, django_db_blocker: Any) -> Iterator[str]:
    url = f"sqlite:///{tmp_path / 'site.sqlite3'}"
    with django_db_blocker.unblock(), database(url):
        yield url


def fetched(upstreams: Upstreams, deadly: str) -> int:
    """Count the fetches of the package, each of which has sent a request."""
    return len(upstreams.pypi.fetches.of(deadly, "pypi"))


def behind(site: Site) -> set[str]:
    """Return the packages that are not up to date."""
    return {line.partition(":")[0] for line in site.behind}


def ledger(site: Site, deadly: str) -> SourceStatus | None:
    """Return the source status of PyPI."""
    [package] = [package for package in site.packages if package.slug == deadly]
    return next((row for row in package.sources.all() if row.source == "pypi"), None)


def test_of_the_command(database_url: str, upstreams: Upstreams, deadly: str, tmp_path: Path) -> None:
    """The second run is killed by it too, after all others; the third does not fetch it, and says why."""
    site = Site(upstreams, tmp_path, database_url, DJANGO_SETTINGS_MODULE="tests.servers.hurried.unhurried_settings")
    site.fill()
    with site.start("update_packages", "--workers=6") as first:
        wait_until(lambda: fetched(upstreams, deadly) == 1, LONGEST, "it is asked for")
        first.kill()
    in_hand = {package for package, _ in site.claims}
    site.end_all_leases()
    with site.start("update_packages", "--workers=6") as second:
        wait_until(lambda: fetched(upstreams, deadly) == 2, LONGEST, "it is asked for again")
        assert behind(site) <= in_hand
        second.kill()
    site.end_all_leases()
    said = site.run("update_packages", "--workers=6")
    assert re.search(rf"\] {deadly}: .*pypi failed.* \(.*{re.escape(WHY)}.*\)", said)
    assert f"WARNING package.jobs.fetching: {deadly}: not updated: {WHY}" in said
    assert fetched(upstreams, deadly) == 2
    row = ledger(site, deadly)
    assert row is not None
    assert (row.outcome, row.reason, row.error, row.failures) == ("failed", "worker_died", WHY, 1)
    assert behind(site) == {deadly}
    assert site.queue[-1] == deadly
    upstreams.pypi.fault = None
    site.make_everything_due()
    site.run("update_packages", "--workers=6")
    assert site.behind == []
    row = ledger(site, deadly)
    assert row is not None
    assert (row.reason, row.failures, site.claims) == ("", 0, set())


def test_of_celery(database_url: str, upstreams: Upstreams, deadly: str, tmp_path: Path) -> None:
    """After two deaths the workers no longer fetch it, and all other work is done."""

    def kill_or_done() -> bool:
        for name in upstreams.pypi.fetches.under_way:
            if any(span.name == name for span in upstreams.pypi.fetches.of(deadly, "pypi")):
                with suppress(ProcessLookupError):
                    os.kill(int(name.partition(".")[0]), signal.SIGKILL)
        row = ledger(site, deadly)
        return row is not None and row.reason == "worker_died"

    with running_redis() as broker:
        site = Site(upstreams, tmp_path, database_url, CELERY_BROKER_URL=broker.url)
        site.fill()
        # A worker that notices a death only after the time limit of the task drops the message; `plan` sends another.
        with worker(site.environment, site.log("worker")) as works, beat(site.environment, site.log("beat")):
            site.run("update_packages", "--celery", "--detach")
            wait_until(kill_or_done, 2 * LONGEST, "it is put off", every=0.1)
            wait_until(site.settled, LONGEST, "all is done", every=0.1)
            assert fetched(upstreams, deadly) >= 2
            assert behind(site) == {deadly}
            assert f"WARNING package.jobs.fetching: {deadly}: not updated: {WHY}" in works.said
            upstreams.pypi.fault = None
            site.make_everything_due()
            site.run("update_packages", "--celery")
            assert site.behind == []
            assert not works.ended
