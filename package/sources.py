"""What a package is asked about, and whom: each part of it on its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

from django.conf import settings

from core.http import ResilientSession, process
from core.http.events import OTHER
from core.http.origin import origin_of
from package import downloads, pypi
from package.asking import Client, Server
from package.credentials import ApiSession
from package.errors import Unusable
from package.models import Package
from package.reading import Reading
from package.repos import get_repo_for_repo_url
from package.repos.base import NotARepository

NOWHERE = "repository"
"""The source of a package whose address is none of a repository: nobody is asked."""


_BY_NAME = frozenset({pypi.SOURCE, downloads.SOURCE})


@dataclass(frozen=True)
class Sessions:
    """What sources are asked through."""

    trusted: ResilientSession = field(default_factory=ApiSession)
    untrusted: ResilientSession = field(default_factory=lambda: ResilientSession(untrusted=True))
    """For servers that users name."""
    before: Callable[[], object] = lambda: None
    """Called before each question; what it raises ends the work."""

    @contextmanager
    def within(self, seconds: float) -> Iterator[None]:
        """Give all that is asked inside one total deadline together."""
        with self.trusted.within(seconds), self.untrusted.within(seconds):
            yield

    def close(self) -> None:
        self.trusted.close()
        self.untrusted.close()


@dataclass(frozen=True)
class Part:
    """One thing to fetch."""

    source: str
    name: str
    server: Server
    fetch: Callable[[Client], Reading]
    untrusted: bool = False
    missing_since: str = ""
    """The package's field that tells since when the source does not know it; "" where there is none."""

    @property
    def upstream(self) -> str:
        """The name under which core.http knows the server."""
        return OTHER if self.untrusted else process.current().config.name_of(origin_of(self.server.api))

    @property
    def key(self) -> str:
        """What stands and falls together: the upstream; of those without a name, the host."""
        if self.source == NOWHERE:
            return NOWHERE
        upstream = self.upstream
        return origin_of(self.server.api).netloc if upstream == OTHER else upstream


def address_of(package: Package, source: str) -> tuple[str, ...]:
    """Return where `source` is asked about `package`: what comes is of no use once that has changed."""
    return (package.pypi_url,) if source in _BY_NAME else (package.repo_url, package.repo_host)


def parts_of(package: Package) -> list[Part]:
    """Return everything that can be fetched of `package`."""
    parts = []
    if package.pypi_url.strip():
        server = Server("PyPI", settings.PYPI_URL)
        fetch = partial(pypi.fetch, package.pypi_url, package.pypi_name)
        parts.append(Part(pypi.SOURCE, "", server, fetch, missing_since="pypi_missing_since"))
        if package.pypi_name:
            server = Server("PyPI's download statistics", settings.PYPISTATS_URL)
            parts.append(Part(downloads.SOURCE, "", server, partial(downloads.fetch, package.pypi_name)))
    if package.repo_url.strip():
        parts += _parts_of_repository(package)
    return parts


def _parts_of_repository(package: Package) -> list[Part]:
    try:
        repository = get_repo_for_repo_url(package.repo_url, package.repo_host)
    except NotARepository as exc:
        return [Part(NOWHERE, "", Server("The repository", settings.GITHUB_API_URL), partial(_refuse, str(exc)))]
    return [
        Part(
            repository.source,
            name,
            repository.server,
            partial(fetch, repository),
            untrusted=repository.untrusted,
            missing_since="" if number else "repo_missing_since",  # what is gone has no first part either
        )
        for number, (name, fetch) in enumerate(repository.parts.items())
    ]


def _refuse(why: str, _: Client) -> Reading:
    raise Unusable(why, "not_a_repository")
