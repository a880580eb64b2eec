"""Repositories on simulated servers of all hosts, with one set of data and one server per test file."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest
from pytest_django import Settings

from core.http import ResilientSession
from package.repos import Repository, get_repo_for_repo_url
from package.sources.client import Client
from package.sources.fields import Reading
from tests.upstreams.repositories import FakeRepo
from tests.upstreams.server import Upstreams, serving
from tests.upstreams.upstream import Upstream
from tests.upstreams.world import FakePackage, World

KINDS = ("github", "gitlab", "bitbucket", "codeberg", "forgejo")


@pytest.fixture(scope="module")
def servers() -> Iterator[Upstreams]:
    with serving(World(800, now=datetime.now(UTC), shares=dict.fromkeys(KINDS, 1))) as upstreams:
        yield upstreams


@pytest.fixture
def upstreams(servers: Upstreams, settings: Settings) -> Iterator[Upstreams]:
    """Return the simulated servers, reset, with settings that use them."""
    for name, value in servers.environment.items():
        setattr(settings, name, value)
    servers.clear()
    yield servers
    for upstream in servers.all:
        upstream.restore()
        upstream.quota = None


@dataclass
class Fetched:
    reading: Reading
    client: Client

    @property
    def values(self) -> dict[str, Any]:
        return self.reading.package

    @property
    def reasons(self) -> dict[str, str]:
        """Why fields were skipped."""
        return {skipped.field: skipped.reason for skipped in self.reading.skipped}


@dataclass
class Case:
    """A repository as the world knows it, and as the site does."""

    world: World
    upstream: Upstream
    package: FakePackage
    fake: FakeRepo
    repository: Repository
    session: ResilientSession

    def client(self, after: Client | None = None) -> Client:
        """Make a client with the validators and memory of the client `after`, as loaded from the database."""
        known, memory = (after.validators, after.memory) if after else (None, None)
        return Client(self.session, self.repository.server, *json.loads(json.dumps([known, memory])))

    def fetch(self, part: str, after: Client | None = None) -> Fetched:
        client = self.client(after)
        return Fetched(self.repository.parts[part](self.repository, client), client)

    def fetch_all(self) -> dict[str, Any]:
        """Fetch all parts, and return their values together."""
        values: dict[str, Any] = {}
        for part in self.repository.parts:
            fetched = self.fetch(part)
            assert not fetched.reasons
            values |= fetched.values
        return values


@pytest.fixture
def session() -> Iterator[ResilientSession]:
    with ResilientSession() as session:
        yield session


MakeCase = Callable[..., Case]


@pytest.fixture
def make_case(upstreams: Upstreams, session: ResilientSession) -> MakeCase:
    """Return a repository of its own for a test, with `least` commits: ``make_case("github", least=100)``."""
    world = upstreams.world

    def make(kind: str, least: int = 2, most: int = 10**9) -> Case:
        for package in world.packages:
            fake = world.repo(package.kind, package.full_name) if package.kind == kind else None
            if fake and fake.id not in _taken(world) and least <= len(fake.commits) <= most:
                _taken(world).add(fake.id)
                fake.archived_at = None
                repository = get_repo_for_repo_url(upstreams.repo_url(package), kind)
                upstream = getattr(upstreams, kind)
                if kind == "github":
                    upstream.pending = 0
                return Case(world, upstream, package, fake, repository, session)
        raise LookupError(kind)

    return make


def _taken(world: World) -> set[int]:
    return world.__dict__.setdefault("taken", set())


def weeks_of(fake: FakeRepo) -> list[int]:
    """Count the commits in each of the last 52 weeks; the last one ends today."""
    weeks, today = [0] * 52, datetime.now(UTC).date()
    for time in fake.commits.times:
        ago = (today - datetime.fromtimestamp(time, UTC).date()).days // 7
        if ago < 52:
            weeks[51 - ago] += 1
    return weeks
