"""cleanup_github_projects: the requests to GitHub, and the answers that end a run."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
import requests
from django.db import DataError, OperationalError
from django.test import override_settings

from core.http import process, registry
from core.http.testing import OutboundHTTP
from package.jobs import repository_cleanup as cleanup_module
from package.models import Package
from tests.package.conftest import MakePackage
from tests.package.management.conftest import GITHUB, CannedGitHub, Command, repo_urls

EXHAUSTED = {"X-RateLimit-Limit": "5000", "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "600"}
SECONDARY = {"message": "You have exceeded a secondary rate limit. Please wait a few minutes before you try again."}
LOGGER = cleanup_module.__name__
SUSPENDED = {"message": "Sorry. Your account was suspended."}


class TestAsking:
    """The requests to GitHub."""

    @pytest.fixture(autouse=True)
    def _packages(self, make_package: MakePackage, github: CannedGitHub) -> None:
        for slug in ("a", "b", "c", "d"):
            make_package(slug, repo_url=f"https://github.com/owner/{slug}")
            github.has(f"owner/{slug}")

    @override_settings(GITHUB_TOKEN="hunter2")
    def test_the_token_is_sent(
        self, cleanup: Command, github: CannedGitHub, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """The token is sent to GitHub, and to no other server."""
        github.moved("owner/a", "fresh/a")
        github.answers("owner/b", 401)
        assert cleanup() == 0
        assert {call.request.headers["Authorization"] for call in github.mock.calls} == {"Bearer hunter2"}
        captured = capsys.readouterr()
        assert "hunter2" not in captured.out + captured.err

    @pytest.mark.usefixtures("netrc")
    @override_settings(GITHUB_TOKEN="hunter2")
    def test_netrc_is_not_used(self, cleanup: Command, github: CannedGitHub) -> None:
        """GitHub's API redirects for a moved repository; our token is sent there too, and no password from netrc."""
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
    def test_a_limit_or_a_refused_token_ends_the_run(
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
    def test_a_refused_token_is_reported_once(
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
    def test_a_repository_that_refuses_our_token_is_requested_without_it(
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

    def test_a_run_during_a_pause(self, cleanup: Command, github: CannedGitHub, outbound_http: OutboundHTTP) -> None:
        """A run in which no request could be sent fails."""
        github.answers("owner/a", 429, headers={"Retry-After": "600"})
        assert cleanup() == 1
        github.mock.calls.reset()
        assert cleanup() == 1
        assert not github.mock.calls

    @pytest.mark.parametrize(
        ("answer", "logger"),
        [
            ({"status": 503}, "core.http"),
            ({"status": 401}, LOGGER),
            ({"status": 202}, LOGGER),
            ({"body": "no JSON"}, LOGGER),
            ({"json": []}, LOGGER),
            ({"status": 302, "headers": {"Location": f"{GITHUB}/repos/owner/b"}}, LOGGER),
            ({"body": requests.ConnectionError("refused")}, "core.http"),
            ({"body": ZeroDivisionError("a bug")}, LOGGER),
        ],
    )
    def test_a_failure_does_not_stop_the_others(
        self,
        cleanup: Command,
        github: CannedGitHub,
        capsys: pytest.CaptureFixture[str],
        answer: dict[str, Any],
        logger: str,
    ) -> None:
        """A package that fails is recorded and logged once, and the others are still looked up."""
        github.mock.remove("GET", github.url("owner/b"))
        github.mock.get(github.url("owner/b"), **answer)
        assert cleanup("--json") == 0
        captured = capsys.readouterr()
        summary = json.loads(captured.out)
        assert summary["outcomes"]["unchanged"] == 3
        assert list(summary["failed"]) == ["b"]
        assert re.findall(r" (?:WARNING|ERROR) (\S+): ", captured.err) == [logger]

    def test_the_order_is_random(self, cleanup: Command, github: CannedGitHub, monkeypatch: pytest.MonkeyPatch) -> None:
        """Short runs do not always look up the same packages, because the order is random."""
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
        assert "https://github.com/owner/name" not in repo_urls().values()

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
