"""Simulated servers of a small world, in which it is always the same Wednesday."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import pytest

from tests.upstreams.repositories import FakeRepo
from tests.upstreams.server import Upstreams, serving
from tests.upstreams.world import FakePackage, World

Pick = Callable[[str], FakePackage]


@pytest.fixture
def world() -> World:
    return World(60, now=datetime(2026, 6, 3, 15, tzinfo=UTC))


@pytest.fixture
def upstreams(world: World) -> Iterator[Upstreams]:
    with serving(world) as upstreams:
        yield upstreams


@pytest.fixture
def pick(world: World) -> Pick:
    """Return the package of a kind whose repository has the most commits: ``pick("github")``."""

    def commits(package: FakePackage) -> int:
        return len(repo_of(world, package).commits)

    return lambda kind: max((package for package in world.packages if package.kind == kind), key=commits)


def repo_of(world: World, package: FakePackage) -> FakeRepo:
    repo = world.repo(package.kind, package.full_name)
    assert repo
    return repo
