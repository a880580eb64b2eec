"""Runs without Redis, as a broker and as a cache."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.servers.celery import worker
from tests.servers.common import LONGEST, free_port, wait_until
from tests.servers.redis import running_redis
from tests.servers.site import Site, database
from tests.upstreams.server import Upstreams, serving
from tests.upstreams.world import World

pytestmark = pytest.mark.slow


@pytest.fixture
def upstreams() -> Iterator[Upstreams]:
    shares = {"github": 0.4, "gitlab": 0.2, "bitbucket": 0.2, "codeberg": 0.2}
    with serving(World(12, shares=shares)) as upstreams:
        upstreams.github.pending = 0
        yield upstreams


@pytest.fixture
def site(upstreams: Upstreams, tmp_path: Path, django_db_blocker: Any) -> Iterator[Site]:
    nowhere = f"redis://127.0.0.1:{free_port()}"
    url = f"sqlite:///{tmp_path / 'site.sqlite3'}"
    with django_db_blocker.unblock(), database(url):
        site = Site(upstreams, tmp_path, url, CELERY_BROKER_URL=f"{nowhere}/0", CACHE_URL=f"{nowhere}/1")
        site.fill()
        yield site


def test_threads_need_none(site: Site) -> None:
    """A run with threads does all of its work."""
    site.run("update_packages", "--workers=4")
    assert site.behind == []
    assert (site.due, site.claims) == ([], set())


def test_queueing_fails_and_is_done_later(site: Site) -> None:
    """A run with --celery ends soon and says what is missing; queued work is done when Redis is back."""
    began = time.monotonic()
    with site.start("update_packages", "--celery") as queueing:
        assert queueing.wait(LONGEST) == 1
    assert time.monotonic() - began < 30
    assert "The broker at CELERY_BROKER_URL cannot be reached" in queueing.said
    assert "Traceback" not in queueing.said
    assert site.claims
    with running_redis() as broker:
        environment = {**site.environment, "CELERY_BROKER_URL": broker.url}
        with worker(environment, site.log("worker")) as works:
            site.environment = environment
            site.run("update_packages", "--celery")
            wait_until(site.settled, LONGEST, "all is done", every=0.1)
            assert not works.ended
    assert site.behind == []
