"""check_package_examples: which examples it checks, its options, output, exit status and signals."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import requests
from django.db import DataError, OperationalError
from django.utils import timezone
from responses import RequestsMock

from core.http.testing import OutboundHTTP
from package.jobs import example_checks as examples_module
from package.models import PackageExample
from tests.package.conftest import MakePackage
from tests.package.management.conftest import EXAMPLE_URL, Command, MakeExample, asked


class TestChoice:
    """Which examples are checked, and in which order."""

    @pytest.fixture(autouse=True)
    def _examples(self, make_example: MakeExample, make_package: MakePackage, responses: RequestsMock) -> None:
        now = timezone.now()
        other = make_package("other")
        make_example("https://b.test/", last_checked=now - timedelta(days=2))
        make_example("https://a.test/", last_checked=now - timedelta(days=3))
        make_example("https://new.test/", package=other)
        make_example("https://waits.test/", last_checked=now - timedelta(hours=5), failures=1)
        make_example("https://failed.test/", last_checked=now - timedelta(days=1), failures=1)
        make_example("https://fresh.test/", last_checked=now)
        for host in ("a", "b", "new", "waits", "failed", "fresh"):
            responses.get(f"https://{host}.test/", status=404)

    @pytest.mark.parametrize(
        ("args", "hosts"),
        [
            ([], "new a b failed fresh waits"),
            (["--limit", "2"], "new a"),
            (["fortune"], "a b failed fresh waits"),
            (["other", "fortune", "--limit", "1"], "new"),
        ],
    )
    def test_checked_longest_ago_first(
        self, check: Command, responses: RequestsMock, args: list[str], hosts: str
    ) -> None:
        """Examples for which an answer would not count yet come last."""
        assert check(*args) == 0
        assert asked(responses) == [f"https://{host}.test/" for host in hosts.split()]

    def test_short_runs_check_every_example_in_turn(self, check: Command, responses: RequestsMock) -> None:
        """In short runs, examples whose page is gone do not keep the others from being checked."""
        for _ in range(6):
            check("--limit", "1")
        assert len(set(asked(responses))) == 6


class TestMisuse:
    @pytest.mark.parametrize(
        ("args", "says"),
        [
            (["nonesuch"], "No such package: nonesuch"),
            (["fortune", "nonesuch"], "nonesuch"),
            *(([f"--limit={value}"], "--limit") for value in ("0", "-1", "x", "1.5", "", "9" * 20)),
            *(([f"--time-budget={value}"], "--time-budget") for value in ("0", "-1", "x", "nan", "inf", "")),
            (["--head"], "--head"),
        ],
    )
    def test_is_refused(
        self,
        check: Command,
        example: PackageExample,
        responses: RequestsMock,
        capsys: pytest.CaptureFixture[str],
        args: list[str],
        says: str,
    ) -> None:
        """Exit status 2, a message, and nothing done."""
        assert check(*args) == 2
        assert says in capsys.readouterr().err
        assert not responses.calls

    def test_help(self, check: Command, capsys: pytest.CaptureFixture[str]) -> None:
        """--help says which answers count, and lists the exit statuses."""
        assert check("--help") == 0
        out = " ".join(capsys.readouterr().out.split())
        for text in ("--all", "--limit N", "--time-budget S", "--json", "404, 410 or 451", "6 hours", "128 + n"):
            assert text in out


class TestExitStatus:
    """0 the work was done, 1 nothing could be reached."""

    def test_nothing_to_do(self, check: Command, capsys: pytest.CaptureFixture[str]) -> None:
        """A run without examples to check succeeds."""
        assert check() == 0
        assert "No example to check" in capsys.readouterr().out

    @pytest.mark.parametrize("status", [404, 429, 503])
    def test_any_answer_shows_that_the_network_works(
        self, check: Command, responses: RequestsMock, example: PackageExample, status: int
    ) -> None:
        """One answer of any server means success: failures of other sites must not raise an alert."""
        responses.get(EXAMPLE_URL, status=status)
        assert check() == 0

    @pytest.mark.parametrize("options", [[], ["--json"]])
    def test_nothing_could_be_reached(
        self, check: Command, responses: RequestsMock, make_example: MakeExample, options: list[str]
    ) -> None:
        """A run in which no server answered fails; a refused address does not count as an answer."""
        for host in ("a", "b"):
            make_example(f"https://{host}.test/")
            responses.get(f"https://{host}.test/", body=requests.ConnectionError("refused"))
        make_example("ftp://c.test/")
        assert check(*options) == 1

    @pytest.mark.parametrize(("error", "status"), [(OperationalError("gone"), 1), (DataError("too long"), 0)])
    def test_the_database_fails(
        self,
        check: Command,
        responses: RequestsMock,
        make_example: MakeExample,
        monkeypatch: pytest.MonkeyPatch,
        error: Exception,
        status: int,
    ) -> None:
        """A database that is gone ends the run, without a traceback; a row that cannot be saved does not."""
        save = examples_module._save

        def save_or_fail(example: PackageExample, *args: Any) -> bool:
            if example.url == "https://b.test/":
                raise error
            return save(example, *args)

        monkeypatch.setattr(examples_module, "_save", save_or_fail)
        for host in ("a", "b", "c"):
            make_example(f"https://{host}.test/")
            responses.get(f"https://{host}.test/")
        assert check() == status
        assert PackageExample.objects.filter(last_result="HTTP 200").count() == (1 if status else 2)


class TestOutput:
    """What the output contains, and what it must not contain."""

    @pytest.fixture(autouse=True)
    def _examples(self, make_example: MakeExample, responses: RequestsMock) -> None:
        make_example("https://a.test/")
        make_example("https://b.test/", failures=2, last_checked=timezone.now() - timedelta(days=1))
        make_example("https://c.test/", active=False, failures=3)
        make_example("ftp://d.test/")
        make_example("https://e.test/")
        for host, status in (("a", 200), ("b", 410), ("c", 200), ("e", 503)):
            responses.get(f"https://{host}.test/", status=status)

    def test_lines_and_a_summary(self, check: Command, capsys: pytest.CaptureFixture[str]) -> None:
        """A line for each example, with reasons, and a table of all of them."""
        assert check("--all") == 0
        out = capsys.readouterr().out
        assert ["gone", "1"] in [line.split() for line in out.replace("│", " ").splitlines()]
        assert "(a.test): answers (HTTP 200)\n" in out
        assert "(b.test): gone (HTTP 410)\n" in out
        assert "(d.test): refused (its address is not allowed: InvalidSchema)\n" in out
        assert "(e.test): unclear (HTTP 503)\n" in out
        assert "[5/5] " in out
        assert "5 examples in" in out
        assert "7 attempts, 3 retries, 7.0 s lost" in out
        [inactive] = [line for line in out.splitlines() if line.startswith("Now inactive")]
        assert inactive.endswith("(b.test)")
        [active] = [line for line in out.splitlines() if line.startswith("Active again")]
        assert active.endswith("(c.test)")

    def test_json(self, check: Command, capsys: pytest.CaptureFixture[str]) -> None:
        """With --json, stdout has the JSON for programs, and stderr has the lines for people."""
        assert check("--all", "--json") == 0
        captured = capsys.readouterr()
        summary = json.loads(captured.out)
        b, c, d = (PackageExample.objects.get(url__contains=f"{host}.test").pk for host in "bcd")
        assert summary.pop("seconds") >= 0
        assert summary == {
            "version": 1,
            "outcomes": {
                "answers": 2,
                "gone": 1,
                "unclear": 1,
                "unreachable": 0,
                "left_alone": 0,
                "refused": 1,
                "failed": 0,
                "skipped": 0,
            },
            "deactivated": [f"fortune: example {b} (b.test)"],
            "activated": [f"fortune: example {c} (c.test)"],
            "refused": [f"fortune: example {d} (d.test)"],
            "tried": 5,
            "left": 0,
            "stopped": "",
            "attempts": 7,
            "unchanged": 0,
            "retries": 3,
            "backoff_seconds": 7.0,
        }
        assert "[1/5] " in captured.err

    def test_a_bar_on_a_terminal(
        self, check: Command, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The bar is drawn on stderr, and there are no lines."""
        monkeypatch.setenv("TTY_COMPATIBLE", "1")
        check("--all")
        captured = capsys.readouterr()
        assert "5/5" in captured.err
        assert "5/5" not in captured.out


