"""What a package is asked about, and whom: each part of it on its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Self

from django.conf import settings

from core.http import Policy, ResilientSession, process
from core.http.engine.upstream import Upstream
from core.http.events import OTHER
from core.http.origin import origin_of
from package import downloads, pypi
from package.asking import Client, Server
from package.credentials import ApiSession
from package.errors import LeftAlone, Unusable
from package.models import Package, SourceStatus
from package.reading import Reading
from package.refusing import left_alone
from package.repos import get_repo_for_repo_url
from package.repos.base import NotARepository

NOWHERE = "repository"
"""The source of a package whose address is none of a repository: nobody is asked."""


_BY_NAME = frozenset({pypi.SOURCE, downloads.SOURCE})


TOKEN = "token"  # noqa: S105 - a name for it
"""The partition of `core.http` for calls with a token: their quota is one of its own. "": for those without."""


@dataclass(frozen=True)
class Sessions:
    """What sources are asked through."""

    trusted: ResilientSession = field(default_factory=ApiSession)
    untrusted: ResilientSession = field(default_factory=partial(ResilientSession, untrusted=True))
    """For servers that users name."""
    before: Callable[[], object] = lambda: None
    """Called before each question; what it raises ends the work."""
    with_token: ResilientSession = field(default_factory=partial(ApiSession, partition=TOKEN))
    """For servers that know us by a token; `trusted` is for the others, and for what such a token may not see."""

    @classmethod
    def made(
        cls,
        policy: Policy | None = None,
        *,
        wait: Callable[[float], object] | None = None,
        before: Callable[[], object] = lambda: None,
    ) -> Self:
        """Make all of them alike. `policy`, `wait`: as of `ResilientSession`."""
        return cls(
            ApiSession(policy, wait=wait),
            ResilientSession(policy, untrusted=True, wait=wait),
            before,
            ApiSession(policy, wait=wait, partition=TOKEN),
        )

    def client(self, server: Server, row: SourceStatus | None = None, *, untrusted: bool = False) -> Client:
        """Make a client for `server`, which knows what the last one left in `row`."""
        session = self.untrusted if untrusted else self.with_token if server.token else self.trusted
        anonymous = self.trusted if server.token and not untrusted else None
        known, memory = (row.validators, row.memory) if row is not None else (None, None)
        return Client(session, server, known, memory, self.before, anonymous)

    @contextmanager
    def within(self, seconds: float) -> Iterator[None]:
        """Give all that is asked inside one total deadline together."""
        with ExitStack() as stack:
            for session in self._all:
                stack.enter_context(session.within(seconds))
            yield

    def close(self) -> None:
        for session in self._all:
            session.close()

    @property
    def _all(self) -> tuple[ResilientSession, ...]:
        return self.trusted, self.with_token, self.untrusted


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
    def partition(self) -> str:
        """Whose quota of the upstream it uses up, as core.http knows it."""
        return TOKEN if self.server.token else ""

    @property
    def known(self) -> Upstream:
        """What this process knows of the server."""
        where = origin_of(self.server.api)
        return process.current().upstream(where, untrusted=self.untrusted, partition=self.partition)

    def refusal(self) -> tuple[float, LeftAlone] | None:
        """Return what a call would raise now, and for how many seconds yet; None: it may be sent."""
        refused = None if self.source == NOWHERE else self.known.refusal(process.current().runtime.clock())
        if refused is None:
            return None
        retry_at = datetime.now(UTC) + timedelta(seconds=refused.retry_in)
        return refused.retry_in, left_alone(self.server.name, refused.rejection, refused.why, retry_at)

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
