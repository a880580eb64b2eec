"""Lists the parts of a package, each with its server."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial

from django.conf import settings

from core.http import process
from core.http.engine.upstream import Upstream
from core.http.events import OTHER
from core.http.origin import origin_of
from package.models import Package
from package.repos import get_repo_for_repo_url
from package.repos.base import NotARepository
from package.sources import pypi, pypistats
from package.sources.api_server import Server
from package.sources.client import Client
from package.sources.error_answers import left_alone
from package.sources.errors import LeftAlone, Unusable
from package.sources.fields import Reading
from package.sources.sessions import TOKEN

NOWHERE = "repository"
"""The source of a package whose address is not the address of a repository. No request is sent."""


_BY_NAME = frozenset({pypi.SOURCE, pypistats.SOURCE})


@dataclass(frozen=True)
class Part:
    """One part of a package that is fetched separately."""

    source: str
    name: str
    server: Server
    fetch: Callable[[Client], Reading]
    untrusted: bool = False
    missing_since: str = ""
    """The field of the package that stores when the source first did not know the package; "": there is none."""

    @property
    def upstream(self) -> str:
        """The name of the server's upstream in core.http."""
        return OTHER if self.untrusted else process.current().config.name_of(origin_of(self.server.api))

    @property
    def partition(self) -> str:
        """The partition of the upstream in core.http, that is, the credential whose quota the requests use."""
        return TOKEN if self.server.token else ""

    @property
    def known(self) -> Upstream:
        """The upstream in core.http, with the state of this process."""
        where = origin_of(self.server.api)
        return process.current().upstream(where, untrusted=self.untrusted, partition=self.partition)

    def refusal(self) -> tuple[float, LeftAlone] | None:
        """Return the seconds for which calls are refused, and the error to raise; None: a call would be sent now."""
        refused = None if self.source == NOWHERE else self.known.refusal(process.current().runtime.clock())
        if refused is None:
            return None
        retry_at = datetime.now(UTC) + timedelta(seconds=refused.retry_in)
        return refused.retry_in, left_alone(self.server.name, refused.rejection, refused.why, retry_at)

    @property
    def key(self) -> str:
        """The key that parts with the same upstream share: its name; for an upstream named "other", the host."""
        if self.source == NOWHERE:
            return NOWHERE
        upstream = self.upstream
        return origin_of(self.server.api).netloc if upstream == OTHER else upstream


def address_of(package: Package, source: str) -> tuple[str, ...]:
    """Return the values of the fields that identify `package` for `source`.

    If they change during a fetch, its results are dropped.
    """
    return (package.pypi_url,) if source in _BY_NAME else (package.repo_url, package.repo_host)


def parts_of(package: Package) -> list[Part]:
    """Return all parts of `package` that can be fetched."""
    parts = []
    if package.pypi_url.strip():
        server = Server("PyPI", settings.PYPI_URL)
        fetch = partial(pypi.fetch, package.pypi_url, package.pypi_name)
        parts.append(Part(pypi.SOURCE, "", server, fetch, missing_since="pypi_missing_since"))
        if package.pypi_name:
            server = Server("PyPI's download statistics", settings.PYPISTATS_URL)
            parts.append(Part(pypistats.SOURCE, "", server, partial(pypistats.fetch, package.pypi_name)))
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
            missing_since="" if number else "repo_missing_since",  # the first part shows whether a repository exists
        )
        for number, (name, fetch) in enumerate(repository.parts.items())
    ]


def _refuse(why: str, _: Client) -> Reading:
    raise Unusable(why, "not_a_repository")
