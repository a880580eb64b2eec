"""The stored data of a site, compared with those of the servers."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from tests.upstreams.world import FakePackage, World


def differences(world: World, package: FakePackage, stored: Any) -> Iterable[str]:
    """Return the fields of a package that are not up to date. `stored`: the site's `Package`."""
    project = world.project(package.pypi) if package.pypi else None
    version = getattr(stored.latest_version, "number", None)
    if project:
        yield from _names(
            version=version == project.version,
            classifiers=bool(stored.pypi_classifiers),
            downloads=stored.pypi_downloads == project.last_month,
        )
    repo = world.repo(package.kind, package.full_name) if package.kind else None
    if repo:
        named = any(each.person.login for each in repo.contributors)
        recent = any(commit.date > world.now - timedelta(weeks=50) for commit in repo.commits[:1])
        newest = repo.commits[0].date if len(repo.commits) else None
        yield from _names(
            commits=stored.commit_count == len(repo.commits) and stored.last_commit_date == newest,
            description=stored.repo_description == repo.description,
            stars=stored.repo_watchers == repo.stars or package.kind == "bitbucket",
            forks=stored.repo_forks == repo.forks,
            participants=bool(stored.participants) or not named,
            **{"weekly commits": sum(stored.commits_over_52w) > 0 or not recent},
        )


def state(world: World, package: FakePackage) -> dict[tuple[str, str], dict[str, object]]:
    """Return the fields of the site's `Package` that change with the world, with their values, by source and part."""
    told: dict[tuple[str, str], dict[str, object]] = {}
    if project := world.project(package.pypi):
        told["pypi", ""] = {"latest_version.number": project.version}
        told["pypistats", ""] = {"pypi_downloads": project.last_month}
    repo = world.repo(package.kind, package.full_name)
    if repo and package.kind != "bitbucket":  # which has no stars, and counts its commits from page to page
        told[package.kind, "metadata"] = {"repo_watchers": repo.stars}
        newest = repo.commits[0].date if len(repo.commits) else None
        told[package.kind, "commits"] = {"commit_count": len(repo.commits), "last_commit_date": newest}
    return told


def _names(**right: bool) -> Iterable[str]:
    return (name for name, is_right in right.items() if not is_right)
