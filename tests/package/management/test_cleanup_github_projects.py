"""cleanup_github_projects, which keeps the addresses of repositories on GitHub current."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from django.core.management import execute_from_command_line
from django.db import DataError, OperationalError, connections
from django.test import override_settings
from django.utils import timezone
from responses import RequestsMock

from core.http import process, registry
from core.http.testing import OutboundHTTP
from package.jobs import repository_cleanup as cleanup_module
from package.jobs.repository_cleanup import is_on_github
from package.models import Package
from tests.package.conftest import MakePackage

API = "https://api.github.test"
Command = Callable[..., int]
EXHAUSTED = {"X-RateLimit-Limit": "5000", "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "600"}
SECONDARY = {"message": "You have exceeded a secondary rate limit. Please wait a few minutes before you try again."}
SUSPENDED = {"message": "Sorry. Your account was suspended."}


class CannedGitHub:
    """GitHub's API, at the address in the tests' settings."""

    def __init__(self, mock: RequestsMock) -> None:
        self.mock = mock

    @staticmethod
    def url(path: str) -> str:
        return f"{API}/repos/{path}"

    def has(self, path: str, **more: Any) -> None:
        self.mock.upsert("GET", self.url(path), json={"full_name": path, **more})

    def moved(self, before: str, after: str, number: int = 7) -> None:
        """Answer as GitHub does for a moved repository: with a redirect to the repository's number."""
        there = f"{API}/repositories/{number}"
        self.mock.upsert("GET", self.url(before), status=301, headers={"Location": there}, json={"message": "Moved"})
        self.mock.upsert("GET", there, json={"full_name": after})

    def answers(self, path: str, status: int, **kwargs: Any) -> None:
        self.mock.upsert("GET", self.url(path), status=status, **kwargs)

    def during(self, path: str, action: Callable[[], object]) -> None:
        """Call something while a request for `path` is in progress, then answer."""

        def answer(_: object) -> tuple[int, dict[str, str], str]:
            action()
            return 200, {}, json.dumps({"full_name": path})

        self.mock.remove("GET", self.url(path))
        self.mock.add_callback("GET", self.url(path), answer)

    @property
    def asked(self) -> list[str]:
        """The repositories that were asked for, in order."""
        paths = [urlsplit(str(call.request.url)).path for call in self.mock.calls]
        return [path.removeprefix("/repos/") for path in paths if path.startswith("/repos/")]


@pytest.fixture
def github(responses: RequestsMock) -> CannedGitHub:
    return CannedGitHub(responses)


@pytest.fixture
def cleanup(monkeypatch: pytest.MonkeyPatch, db: None) -> Command:
    """Run the command as manage.py does; return its exit status."""
    monkeypatch.setattr(type(connections), "close_all", lambda _: None)  # the test's transaction lives on one of them

    def run(*args: str) -> int:
        try:
            execute_from_command_line(["manage.py", "cleanup_github_projects", *args])
        except SystemExit as exc:
            return int(exc.code or 0)
        return 0

    return run


def urls() -> dict[str, str]:
    return dict(Package.objects.values_list("slug", "repo_url"))


