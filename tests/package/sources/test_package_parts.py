"""The parts of a package and their servers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import pytest
from pytest_django import Settings
from responses import RequestsMock

from core.http import DeadlineExceeded
from package.jobs.refresh_one import refresh_one
from package.models import Package
from package.repos.base import NotARepository, Repository
from package.sources import package_parts
from package.sources.api_server import Server
from package.sources.client import Client
from package.sources.errors import Unusable
from package.sources.fetch_results import FetchOutcome
from package.sources.fields import Reading
from package.sources.package_parts import Part, parts_of
from package.sources.sessions import Sessions
from tests.package.conftest import CannedPyPI, MakePackage, of


class Shelf(Repository):
    """A test host whose repositories have two parts."""

    source = "shelf"
    untrusted = True
    parts: ClassVar[dict[str, Callable[[Any, Client], Reading]]] = {
        "metadata": lambda repository, _: Reading({"repo_description": repository.path}),
        "commits": lambda *_: Reading({"commit_count": 7}),
    }


@pytest.fixture
def shelf(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put every repository on the test host, except invalid addresses."""

    def find(url: str, host: str = "") -> Repository:
        if "nothing" in url:
            raise NotARepository(f"{url!r} is no repository, host {host!r}")
        return Shelf(Server("Shelf", "https://shelf.test/api"), "https://shelf.test", url.rsplit("/", 1)[-1])

    monkeypatch.setattr(package_parts, "get_repo_for_repo_url", find)


def names(package: Package) -> list[str]:
    return [f"{part.source} {part.name}".strip() for part in parts_of(package)]


@pytest.mark.usefixtures("shelf")
class TestParts:
    """parts_of."""

    @pytest.mark.parametrize(
        ("pypi_url", "repo_url", "expected"),
        [
            ("", "", []),
            (" ", " ", []),
            ("fortune", "", ["pypi", "pypistats"]),
            ("https://pypi.org/project/fortune/", "", ["pypi", "pypistats"]),
            ("https://example.org/fortune", "", ["pypi"]),
            ("", "https://shelf.test/a", ["shelf metadata", "shelf commits"]),
            ("fortune", "https://shelf.test/a", ["pypi", "pypistats", "shelf metadata", "shelf commits"]),
            ("fortune", "https://nothing.test/", ["pypi", "pypistats", "repository"]),
        ],
    )
    def test_are_those_that_it_has_an_address_for(self, pypi_url: str, repo_url: str, expected: list[str]) -> None:
        """A package has parts for PyPI and its statistics if it has a name there, and for its repository."""
        assert names(Package(pypi_url=pypi_url, repo_url=repo_url)) == expected

    def test_only_the_first_part_marks_a_package_as_gone(self) -> None:
        """Only the first part of a source marks a package as gone."""
        parts = parts_of(Package(pypi_url="fortune", repo_url="https://shelf.test/a"))
        assert [part.missing_since for part in parts] == ["pypi_missing_since", "", "repo_missing_since", ""]

    def test_know_who_named_their_server(self) -> None:
        """Parts on users' servers are untrusted."""
        parts = parts_of(Package(pypi_url="fortune", repo_url="https://shelf.test/a"))
        assert [part.untrusted for part in parts] == [False, False, True, True]

    def test_follow_the_settings(self, settings: Settings) -> None:
        """Addresses are looked up when they are needed."""
        settings.PYPI_URL, settings.PYPISTATS_URL = "https://mirror.test/index", "https://stats.test"
        apis = [part.server.api for part in parts_of(Package(pypi_url="fortune"))]
        assert apis == ["https://mirror.test/index", "https://stats.test"]

    def test_are_read_each_on_its_own(self, make_package: MakePackage) -> None:
        """Each part of a repository is fetched with that repository."""
        package = make_package(pypi_url="", repo_url="https://shelf.test/a")
        refresh_one(package)
        package = Package.objects.get()
        assert (package.repo_description, package.commit_count) == ("a", 7)

    def test_an_address_that_is_no_repository_is_said_to_be_none(
        self, make_package: MakePackage, pypi: CannedPyPI
    ) -> None:
        """An invalid repository address is a failure on the package; PyPI is still asked."""
        pypi.knows("fortune")
        results = refresh_one(make_package(repo_url="https://nothing.test/", repo_host="shelf"))
        result = of(results, "repository")
        assert (result.outcome, result.reason, result.reached) == (FetchOutcome.FAILED, "not_a_repository", True)
        assert of(results, "pypi").outcome is FetchOutcome.UPDATED
        assert Package.objects.get().last_exception == "'https://nothing.test/' is no repository, host 'shelf'"