@pytest.mark.parametrize(
    "answer",
    [
        {"status": 404},
        {"status": 503},
        {"status": 302, "headers": {"Location": "ftp://u:hunter2@example.test/?hunter2"}},
        {"body": requests.ConnectionError("https://user:hunter2@example.test/hunter2?token=hunter2#hunter2")},
        {"body": ValueError("https://user:hunter2@example.test/page?token=hunter2 is bad")},
    ],
)
def test_secrets_are_not_printed(
    check: Command,
    responses: RequestsMock,
    make_example: MakeExample,
    capsys: pytest.CaptureFixture[str],
    answer: dict[str, Any],
) -> None:
    """Userinfo and query of an address appear neither in logs nor in summaries nor in the database."""
    url = "https://user:hunter2@example.test/page?token=hunter2"
    example = make_example(url, failures=2, last_checked=timezone.now() - timedelta(days=1))
    responses.get("https://example.test/page", **answer)
    responses.get("https://user:hunter2@example.test/page", **answer)
    check()
    example.refresh_from_db()
    captured = capsys.readouterr()
    assert responses.calls
    assert "core.http: " in captured.err, "the log is on stderr"
    for text in (example.last_result, captured.out, captured.err):
        assert "hunter2" not in text


def test_control_characters_are_not_printed(
    check: Command, make_example: MakeExample, capsys: pytest.CaptureFixture[str]
) -> None:
    """Control characters in an address do not reach the terminal."""
    make_example("ftp://exa\x1b[31mmple.test/")
    check()
    assert "\x1b" not in capsys.readouterr().out


