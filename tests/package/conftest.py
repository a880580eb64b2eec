"""Packages, and a PyPI that gives canned answers without a network."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
import responses as responses_library

from package.models import Category, Package
from tests.upstreams.pypi import project

MakePackage = Callable[..., Package]


class CannedPyPI:
    """PyPI as the tests' settings know it. What it says of a project can be changed at any time."""

    def __init__(self, mock: responses_library.RequestsMock) -> None:
        self.mock = mock

    @staticmethod
    def url(name: str) -> str:
        return f"https://pypi.test/pypi/{name}/json"

    def knows(self, name: str, **info: Any) -> None:
        """Answer with a project in good order; `info` replaces parts of its info."""
        self.says(name, project(name, **info))

    def says(self, name: str, data: Any) -> None:
        """Answer with `data` as JSON."""
        self.mock.upsert("GET", self.url(name), json=data)

    def answers(self, name: str, status: int, **kwargs: Any) -> None:
        self.mock.upsert("GET", self.url(name), status=status, **kwargs)

    def breaks(self, name: str, error: Exception) -> None:
        """Raise `error` in place of an answer."""
        self.mock.upsert("GET", self.url(name), body=error)

    def calls(self, name: str, callback: Callable[[Any], tuple[int, dict[str, str], str]]) -> None:
        """Answer with what `callback` makes of the request."""
        self.mock.add_callback("GET", self.url(name), callback=callback)

    @property
    def asked(self) -> list[str]:
        """The names that were asked for, in order; retries included."""
        return [urlsplit(str(call.request.url)).path.split("/")[2] for call in self.mock.calls]


@pytest.fixture
def responses() -> Iterator[responses_library.RequestsMock]:
    with responses_library.RequestsMock(assert_all_requests_are_fired=False) as mock:
        yield mock


@pytest.fixture
def pypi(responses: responses_library.RequestsMock) -> CannedPyPI:
    return CannedPyPI(responses)


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
