"""Packages, a PyPI with canned answers and no network, and parts with the results that a test wants."""

from __future__ import annotations

import re
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import pytest
import responses as responses_library
from django.db import connections

from package.models import Category, Package
from package.sources import package_parts
from package.sources.api_server import Server
from package.sources.client import Client
from package.sources.errors import LeftAlone, Unreachable
from package.sources.fetch_results import FetchResult
from package.sources.fields import Reading
from package.sources.package_parts import Part
from tests.upstreams.pypi import project

MakePackage = Callable[..., Package]
T = TypeVar("T")
DEADLINE = 60.0
"""Seconds after which a thread that is waited for will not come any more."""
STATISTICS = re.compile(r"https://pypistats\.test/")


class CannedPyPI:
    """PyPI at the address in the tests' settings. Its answers for a project can be changed at any time.

    The download statistics answer, unless a test changes that.
    """

    def __init__(self, mock: responses_library.RequestsMock) -> None:
        self.mock = mock
        mock.get(STATISTICS, json={"data": {"last_month": 1000}})

    @staticmethod
    def url(name: str) -> str:
        return f"https://pypi.test/pypi/{name}/json"

    def knows(self, name: str, **info: Any) -> None:
        """Answer with a valid project; `info` replaces parts of its info."""
        self.says(name, project(name, **info))

    def says(self, name: str, data: Any, **kwargs: Any) -> None:
        """Answer with `data` as JSON."""
        self.mock.upsert("GET", self.url(name), json=data, **kwargs)

    def answers(self, name: str, status: int, **kwargs: Any) -> None:
        self.mock.upsert("GET", self.url(name), status=status, **kwargs)

    def breaks(self, name: str, error: Exception) -> None:
        """Raise `error` in place of an answer."""
        self.mock.upsert("GET", self.url(name), body=error)

    def calls(self, name: str, callback: Callable[[Any], tuple[int, dict[str, str], str]]) -> None:
        """Answer with the result of `callback` for the request."""
        self.mock.remove("GET", self.url(name))
        self.mock.add_callback("GET", self.url(name), callback=callback)

    def statistics_answer(self, status: int, **kwargs: Any) -> None:
        """Answer requests for downloads with this."""
        self.mock.upsert("GET", STATISTICS, status=status, **kwargs)

    @property
    def asked(self) -> list[str]:
        """The names that were asked for, in order; retries included, downloads not."""
        urls = [urlsplit(str(call.request.url)) for call in self.mock.calls]
        return [url.path.split("/")[2] for url in urls if url.hostname == "pypi.test"]


def of(results: Iterable[FetchResult], source: str = "pypi") -> FetchResult:
    """Return the result of a source that has one part."""
    [result] = [result for result in results if result.source == source]
    return result


def stub(
    name: str,
    *answers: Reading | Exception | Callable[[Client], Reading],
    source: str = "stub",
    api: str = "https://stub.test",
    missing_since: str = "",
    untrusted: bool = False,
) -> Part:
    """Make a part whose fetches return or raise each of `answers` in turn, then the last one again and again."""
    left = list(answers)

    def fetch(client: Client) -> Reading:
        answer = left.pop(0) if len(left) > 1 else left[0]
        client.status = None if isinstance(answer, Unreachable | LeftAlone) else 200
        if isinstance(answer, Exception):
            raise answer
        return answer if isinstance(answer, Reading) else answer(client)

    return Part(source, name, Server("The stub", api), fetch, untrusted, missing_since)


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch) -> list[Part]:
    """Return the list of the parts of every package: empty until a test adds its own parts."""
    own: list[Part] = []
    monkeypatch.setattr(package_parts, "parts_of", lambda _: list(own))
    return own


@pytest.fixture
def netrc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Create a netrc with a password for every server."""
    path = tmp_path / "netrc"
    path.write_text("default login me password mine\n")
    monkeypatch.setenv("NETRC", str(path))


@pytest.fixture
def responses() -> Iterator[responses_library.RequestsMock]:
    with responses_library.RequestsMock(assert_all_requests_are_fired=False) as mock:
        yield mock


@pytest.fixture
def pypi(responses: responses_library.RequestsMock) -> CannedPyPI:
    return CannedPyPI(responses)


@pytest.fixture
def shared_database(transactional_db: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let each thread have a connection of its own: on SQLite, to a file with the tables of the test database."""
    own = connections["default"]
    if own.vendor != "sqlite":
        yield
        return
    settings = {**own.settings_dict, "NAME": str(tmp_path / "db.sqlite3")}
    own.ensure_connection()
    with closing(sqlite3.connect(settings["NAME"])) as file:
        own.connection.backup(file)
    monkeypatch.setitem(connections.settings, "default", settings)
    connections["default"] = shared = type(own)(settings, "default")
    yield
    shared.close()
    connections["default"] = own


def at_once(*actions: Callable[[], T]) -> list[T]:
    """Run all of these actions at the same time, each in its own thread; return their results."""
    barrier = threading.Barrier(len(actions))

    def act(action: Callable[[], T]) -> T:
        try:
            barrier.wait(DEADLINE)
            return action()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(len(actions)) as threads:
        futures = [threads.submit(act, action) for action in actions]
        return [future.result(DEADLINE) for future in futures]


@pytest.fixture
def category(db: None) -> Category:
    return Category.objects.create(title="App", slug="app")


@pytest.fixture
def make_package(category: Category) -> MakePackage:
    """Make packages: ``make_package("fortune", score=3)``."""

    def make(slug: str = "fortune", **fields: Any) -> Package:
        return Package.objects.create(
            **{"title": slug.capitalize(), "slug": slug, "category": category, "pypi_url": slug, **fields}
        )

    return make


@pytest.fixture
def package(make_package: MakePackage) -> Package:
    return make_package("fortune")
