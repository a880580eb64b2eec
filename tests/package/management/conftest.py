"""Management commands run as `manage.py` runs them, GitHub's API with canned answers, and package examples."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.core.management import execute_from_command_line
from django.db import connections
from responses import RequestsMock

from package.models import Package, PackageExample

Command = Callable[..., int]
MakeExample = Callable[..., PackageExample]
GITHUB = "https://api.github.test"
EXAMPLE_URL = "https://example.test/page"


@pytest.fixture
def manage(monkeypatch: pytest.MonkeyPatch, db: None) -> Command:
    """Run a command as manage.py does, ``manage("update_packages", "--json")``; return its exit status."""
    # A command closes the database connections at its end, but the test's transaction needs one of them.
    monkeypatch.setattr(type(connections), "close_all", lambda _: None)

    def run(*args: str) -> int:
        try:
            # The checks of models and URLs take longer than most commands. Tests of processes run them.
            execute_from_command_line(["manage.py", *args, "--skip-checks"])
        except SystemExit as exc:
            return int(exc.code or 0)
        return 0

    return run


@pytest.fixture
def update_packages(manage: Command) -> Command:
    """Run update_packages with one thread."""
    return lambda *args: manage("update_packages", "--workers=1", *args)


@pytest.fixture
def cleanup(manage: Command) -> Command:
    """Run cleanup_github_projects."""
    return lambda *args: manage("cleanup_github_projects", *args)


@pytest.fixture
def check(manage: Command) -> Command:
    """Run check_package_examples."""
    return lambda *args: manage("check_package_examples", *args)


class CannedGitHub:
    """GitHub's API, at the address in the tests' settings."""

    def __init__(self, mock: RequestsMock) -> None:
        self.mock = mock

    @staticmethod
    def url(path: str) -> str:
        return f"{GITHUB}/repos/{path}"

    def has(self, path: str, **more: Any) -> None:
        self.mock.upsert("GET", self.url(path), json={"full_name": path, **more})

    def moved(self, before: str, after: str, number: int = 7) -> None:
        """Answer as GitHub does for a moved repository: with a redirect to the repository's number."""
        there = f"{GITHUB}/repositories/{number}"
        self.mock.upsert("GET", self.url(before), status=301, headers={"Location": there}, json={"message": "Moved"})
        self.mock.upsert("GET", there, json={"full_name": after})

    def answers(self, path: str, status: int, **kwargs: Any) -> None:
        self.mock.upsert("GET", self.url(path), status=status, **kwargs)

    def during(self, path: str, action: Callable[[], object]) -> None:
        """Call `action` while a request for `path` is in progress, then answer."""

        def answer(_: object) -> tuple[int, dict[str, str], str]:
            action()
            return 200, {}, json.dumps({"full_name": path})

        self.mock.remove("GET", self.url(path))
        self.mock.add_callback("GET", self.url(path), answer)

    @property
    def asked(self) -> list[str]:
        """The repositories that were requested, in order."""
        paths = [urlsplit(str(call.request.url)).path for call in self.mock.calls]
        return [path.removeprefix("/repos/") for path in paths if path.startswith("/repos/")]


@pytest.fixture
def github(responses: RequestsMock) -> CannedGitHub:
    return CannedGitHub(responses)


def repo_urls() -> dict[str, str]:
    """Return the stored address of each package's repository, by slug."""
    return dict(Package.objects.values_list("slug", "repo_url"))


@pytest.fixture
def make_example(package: Package) -> MakeExample:
    """Make examples, by default of the package "fortune"."""

    def make(url: str = EXAMPLE_URL, **fields: Any) -> PackageExample:
        return PackageExample.objects.create(**{"package": package, "title": "A site", "url": url, **fields})

    return make


@pytest.fixture
def example(make_example: MakeExample) -> PackageExample:
    return make_example()


def asked(responses: RequestsMock) -> list[str]:
    """Return the URLs that were requested, in order."""
    return [str(call.request.url) for call in responses.calls]
