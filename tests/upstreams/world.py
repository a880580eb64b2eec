"""Generated packages, the same at every run; 50,000 of them take a second or two.

One thread at a time may change a world; others may read it meanwhile.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random

from tests.upstreams.projects import FakeProject
from tests.upstreams.repositories import FakeRepo

SHARES = {"github": 0.60, "gitlab": 0.12, "bitbucket": 0.08, "codeberg": 0.12, "forgejo": 0.08}
HOSTS = {
    "github": "https://github.com",
    "gitlab": "https://gitlab.com",
    "bitbucket": "https://bitbucket.org",
    "codeberg": "https://codeberg.org",
    "forgejo": "https://forgejo.example",
}
"""Addresses of the repositories' pages; the last one is replaced by the address of the simulated server."""

_QUALITIES = ("amber", "brisk", "calm", "dapper", "eager", "fancy", "gentle", "humble", "jolly", "keen", "lucid")
_THINGS = ("admin", "auth", "blog", "cache", "charts", "comments", "fields", "forms", "gallery", "menus", "polls")


@dataclass(frozen=True, slots=True)
class FakePackage:
    """A package as a site lists it, with the first name of its repository."""

    slug: str
    title: str
    pypi: str
    """ "": not on PyPI."""
    kind: str
    """ "": on PyPI only."""
    owner: str
    name: str

    @property
    def full_name(self) -> str:
        return f"{self.owner}/{self.name}"

    def repo_url(self, forgejo: str = HOSTS["forgejo"]) -> str:
        """Return the URL of its page; "" without a repository. `forgejo`: the address of the self-hosted one."""
        host = forgejo if self.kind == "forgejo" else HOSTS.get(self.kind, "")
        return f"{host}/{self.full_name}" if host else ""


class World:
    def __init__(
        self,
        packages: int,
        *,
        seed: int = 1,
        now: datetime | None = None,
        shares: Mapping[str, float] = SHARES,
    ) -> None:
        self.now = (now or datetime.now(UTC)).replace(microsecond=0)
        self.packages: list[FakePackage] = []
        self._now = int(self.now.timestamp())
        self._repos: dict[tuple[str, str], FakeRepo] = {}
        self._by_id: dict[int, FakeRepo] = {}
        self._projects: dict[str, FakeProject] = {}
        chance = Random(seed)
        kinds = chance.choices(list(shares), list(shares.values()), k=packages)
        for number, kind in enumerate(kinds):
            self.packages.append(self._make_package(chance, number, kind))

    def project(self, name: str) -> FakeProject | None:
        """Return the one of this normalized name."""
        return self._projects.get(name)

    def repo(self, kind: str, full_name: str) -> FakeRepo | None:
        """Return the one that is, or once was, called so; it may be called something else today."""
        return self._repos.get((kind, full_name.lower()))

    def repo_by_id(self, kind: str, number: int) -> FakeRepo | None:
        repo = self._by_id.get(number)
        return repo if repo and repo.kind == kind else None

    def change(self, package: FakePackage) -> None:
        """Let there be one more commit, star, release and download."""
        self._now += 1
        if repo := self.repo(package.kind, package.full_name):
            repo.pushed = (*repo.pushed, self._now)
            repo.stars += 1
        if project := self.project(package.pypi):
            project.released = (*project.released, self._now)
            project.last_month += 30

    def rename(self, kind: str, old: str, new: str) -> None:
        """Call a repository `new`; it is still found as `old`."""
        repo = self._repos[kind, old.lower()]
        repo.owner, _, repo.name = new.rpartition("/")
        self._repos[kind, new.lower()] = repo

    def add(self, pypi: str, kind: str, full_name: str) -> None:
        """Add this project and this repository, which are not in `packages`."""
        chance = Random(full_name)
        self._make_project(chance, re.sub(r"[-_.]+", "-", pypi).lower())
        repo = self._make_repo(chance, 500_000 + len(self._by_id), kind, "django-sample-app", empty=False)
        self.rename(kind, repo.full_name, full_name)

    def make_empty(self, kind: str, full_name: str) -> None:
        """Take all commits from a repository."""
        repo = self._repos[kind, full_name.lower()]
        repo.size, repo.pushed = 0, ()

    def _make_package(self, chance: Random, number: int, kind: str) -> FakePackage:
        oddity = chance.random() if number >= 20 else 1.0  # the first are in good order: small worlds are no surprise
        on_pypi_only, on_pypi, empty = oddity < 0.03, not 0.03 <= oddity < 0.06, 0.06 <= oddity < 0.07
        words = chance.choice(_QUALITIES), chance.choice(_THINGS)
        slug, title = "-".join(("django", *words, str(number))), f"Django {' '.join(words).title()} {number}"
        if on_pypi:
            self._make_project(chance, slug)
        if on_pypi_only:
            return FakePackage(slug, title, slug, "", "", "")
        repo = self._make_repo(chance, 1000 + number, kind, slug, empty=empty)
        return FakePackage(slug, title, slug if on_pypi else "", kind, repo.owner, repo.name)

    def _make_repo(self, chance: Random, number: int, kind: str, name: str, *, empty: bool) -> FakeRepo:
        age = timedelta(days=chance.uniform(60, 4500))
        active = age - min(timedelta(days=chance.expovariate(1 / 60)), age / 2)
        size = 0 if empty else min(900, 2 + int(chance.lognormvariate(4.2, 1.1)))
        if size and chance.random() < 0.002:
            size = chance.randint(3000, 8000)
        repo = FakeRepo(
            id=number,
            kind=kind,
            owner=f"{name.split('-')[1]}-{chance.choice(('labs', 'org', 'tools'))}",
            name=name,
            description=f"Better {name.split('-')[2]}, and then some…",
            stars=int(chance.lognormvariate(3, 1.5)),
            forks=int(chance.lognormvariate(1.5, 1.2)),
            people=1 + min(size // 3, int(chance.lognormvariate(1.5, 1))),
            born=self._now - int(age.total_seconds()),
            size=size,
            pace=max(1, int(active.total_seconds()) // max(1, size)),
            archived_at=self.now - (age - active) / 2 if chance.random() < 0.04 else None,
        )
        if chance.random() < 0.5:
            repo.owner = repo.person(0).login or repo.owner
        elif kind == "gitlab":
            repo.owner += "/apps"
        self._repos[kind, repo.full_name.lower()] = repo
        self._by_id[number] = repo
        return repo

    def _make_project(self, chance: Random, name: str) -> None:
        age = int(chance.uniform(60, 4000)) * 86400
        made = 1 + min(59, int(chance.lognormvariate(1.8, 0.9)))
        self._projects[name] = FakeProject(
            name=name,
            license=chance.choice(("MIT", "BSD", "Apache Software")),
            requires_python=chance.choice((">=3.8", ">=3.10", ">=3.12")),
            status=chance.choice(("3 - Alpha", "4 - Beta", "5 - Production/Stable")),
            last_month=int(chance.lognormvariate(7, 2)),
            born=self._now - age,
            made=made,
            pace=age // made,
        )
