"""Workers, the broker and the database are killed again and again, while packages are refreshed through Celery."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from random import Random
from typing import Any

import pytest
from django.utils import timezone

from package.models import Package
from package.sources.package_parts import parts_of
from tests.servers.celery import beat, worker
from tests.servers.common import wait_until
from tests.servers.postgresql import PostgreSQL, running_postgresql
from tests.servers.program import Program
from tests.servers.redis import RedisServer, running_redis
from tests.servers.site import Site, database
from tests.upstreams.judging import state
from tests.upstreams.server import Upstreams, serving
from tests.upstreams.world import World

pytestmark = pytest.mark.slow

SEED = int(os.environ.get("CHAOS_SEED", "1"))
KILLS = {"a worker": 3, "the broker": 2, "the database": 3}
PACKAGES = 30
SHARES = {"github": 0.4, "gitlab": 0.2, "bitbucket": 0.2, "codeberg": 0.2}
PATIENCE = 90.0
"""Seconds that the site has to get over what happened to it."""

States = dict[str, dict[tuple[str, str], dict[str, object]]]


class Operator:
    """Starts all services and restarts those that were killed, as Docker does."""

    def __init__(self, site: Site, broker: RedisServer, postgresql: PostgreSQL, chance: Random) -> None:
        self._site = site
        self._broker = broker
        self._postgresql = postgresql
        self._chance = chance
        self._workers = [self._worker(number) for number in (0, 1)]
        self._beat = self._start_beat()

    def kill(self, victim: str) -> None:
        if victim == "a worker":
            number = self._chance.randrange(2)
            self._workers[number].kill()
            self._workers[number] = self._worker(number)
        else:
            server = self._broker if victim == "the broker" else self._postgresql
            server.kill()
            time.sleep(self._chance.uniform(0, 1.0))  # as long as it is away
            server.start()

    def tend(self) -> None:
        """Restart services that ended by themselves, as a worker may when it loses its broker."""
        for number, program in enumerate(self._workers):
            if program.ended:
                self._workers[number] = self._worker(number)
        if self._beat.ended:
            self._beat = self._start_beat()

    def close(self) -> None:
        for program in (*self._workers, self._beat):
            program.kill()

    def _start_beat(self) -> Program:
        return beat(self._site.environment, self._site.log("beat"))

    def _worker(self, number: int) -> Program:
        name = f"worker{number}"
        return worker(self._site.environment, self._site.log(name), name=name)


@pytest.fixture
def upstreams() -> Iterator[Upstreams]:
    with serving(World(PACKAGES, shares=SHARES), latency=0.03) as upstreams:
        yield upstreams


@pytest.fixture
def postgresql() -> Iterator[PostgreSQL]:
    with running_postgresql(connections=40) as server:
        yield server


@pytest.fixture
def broker() -> Iterator[RedisServer]:
    with running_redis(keep=True) as server:
        yield server


@pytest.fixture
def site(
    upstreams: Upstreams, postgresql: PostgreSQL, broker: RedisServer, tmp_path: Path, django_db_blocker: Any
) -> Iterator[Site]:
    with django_db_blocker.unblock(), database(postgresql.url):
        patient = {"TOO_MANY_DEATHS": "1000"}  # no package is to be put off because it was hit twice by chance
        site = Site(upstreams, tmp_path, postgresql.url, CELERY_BROKER_URL=broker.url, **patient)
        site.fill()
        yield site


def test_after_kills_at_random_times(
    site: Site, upstreams: Upstreams, broker: RedisServer, postgresql: PostgreSQL
) -> None:
    """After kills at random times, all packages are up to date, nothing was fetched twice at once or half stored."""
    chance = Random(SEED)
    victims = [victim for victim, times in KILLS.items() for _ in range(times)]
    chance.shuffle(victims)
    operator = Operator(site, broker, postgresql, chance)
    before: States = {}
    try:
        while victims:
            began = timezone.now()
            while victims and _goes_on_for(chance.randint(10, 40), site, upstreams, operator):
                operator.kill(victims.pop())
                _check_what_is_stored(site, upstreams.world, before, began)
            _goes_on_for(None, site, upstreams, operator)
            assert site.behind == []
            _check_the_ledger(site)
            before = _states(upstreams.world)
            for package in upstreams.world.packages:
                upstreams.world.change(package)
            if victims:
                site.make_everything_due()
    finally:
        operator.close()
    assert [each for upstream in upstreams.all for each in upstream.fetches.at_once()] == []


def _goes_on_for(requests: int | None, site: Site, upstreams: Upstreams, operator: Operator) -> bool:
    """Wait for this number of further requests; return False if all work is done. None: wait for that."""

    def asked() -> int:
        return sum(len(upstream.requests) for upstream in upstreams.all)

    enough = math.inf if requests is None else asked() + requests

    def enough_or_done() -> bool:
        operator.tend()
        return asked() >= enough or site.settled()

    wait_until(enough_or_done, PATIENCE, f"{requests or 'all'} more requests are made", every=0.1)
    return asked() >= enough


def _states(world: World) -> States:
    return {package.slug: state(world, package) for package in world.packages}


def _check_what_is_stored(site: Site, world: World, before: States, began: datetime) -> None:
    """Assert that all fields of each part have the server's values at the time of the fetch in its source status."""
    now = _states(world)
    for package in site.packages:
        last = {(row.source, row.part): row.last_success for row in package.sources.all()}
        for part, fields in now[package.slug].items():
            fetched = last.get(part)
            if fetched is not None:
                expected = fields if fetched >= began else before[package.slug][part]
                assert {name: _value(package, name) for name in fields} == expected, f"{package.slug}: {part}"


def _value(package: Package, name: str) -> object:
    value: object = package
    for each in name.split("."):
        value = getattr(value, each)
    return value


def _check_the_ledger(site: Site) -> None:
    """Assert that each part has a row that is due in the future, and the package is due with the first."""
    now = timezone.now()
    for package in site.packages:
        rows = list(package.sources.all())
        parts = [(part.source, part.name) for part in parts_of(package)]
        assert sorted((row.source, row.part) for row in rows) == sorted(parts)
        dues = [row.next_due for row in rows if row.next_due is not None and row.next_due > now]
        assert len(dues) == len(rows)
        assert package.next_due == min(dues)
