"""All upstreams at once, in one thread.

Their data are those of the world; their behavior can be changed at any time:

    with serving(World(100)) as upstreams:
        upstreams.github.latency = 0.05
        requests.get(f"{upstreams.github.url}/repos/…")
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta, timezone

from tests.upstreams.bitbucket import Bitbucket
from tests.upstreams.forgejo import Forgejo
from tests.upstreams.github import GitHub
from tests.upstreams.gitlab import GitLab
from tests.upstreams.index import PyPI, PyPIStats
from tests.upstreams.upstream import Upstream
from tests.upstreams.world import HOSTS, FakePackage, World


class Codeberg(Forgejo):
    host = HOSTS["codeberg"]
    zone = timezone(timedelta(hours=1))


@dataclass(frozen=True)
class Upstreams:
    world: World
    pypi: PyPI
    pypistats: PyPIStats
    github: GitHub
    gitlab: GitLab
    bitbucket: Bitbucket
    codeberg: Forgejo
    forgejo: Forgejo

    @property
    def all(self) -> tuple[Upstream, ...]:
        return (self.pypi, self.pypistats, *self.forges)

    @property
    def forges(self) -> tuple[Upstream, ...]:
        return (self.github, self.gitlab, self.bitbucket, self.codeberg, self.forgejo)

    @property
    def environment(self) -> dict[str, str]:
        """The environment variables of a process that calls these servers and no others."""
        return {
            "PYPI_URL": self.pypi.url,
            "PYPISTATS_URL": self.pypistats.url,
            "GITHUB_API_URL": self.github.url,
            "GITLAB_URL": self.gitlab.url,
            "BITBUCKET_API_URL": f"{self.bitbucket.url}/2.0",
            "CODEBERG_URL": self.codeberg.url,
            "FORGEJO_URL": self.forgejo.url,
        }

    def repo_url(self, package: FakePackage) -> str:
        """Return the URL of its page, as people give it; "" without a repository."""
        return package.repo_url(self.forgejo.url)

    def clear(self) -> None:
        """Delete the recorded requests."""
        for upstream in self.all:
            upstream.requests.clear()


@contextmanager
def serving(world: World, *, latency: float = 0.0, remember: bool = True) -> Iterator[Upstreams]:
    """Serve `world` from a thread. An answer takes `latency` seconds; `remember`: log requests, not only count them."""

    def make(cls: type[Upstream], kind: str = "") -> Upstream:
        return cls(world, kind, latency=latency, remember=remember)

    kinds = {"github": GitHub, "gitlab": GitLab, "bitbucket": Bitbucket, "codeberg": Codeberg, "forgejo": Forgejo}
    forges = {kind: make(cls, kind) for kind, cls in kinds.items()}
    upstreams = Upstreams(world, make(PyPI), make(PyPIStats), **forges)  # type: ignore[arg-type]
    with asyncio.Runner() as runner:
        runner.run(_start(upstreams))
        loop = runner.get_loop()
        thread = threading.Thread(target=loop.run_forever, name="upstreams")
        thread.start()
        try:
            yield upstreams
        finally:
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            runner.run(_stop(upstreams))


async def _start(upstreams: Upstreams) -> None:
    for upstream in upstreams.all:
        await upstream.start()


async def _stop(upstreams: Upstreams) -> None:
    await asyncio.gather(*(upstream.stop() for upstream in upstreams.all))