def part(api: str) -> Part:
    return Part("x", "", Server("X", api), lambda _: Reading())


class TestKey:
    """Part.key."""

    @pytest.mark.parametrize(
        ("api", "upstream", "key"),
        [
            ("https://pypi.test", "pypi", "pypi"),
            ("https://pypi.test/index", "pypi", "pypi"),
            ("https://PyPI.test.:443", "pypi", "pypi"),
            ("https://pypistats.test", "pypistats", "pypistats"),
            ("https://api.github.test", "github", "github"),
            ("https://gitlab.example.org", "gitlab-gitlab-example-org", "gitlab-gitlab-example-org"),
            ("https://git.example.org", "other", "git.example.org"),
            ("https://git.example.org:8443/api/v1", "other", "git.example.org:8443"),
            ("https://[2001:db8::1]:8443", "other", "[2001:db8::1]:8443"),
        ],
    )
    def test_is_the_upstream_or_the_host(self, api: str, upstream: str, key: str) -> None:
        """The key is the name of the upstream; for other servers, the host."""
        assert (part(api).upstream, part(api).key) == (upstream, key)


class TestSessions:
    """Sessions."""

    def test_sessions_of_users_servers_are_untrusted(self) -> None:
        """Users' servers are called through a session that reaches only public addresses."""
        own = Sessions()
        assert own.trusted.trust_env
        assert not own.untrusted.trust_env
        own.close()

    def test_share_a_deadline_where_there_is_one(self, responses: RequestsMock) -> None:
        """All sessions share one total deadline."""
        own = Sessions()
        with own.within(0):
            for session in (own.trusted, own.with_token, own.untrusted):
                with pytest.raises(DeadlineExceeded):
                    session.get("https://x.test/")
        assert not responses.calls
        own.close()

    @pytest.mark.parametrize(
        ("token", "untrusted", "session", "anonymous"),
        [("", False, "trusted", None), ("t", False, "with_token", "trusted"), ("", True, "untrusted", None)],
    )
    def test_know_who_is_asked_how(self, token: str, untrusted: bool, session: str, anonymous: str | None) -> None:
        """A server with a token has its own session, and an anonymous one for refused requests."""
        own = Sessions.made()
        client = own.client(Server("X", "https://x.test", token), untrusted=untrusted)
        assert client._session is getattr(own, session)
        assert client._anonymous is (anonymous and getattr(own, anonymous))
        own.close()

    def test_a_part_is_asked_through_its_own(self, make_package: MakePackage, monkeypatch: pytest.MonkeyPatch) -> None:
        """Untrusted parts use the untrusted session, others the trusted one."""
        used: dict[str, Any] = {}

        def remember(name: str) -> Callable[[Client], Reading]:
            def fetch(client: Client) -> Reading:
                used[name] = client._session
                raise Unusable("nothing to read", "other")

            return fetch

        server = Server("X", "https://x.test")
        parts = [Part("a", "", server, remember("a")), Part("b", "", server, remember("b"), untrusted=True)]
        monkeypatch.setattr("package.sources.package_parts.parts_of", lambda _: parts)
        through = Sessions()
        refresh_one(make_package(), through)
        assert used == {"a": through.trusted, "b": through.untrusted}
        through.close()