class TestMeanwhile:
    """Changes that other people make during a run."""

    @pytest.mark.parametrize(
        "change",
        [
            lambda: PackageExample.objects.update(url="https://new.test/"),
            lambda: PackageExample.objects.update(active=False, failures=0),
            lambda: PackageExample.objects.all().delete(),
        ],
    )
    def test_a_change_during_the_check_wins(
        self,
        check: Command,
        responses: RequestsMock,
        make_example: MakeExample,
        capsys: pytest.CaptureFixture[str],
        change: Callable[[], object],
    ) -> None:
        """The result for an old address is not stored for the new one."""
        make_example(failures=2, last_checked=timezone.now() - timedelta(days=1))

        def answer(_: object) -> tuple[int, dict[str, str], str]:
            change()
            return 404, {}, ""

        responses.add_callback("GET", EXAMPLE_URL, answer)
        assert check() == 0
        assert "skipped (was changed meanwhile)" in capsys.readouterr().out
        assert not PackageExample.objects.exclude(last_result="").exists()

    def test_deleted_or_hidden_before_its_turn(
        self, check: Command, responses: RequestsMock, make_example: MakeExample
    ) -> None:
        """Examples that were deleted or hidden meanwhile are not checked."""
        make_example("https://a.test/")
        deleted, hidden = make_example("https://b.test/"), make_example("https://c.test/")

        def answer(_: object) -> tuple[int, dict[str, str], str]:
            PackageExample.objects.filter(pk=deleted.pk).delete()
            PackageExample.objects.filter(pk=hidden.pk).update(active=False)
            return 200, {}, ""

        responses.add_callback("GET", "https://a.test/", answer)
        assert check() == 0
        assert asked(responses) == ["https://a.test/"]


class TestStopping:
    """Time budgets, Ctrl-C and SIGTERM."""

    @pytest.fixture(autouse=True)
    def _examples(self, make_example: MakeExample, responses: RequestsMock) -> None:
        for host in ("a", "b", "c"):
            make_example(f"https://{host}.test/")
            responses.get(f"https://{host}.test/")

    @staticmethod
    def during(responses: RequestsMock, host: str, action: Callable[[], object]) -> None:
        """Call something while a request to `host` is in progress, then answer."""

        def answer(_: object) -> tuple[int, dict[str, str], str]:
            action()
            return 200, {}, ""

        responses.remove("GET", f"https://{host}.test/")
        responses.add_callback("GET", f"https://{host}.test/", answer)

    @pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
    def test_the_first_signal_ends_the_run_cleanly(
        self,
        check: Command,
        responses: RequestsMock,
        capfd: pytest.CaptureFixture[str],
        number: signal.Signals,
        status: int,
    ) -> None:
        """The current attempt ends and is saved, nothing new starts, and the summary is printed."""
        self.during(responses, "b", lambda: signal.raise_signal(number))
        assert check() == status
        assert PackageExample.objects.filter(last_result="HTTP 200").count() == 2
        captured = capfd.readouterr()
        assert f"1 examples left for the next run: {number.name} received" in captured.out
        assert "Repeat the signal to abort" in captured.err

    def test_the_second_signal_aborts(
        self, check: Command, responses: RequestsMock, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """The current attempt is dropped; results saved before it stay."""
        self.during(responses, "b", lambda: [signal.raise_signal(signal.SIGINT) for _ in range(2)])
        assert check() == 130
        assert PackageExample.objects.filter(last_result="HTTP 200").count() == 1
        err = capsys.readouterr().err
        assert "Aborted" in err
        assert "Traceback" not in err

    def test_time_budget(
        self,
        check: Command,
        responses: RequestsMock,
        outbound_http: OutboundHTTP,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        """After the time budget, nothing new starts, and the exit status is 0."""
        self.during(responses, "b", lambda: outbound_http.clock.advance(8))
        assert check("--time-budget", "8", "--json") == 0
        summary = json.loads(capsys.readouterr().out)
        assert (summary["tried"], summary["left"], summary["stopped"]) == (2, 1, "the time budget is used up")

    def test_a_check_cut_short_by_the_time_budget_counts_as_checked(
        self, check: Command, responses: RequestsMock, outbound_http: OutboundHTTP
    ) -> None:
        """An example whose wait was cut short counts as checked but not as failed; the next run starts with another."""
        PackageExample.objects.filter(url="https://a.test/").update(failures=2)
        responses.upsert("GET", "https://a.test/", status=429, headers={"Retry-After": "50"})
        assert check("--time-budget", "8") == 0
        assert outbound_http.clock.now <= 8.5
        example = PackageExample.objects.get(url="https://a.test/")
        assert (example.active, example.failures) == (True, 2)
        assert example.last_result == "no answer: the time budget is used up"
        responses.calls.reset()
        check("--limit", "1")
        assert asked(responses) == ["https://b.test/"]
