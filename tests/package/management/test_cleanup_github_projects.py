"""cleanup_github_projects: which stored addresses of repositories change, and which packages are marked as gone."""

from __future__ import annotations

from typing import Any

import pytest
import requests
from django.utils import timezone

from package.jobs.repository_cleanup import is_on_github
from package.models import Package
from tests.package.conftest import MakePackage
from tests.package.management.conftest import CannedGitHub, Command, repo_urls


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

    def test_other_hosts_get_no_request(
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
    def test_the_new_address_is_stored_and_reported(
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
        assert repo_urls() == {"a": "https://github.com/django/Django"}

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
    def test_an_invalid_name_is_not_stored(
        self, cleanup: Command, make_package: MakePackage, github: CannedGitHub, full_name: Any
    ) -> None:
        """If GitHub's answer has an invalid name, the stored address stays."""
        make_package("a", repo_url="http://github.com/owner/name")
        github.answers("owner/name", 200, json={"full_name": full_name})
        cleanup()
        assert repo_urls() == {"a": "http://github.com/owner/name"}

    def test_two_packages_with_the_same_new_address(
        self, cleanup: Command, make_package: MakePackage, github: CannedGitHub, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """If two packages have the same repository, the command says so, and both stay."""
        make_package("a", repo_url="https://github.com/old/name")
        make_package("b", repo_url="https://github.com/Fresh/name")
        make_package("c", repo_url="https://github.com/other/name")
        github.moved("old/name", "fresh/name")
        github.has("Fresh/name"), github.has("other/name")
        assert cleanup() == 0
        assert repo_urls()["a"] == "https://github.com/fresh/name"
        assert repo_urls()["b"] == "https://github.com/Fresh/name"
        out = capsys.readouterr().out
        [line] = [line for line in out.splitlines() if "several packages" in line]
        assert line.casefold() == "https://github.com/fresh/name is the repository of several packages: a, b"

    @pytest.mark.parametrize("options", [["a"], ["a", "--dry-run"]])
    def test_the_new_address_is_that_of_another_package(
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
        assert repo_urls() == {"a": "https://github.com/owner/name"}

    def test_a_page_below_stays(self, cleanup: Command, make_package: MakePackage, github: CannedGitHub) -> None:
        """The address of a folder in a repository stays, because a package may be in that folder."""
        make_package("a", repo_url="https://github.com/owner/name/tree/main/folder")
        github.has("owner/name")
        assert cleanup() == 0
        assert repo_urls() == {"a": "https://github.com/owner/name/tree/main/folder"}

    @pytest.mark.parametrize("status", [404, 403, 500, 503, 202])
    def test_not_without_confirmation(
        self, cleanup: Command, make_package: MakePackage, github: CannedGitHub, status: int
    ) -> None:
        """Without a confirmation by GitHub, the address is not rewritten."""
        make_package("a", repo_url="http://github.com/owner/name/")
        github.answers("owner/name", status)
        cleanup()
        assert repo_urls() == {"a": "http://github.com/owner/name/"}

    @pytest.mark.parametrize("url", ["https://github.com/", "https://github.com/owner"])
    def test_an_address_without_a_repository(
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
        assert repo_urls() == {"a": url}
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
        assert repo_urls() == {"a": "https://github.com/owner/name"}
        assert "Repository gone, package kept: a" in captured.out
        assert "WARNING package.jobs.repository_cleanup: a" in captured.err
        assert cleanup() == 0
        assert Package.objects.get().repo_missing_since == since
        assert "package.jobs.repository_cleanup" not in capsys.readouterr().err

    def test_a_repository_that_exists_again(
        self, cleanup: Command, make_package: MakePackage, github: CannedGitHub
    ) -> None:
        """A repository that exists again is no longer marked as missing."""
        make_package("a", repo_url="https://github.com/owner/name", repo_missing_since=timezone.now())
        github.has("owner/name")
        assert cleanup() == 0
        assert Package.objects.get().repo_missing_since is None

    @pytest.mark.parametrize(
        "answer", [{"status": 503}, {"status": 401}, {"body": requests.ConnectionError("no route")}]
    )
    def test_an_outage_does_not_mark_one_as_missing(
        self, cleanup: Command, make_package: MakePackage, github: CannedGitHub, answer: dict[str, Any]
    ) -> None:
        """An outage never marks a repository as missing."""
        make_package("a", repo_url="https://github.com/owner/name")
        github.mock.get(github.url("owner/name"), **answer)
        assert cleanup() == 1
        assert Package.objects.get().repo_missing_since is None