class TestHost:
    """Addresses are recognized as GitHub's by their parsed host, not by a prefix or substring."""

    @pytest.mark.parametrize(
        "url",
        [
            "https://github.com/owner/name",
            "http://github.com/owner/name/",
            "https://www.github.com/owner/name.git",
            "HTTPS://GitHub.COM/owner/name",
            "git@github.com:owner/name.git",
            "git://github.com/owner/name.git",
            "https://user:secret@github.com/owner/name",
            "github.com/owner/name",
            "https://github.com:443/owner/name",
            "https://github.com./owner/name",
        ],
    )
    def test_is(self, url: str) -> None:
        assert is_on_github(url)

    @pytest.mark.parametrize(
        "url",
        [
            "https://github.com.evil.test/owner/name",
            "https://evil.test/github.com/owner/name",
            "https://evil.test/?https://github.com/owner/name",
            "https://evil.test/#github.com",
            "https://github.com@evil.test/owner/name",
            "https://notgithub.com/owner/name",
            "https://github.company/owner/name",
            "https://gist.github.com/owner/name",
            "https://api.github.com/repos/owner/name",
            "https://github.com:8080/owner/name",
            "https://evil.test\\@github.com.evil.test/",
            "https://[github.com/owner/name",
            "",
        ],
    )
    def test_is_not(self, url: str) -> None:
        assert not is_on_github(url)

    def test_others_are_left_alone(
        self, cleanup: Command, make_package: MakePackage, github: CannedGitHub, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """For packages that are not on GitHub, no request is sent."""
        make_package("a", repo_url="https://github.com.evil.test/owner/name")
        make_package("b", repo_url="https://gitlab.com/owner/name")
        make_package("c", repo_url="")
        assert cleanup() == 0
        assert not github.mock.calls
        assert "No package has a repository on GitHub" in capsys.readouterr().out


class TestMoved:
    def test_the_new_address_is_stored_and_told(
        self, cleanup: Command, make_package: MakePackage, github: CannedGitHub, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Only the address of the package changes."""
        package = make_package("a", repo_url="https://github.com/old/name", repo_description="kept", repo_watchers=3)
        before = Package.objects.values().get()
        github.moved("old/name", "fresh/name")
        assert cleanup() == 0
        after = Package.objects.values().get()
        assert after.pop("repo_url") == "https://github.com/fresh/name"
        assert after.pop("modified") > package.modified
        assert after.items() <= before.items()
        captured = capsys.readouterr()
        change = "https://github.com/old/name -> https://github.com/fresh/name"
        assert f"[1/1] a: moved ({change})\n" in captured.out
        assert f"a: moved: {change}\n" in captured.out
        assert (
            "WARNING package.jobs.repository_cleanup: a: https://github.com/old/name moved to https://github.com/fresh/name"
            in captured.err
        )

    def test_a_dry_run_stores_nothing(
        self, cleanup: Command, make_package: MakePackage, github: CannedGitHub, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """A dry run prints the same changes and stores none."""
        make_package("a", repo_url="https://github.com/old/name")
        make_package("b", repo_url="https://github.com/gone/name")
        make_package("c", repo_url="http://github.com/owner/name/")
        github.moved("old/name", "fresh/name")
        github.answers("gone/name", 404)
        github.has("owner/name")
        before = list(Package.objects.values())
        assert cleanup("--dry-run") == 0
        assert list(Package.objects.values()) == before
        out = capsys.readouterr().out
        assert "Dry run: the following changes were not stored" in out
        assert "a: moved: https://github.com/old/name -> https://github.com/fresh/name" in out
        assert "c: rewritten: http://github.com/owner/name/ -> https://github.com/owner/name" in out

    def test_a_second_run_finds_nothing_to_do(
        self, cleanup: Command, make_package: MakePackage, github: CannedGitHub, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """After a run, the stored addresses are current, so a second run changes nothing."""
        make_package("a", repo_url="https://github.com/old/name")
        github.moved("old/name", "fresh/name")
        github.has("fresh/name")
        cleanup()
        capsys.readouterr()
        assert cleanup() == 0
        assert "[1/1] a: unchanged\n" in capsys.readouterr().out

    def test_another_case_is_the_same_repository(
        self, cleanup: Command, make_package: MakePackage, github: CannedGitHub
    ) -> None:
        """GitHub ignores the case of names, so the stored spelling stays."""
        make_package("a", repo_url="https://github.com/django/Django")
        github.answers("django/Django", 200, json={"full_name": "Django/django"})
        assert cleanup() == 0
        assert urls() == {"a": "https://github.com/django/Django"}

    @pytest.mark.parametrize(
        "full_name",
        [
            None,
            5,
            "",
            "name",
            "a/b/c",
            "../name",
            "owner/..",
            "owner/na me",
            "owner/name?x",
            "owner/\x00",
            "o/" + "n" * 300,
            ["a/b"],
        ],
    )
    def test_a_name_that_is_none(
        self, cleanup: Command, make_package: MakePackage, github: CannedGitHub, full_name: Any
    ) -> None:
        """An invalid name in GitHub's answer is not stored."""
        make_package("a", repo_url="http://github.com/owner/name")
        github.answers("owner/name", 200, json={"full_name": full_name})
        cleanup()
        assert urls() == {"a": "http://github.com/owner/name"}

    def test_two_that_end_up_the_same(
        self, cleanup: Command, make_package: MakePackage, github: CannedGitHub, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """If two packages have the same repository, the command says so, and both stay."""
        make_package("a", repo_url="https://github.com/old/name")
        make_package("b", repo_url="https://github.com/Fresh/name")
        make_package("c", repo_url="https://github.com/other/name")
        github.moved("old/name", "fresh/name")
        github.has("Fresh/name"), github.has("other/name")
        assert cleanup() == 0
        assert urls()["a"] == "https://github.com/fresh/name"
        assert urls()["b"] == "https://github.com/Fresh/name"
        out = capsys.readouterr().out
        [line] = [line for line in out.splitlines() if "several packages" in line]
        assert line.casefold() == "https://github.com/fresh/name is the repository of several packages: a, b"

    @pytest.mark.parametrize("options", [["a"], ["a", "--dry-run"]])
    def test_one_that_ends_up_as_one_that_was_not_looked_up(
        self,
        cleanup: Command,
        make_package: MakePackage,
        github: CannedGitHub,
        capsys: pytest.CaptureFixture[str],
        options: list[str],
    ) -> None:
        """A repository is compared with those of all packages, not only of the selected ones."""
        make_package("a", repo_url="https://github.com/old/name")
        make_package("b", repo_url="git@github.com:fresh/name.git")
        github.moved("old/name", "fresh/name")
        assert cleanup(*options) == 0
        assert github.asked == ["old/name"]
        assert "https://github.com/fresh/name is the repository of several packages: a, b" in capsys.readouterr().out


class TestForms:
    """Addresses in other forms are rewritten after GitHub has confirmed the repository."""

    @pytest.mark.parametrize(
        "url",
        [
            "http://github.com/owner/name",
            "https://github.com/owner/name/",
            "https://github.com/owner/name.git",
            "https://www.github.com/owner/name",
            "https://GitHub.com/owner/name",
            "https://user:secret@github.com/owner/name",
            "git@github.com:owner/name.git",
        ],
    )
    def test_are_rewritten(self, cleanup: Command, make_package: MakePackage, github: CannedGitHub, url: str) -> None:
        make_package("a", repo_url=url)
        github.has("owner/name")
        assert cleanup() == 0
        assert urls() == {"a": "https://github.com/owner/name"}

    def test_a_page_below_stays(self, cleanup: Command, make_package: MakePackage, github: CannedGitHub) -> None:
        """The address of a folder in a repository stays, because a package may be in that folder."""
        make_package("a", repo_url="https://github.com/owner/name/tree/main/folder")
        github.has("owner/name")
        assert cleanup() == 0
        assert urls() == {"a": "https://github.com/owner/name/tree/main/folder"}

    @pytest.mark.parametrize("status", [404, 403, 500, 503, 202])
    def test_not_without_confirmation(
        self, cleanup: Command, make_package: MakePackage, github: CannedGitHub, status: int
    ) -> None:
        """Without a confirmation by GitHub, the address is not rewritten."""
        make_package("a", repo_url="http://github.com/owner/name/")
        github.answers("owner/name", status)
        cleanup()
        assert urls() == {"a": "http://github.com/owner/name/"}

    @pytest.mark.parametrize("url", ["https://github.com/", "https://github.com/owner"])
    def test_what_is_no_repository(
        self,
        cleanup: Command,
        make_package: MakePackage,
        github: CannedGitHub,
        capsys: pytest.CaptureFixture[str],
        url: str,
    ) -> None:
        """An address that is not a repository is reported, and stays."""
        make_package("a", repo_url=url)
        assert cleanup() == 0
        assert not github.mock.calls
        assert urls() == {"a": url}
        captured = capsys.readouterr()
        assert f"a: skipped ('{url}' is not the address of a repository: " in captured.out
        assert "WARNING package.jobs.repository_cleanup: a" in captured.err


class TestGone:
    @pytest.mark.parametrize("status", [404, 410, 451])
    def test_is_noted_once(
        self,
        cleanup: Command,
        make_package: MakePackage,
        github: CannedGitHub,
        capsys: pytest.CaptureFixture[str],
        status: int,
    ) -> None:
        """The address stays, and so does the date when the repository was first missing."""
        make_package("a", repo_url="https://github.com/owner/name")
        github.answers("owner/name", status)
        assert cleanup() == 0
        captured = capsys.readouterr()
        since = Package.objects.get().repo_missing_since
        assert since is not None
        assert urls() == {"a": "https://github.com/owner/name"}
        assert "Repository gone, package kept: a" in captured.out
        assert "WARNING package.jobs.repository_cleanup: a" in captured.err
        assert cleanup() == 0
        assert Package.objects.get().repo_missing_since == since
        assert "package.jobs.repository_cleanup" not in capsys.readouterr().err

    def test_one_that_is_back(self, cleanup: Command, make_package: MakePackage, github: CannedGitHub) -> None:
        """A repository that exists again is no longer marked as missing."""
        make_package("a", repo_url="https://github.com/owner/name", repo_missing_since=timezone.now())
        github.has("owner/name")
        assert cleanup() == 0
        assert Package.objects.get().repo_missing_since is None

    @pytest.mark.parametrize(
        "answer", [{"status": 503}, {"status": 401}, {"body": requests.ConnectionError("no route")}]
    )
    def test_nothing_else_makes_one_missing(
        self, cleanup: Command, make_package: MakePackage, github: CannedGitHub, answer: dict[str, Any]
    ) -> None:
        """An outage never marks a repository as missing."""
        make_package("a", repo_url="https://github.com/owner/name")
        github.mock.get(github.url("owner/name"), **answer)
        assert cleanup() == 1
        assert Package.objects.get().repo_missing_since is None


class TestAsking:
    """The requests to GitHub."""

    @pytest.fixture(autouse=True)
    def _packages(self, make_package: MakePackage, github: CannedGitHub) -> None:
        for slug in ("a", "b", "c", "d"):
            make_package(slug, repo_url=f"https://github.com/owner/{slug}")
            github.has(f"owner/{slug}")

    @override_settings(GITHUB_TOKEN="hunter2")
    def test_with_our_token(self, cleanup: Command, github: CannedGitHub, capsys: pytest.CaptureFixture[str]) -> None:
        """The token is sent to GitHub, and to no other server."""
        github.moved("owner/a", "fresh/a")
        github.answers("owner/b", 401)
        assert cleanup() == 0
        assert {call.request.headers["Authorization"] for call in github.mock.calls} == {"Bearer hunter2"}
        captured = capsys.readouterr()
        assert "hunter2" not in captured.out + captured.err

    @pytest.mark.usefixtures("netrc")
    @override_settings(GITHUB_TOKEN="hunter2")
    def test_with_no_password_of_the_machines(self, cleanup: Command, github: CannedGitHub) -> None:
        """Where a repository has moved, the API redirects; a netrc does not take the place of our token on the way."""
        github.moved("owner/a", "fresh/a")
        assert cleanup() == 0
        assert {call.request.headers["Authorization"] for call in github.mock.calls} == {"Bearer hunter2"}

    @pytest.mark.parametrize(
        ("answer", "why"),
        [
            ({"status": 429, "headers": {"Retry-After": "600"}}, "limits our rate (HTTP 429)"),
            ({"status": 403, "headers": {"Retry-After": "600"}}, "limits our rate (HTTP 403)"),
            ({"status": 403, "headers": EXHAUSTED}, "limits our rate (HTTP 403)"),
            ({"status": 403, "json": SECONDARY}, "limits our rate (HTTP 403)"),
            ({"status": 403, "json": SUSPENDED}, "refuses our token (HTTP 403)"),
            ({"status": 403, "body": "Request forbidden by administrative rules."}, "refuses our User-Agent"),
        ],
    )
    @override_settings(GITHUB_TOKEN="hunter2")
    def test_what_concerns_the_source_ends_the_run(
        self,
        cleanup: Command,
        github: CannedGitHub,
        capsys: pytest.CaptureFixture[str],
        answer: dict[str, Any],
        why: str,
    ) -> None:
        """No further request is sent, the output says what is left and until when, and no package counts as failed."""
        github.answers("owner/b", **answer)
        assert cleanup("--json") == 0
        summary = json.loads(capsys.readouterr().out)
        assert github.asked == ["owner/a", "owner/b"]
        assert (summary["tried"], summary["left"]) == (1, 3)
        assert summary["stopped"].startswith(f"GitHub {why}")
        assert summary["retry_at"].endswith("+00:00")
        assert (summary["failed"], summary["gone"]) == ({}, [])

    @override_settings(GITHUB_TOKEN="hunter2")
    def test_a_token_that_is_refused_is_told_once(
        self, cleanup: Command, github: CannedGitHub, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """The first answer ends the run, a second run sends nothing, and the log says once what to do."""
        github.answers("owner/a", 401, json={"message": "Bad credentials"})
        assert [cleanup(), cleanup()] == [1, 1]
        assert github.asked == ["owner/a"]
        captured = capsys.readouterr()
        assert captured.err.count("Replace the token: GITHUB_TOKEN") == 1
        assert "GitHub refuses our token; nothing is sent before " in captured.out
        assert not Package.objects.exclude(repo_missing_since=None).exists()

    @override_settings(GITHUB_TOKEN="hunter2")
    def test_what_its_owner_refuses_to_our_token_is_asked_without(
        self, cleanup: Command, github: CannedGitHub, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """The request is repeated once without the token; those for other packages keep it."""
        message = "Although you appear to have the correct credentials, the organization has an IP allow list enabled"

        def answer(request: requests.PreparedRequest) -> tuple[int, dict[str, str], str]:
            refused = "Authorization" in request.headers
            return (403, {}, json.dumps({"message": message})) if refused else (200, {}, '{"full_name": "owner/b"}')

        github.mock.remove("GET", github.url("owner/b"))
        github.mock.add_callback("GET", github.url("owner/b"), answer)
        assert cleanup("--json") == 0
        assert github.asked == ["owner/a", "owner/b", "owner/b", "owner/c", "owner/d"]
        with_token = ["Authorization" in call.request.headers for call in github.mock.calls]
        assert with_token == [True, True, False, True, True]
        assert json.loads(capsys.readouterr().out)["outcomes"]["unchanged"] == 4

    def test_an_outage_ends_the_run(
        self, cleanup: Command, github: CannedGitHub, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """After ten failed attempts the breaker opens, and the run ends."""
        for slug in ("a", "b", "c", "d"):
            github.answers(f"owner/{slug}", 503)
        assert cleanup() == 1
        assert len(github.mock.calls) == 10
        out = capsys.readouterr().out
        assert "1 packages left for the next run: GitHub is down; nothing is sent before" in out
        assert "GitHub gave no usable answer" in out

    def test_left_alone_from_the_beginning(
        self, cleanup: Command, github: CannedGitHub, outbound_http: OutboundHTTP
    ) -> None:
        """A run in which no request could be sent fails."""
        github.answers("owner/a", 429, headers={"Retry-After": "600"})
        assert cleanup() == 1
        github.mock.calls.reset()
        assert cleanup() == 1
        assert not github.mock.calls

    @pytest.mark.parametrize(
        "answer",
        [
            {"status": 503},
            {"status": 401},
            {"status": 202},
            {"body": "no JSON"},
            {"json": []},
            {"status": 302, "headers": {"Location": f"{API}/repos/owner/b"}},
            {"body": requests.ConnectionError("refused")},
            {"body": ZeroDivisionError("a bug")},
        ],
    )
    def test_one_that_fails_stops_no_other(
        self,
        cleanup: Command,
        github: CannedGitHub,
        capsys: pytest.CaptureFixture[str],
        answer: dict[str, Any],
    ) -> None:
        """A package that fails is recorded, and the others are still looked up."""
        github.mock.remove("GET", github.url("owner/b"))
        github.mock.get(github.url("owner/b"), **answer)
        assert cleanup("--json") == 0
        summary = json.loads(capsys.readouterr().out)
        assert summary["outcomes"]["unchanged"] == 3
        assert list(summary["failed"]) == ["b"]

    def test_each_gets_its_turn_by_chance(
        self, cleanup: Command, github: CannedGitHub, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The order is random, so that short runs do not always look up the same packages."""
        chances = iter([0.3, 0.9, 0.1, 0.5])
        time = process.current().runtime
        process.use(runtime=registry.Runtime(time.clock, time.wait, lambda: next(chances, 0.0)))
        assert cleanup("--limit", "3") == 0
        assert github.asked == ["owner/c", "owner/a", "owner/d"]

    @pytest.mark.parametrize(("error", "status"), [(OperationalError("gone"), 1), (DataError("too long"), 0)])
    def test_the_database_fails(
        self,
        cleanup: Command,
        github: CannedGitHub,
        monkeypatch: pytest.MonkeyPatch,
        error: Exception,
        status: int,
    ) -> None:
        """A database that is gone ends the run; a row that cannot be saved does not."""
        store = cleanup_module._Cleaner._store

        def store_or_fail(cleaner: Any, package: Package, **fields: Any) -> bool:
            if package.slug == "b":
                raise error
            return store(cleaner, package, **fields)

        monkeypatch.setattr(cleanup_module._Cleaner, "_store", store_or_fail)
        assert cleanup() == status
        assert github.asked == (["owner/a", "owner/b"] if status else ["owner/a", "owner/b", "owner/c", "owner/d"])


class TestMeanwhile:
    @pytest.mark.parametrize(
        "change",
        [
            lambda: Package.objects.filter(slug="a").update(repo_url="https://github.com/chosen/name"),
            lambda: Package.objects.filter(slug="a").delete(),
        ],
    )
    def test_a_change_during_the_look_up_wins(
        self,
        cleanup: Command,
        make_package: MakePackage,
        github: CannedGitHub,
        capsys: pytest.CaptureFixture[str],
        change: Callable[[], object],
    ) -> None:
        """The result for an old address is not stored for the new one."""
        make_package("a", repo_url="http://github.com/owner/name")
        github.has("owner/name")
        github.during("owner/name", change)
        assert cleanup() == 0
        assert "a: skipped (was changed meanwhile)" in capsys.readouterr().out
        assert "https://github.com/owner/name" not in urls().values()

    def test_a_change_before_its_turn(self, cleanup: Command, make_package: MakePackage, github: CannedGitHub) -> None:
        """A package that was deleted or has left GitHub meanwhile is not looked up."""
        for slug in ("a", "b", "c"):
            make_package(slug, repo_url=f"https://github.com/owner/{slug}")
            github.has(f"owner/{slug}")

        def change() -> None:
            Package.objects.filter(slug="b").update(repo_url="https://gitlab.com/owner/b")
            Package.objects.filter(slug="c").delete()

        github.during("owner/a", change)
        assert cleanup() == 0
        assert github.asked == ["owner/a"]


class TestMisuse:
    @pytest.mark.parametrize(
        ("args", "says"),
        [
            (["nonesuch"], "No such package: nonesuch"),
            *(([f"--limit={value}"], "--limit") for value in ("0", "-1", "x", "1.5", "")),
            *(([f"--time-budget={value}"], "--time-budget") for value in ("0", "-1", "x", "nan", "inf", "")),
            (["--merge"], "--merge"),
        ],
    )
    def test_is_refused(
        self,
        cleanup: Command,
        make_package: MakePackage,
        github: CannedGitHub,
        capsys: pytest.CaptureFixture[str],
        args: list[str],
        says: str,
    ) -> None:
        """Exit status 2, a message, and nothing done."""
        make_package("a", repo_url="https://github.com/owner/name")
        assert cleanup(*args) == 2
        assert says in capsys.readouterr().err
        assert not github.mock.calls

    def test_help(self, cleanup: Command, capsys: pytest.CaptureFixture[str]) -> None:
        """--help tells the options and the exit statuses."""
        assert cleanup("--help") == 0
        out = " ".join(capsys.readouterr().out.split())
        for text in ("--dry-run", "--limit N", "--time-budget S", "--json", "128 + n"):
            assert text in out


class TestOutput:
    @pytest.fixture(autouse=True)
    def _packages(self, make_package: MakePackage, github: CannedGitHub) -> None:
        make_package("gone", repo_url="https://github.com/owner/gone")
        make_package("moved", repo_url="https://user:hunter2@github.com/owner/moved?hunter2")
        make_package("rewritten", repo_url="http://github.com/fresh/name")
        make_package("same", repo_url="https://github.com/owner/same")
        make_package("down", repo_url="https://github.com/owner/down")
        make_package("odd", repo_url="https://user:hunter2@github.com/owner")
        github.answers("owner/gone", 404)
        github.moved("owner/moved", "fresh/name")
        github.has("fresh/name"), github.has("owner/same")
        github.answers("owner/down", 503)

    def test_json(self, cleanup: Command, capsys: pytest.CaptureFixture[str]) -> None:
        """With --json a program reads stdout, and a human reads stderr."""
        assert cleanup("--json") == 0
        captured = capsys.readouterr()
        summary = json.loads(captured.out)
        assert summary.pop("seconds") >= 0
        page = "https://github.com/fresh/name"
        assert summary == {
            "version": 1,
            "dry_run": False,
            "outcomes": {"unchanged": 1, "moved": 1, "rewritten": 1, "gone": 1, "failed": 1, "skipped": 1},
            "moved": [{"package": "moved", "from": "https://***@github.com/owner/moved?***", "to": page}],
            "rewritten": [{"package": "rewritten", "from": "http://github.com/fresh/name", "to": page}],
            "gone": ["gone"],
            "failed": {"down": "GitHub answered HTTP 503"},
            "shared": {page: ["moved", "rewritten"]},
            "retry_at": None,
            "tried": 6,
            "left": 0,
            "stopped": "",
            "attempts": 9,
            "unchanged": 0,
            "retries": 3,
            "backoff_seconds": 7.0,
        }
        assert "[6/6] odd: skipped" in captured.err

    def test_secrets_are_not_told(self, cleanup: Command, capsys: pytest.CaptureFixture[str]) -> None:
        """A password in an address appears in no log."""
        cleanup()
        captured = capsys.readouterr()
        assert "https://***@github.com/owner/moved?***" in captured.out
        assert "core.http: " in captured.err, "the log is on stderr"
        assert "hunter2" not in captured.out + captured.err

    def test_a_bar_on_a_terminal(
        self, cleanup: Command, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The bar is drawn on stderr, and there are no lines."""
        monkeypatch.setenv("TTY_COMPATIBLE", "1")
        cleanup()
        captured = capsys.readouterr()
        assert "6/6" in captured.err
        assert "6/6" not in captured.out


class TestStopping:
    """Time budgets, Ctrl-C and SIGTERM."""

    @pytest.fixture(autouse=True)
    def _packages(self, make_package: MakePackage, github: CannedGitHub) -> None:
        for slug in ("a", "b", "c"):
            make_package(slug, repo_url=f"http://github.com/owner/{slug}")
            github.has(f"owner/{slug}")

    @staticmethod
    def rewritten() -> list[str]:
        return [slug for slug, url in urls().items() if url.startswith("https:")]

    @pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
    def test_the_first_signal_ends_the_run_in_good_order(
        self,
        cleanup: Command,
        github: CannedGitHub,
        capfd: pytest.CaptureFixture[str],
        number: signal.Signals,
        status: int,
    ) -> None:
        """The current attempt ends and is saved, nothing new starts, and the summary is printed."""
        github.during("owner/b", lambda: signal.raise_signal(number))
        assert cleanup() == status
        assert sorted(self.rewritten()) == ["a", "b"]
        captured = capfd.readouterr()
        assert f"1 packages left for the next run: {number.name} received" in captured.out
        assert "Repeat the signal to abort" in captured.err

    def test_the_second_signal_aborts(
        self, cleanup: Command, github: CannedGitHub, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """The current attempt is dropped; results saved before it stay."""
        github.during("owner/b", lambda: [signal.raise_signal(signal.SIGINT) for _ in range(2)])
        assert cleanup() == 130
        assert self.rewritten() == ["a"]
        err = capsys.readouterr().err
        assert "Aborted: the current package was not saved" in err
        assert "Traceback" not in err

    def test_time_budget(
        self,
        cleanup: Command,
        github: CannedGitHub,
        outbound_http: OutboundHTTP,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        """After the time budget, nothing new starts, and the exit status is 0."""
        github.during("owner/b", lambda: outbound_http.clock.advance(timedelta(seconds=8).total_seconds()))
        assert cleanup("--time-budget", "8", "--json") == 0
        summary = json.loads(capsys.readouterr().out)
        assert (summary["tried"], summary["left"], summary["stopped"]) == (2, 1, "the time budget is used up")
