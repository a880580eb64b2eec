"""cleanup_github_projects: options, output, time budgets and signals."""

from __future__ import annotations

import json
import signal
from datetime import timedelta

import pytest

from core.http.testing import OutboundHTTP
from tests.package.conftest import MakePackage
from tests.package.management.conftest import CannedGitHub, Command, repo_urls


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
        """--help lists the options and the exit statuses."""
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
        """With --json, stdout has the JSON for programs, and stderr has the lines for people."""
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

    def test_secrets_are_not_printed(self, cleanup: Command, capsys: pytest.CaptureFixture[str]) -> None:
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
        return [slug for slug, url in repo_urls().items() if url.startswith("https:")]

    @pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
    def test_the_first_signal_ends_the_run_cleanly(
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
