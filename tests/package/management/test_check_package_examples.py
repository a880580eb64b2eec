"""check_package_examples: an example becomes inactive only after repeated answers that its page is gone."""

from __future__ import annotations

import io
import json
import signal
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import requests
from django.core.management import execute_from_command_line
from django.db import DataError, OperationalError, connections
from django.utils import timezone
from responses import RequestsMock

from core.http.testing import OutboundHTTP
from package.jobs import example_checks as examples_module
from package.jobs.example_checks import APART, PERMANENT_IN_A_ROW
from package.models import Package, PackageExample
from tests.package.conftest import MakePackage

URL = "https://example.test/page"
Command = Callable[..., int]
MakeExample = Callable[..., PackageExample]


@pytest.fixture
def check(monkeypatch: pytest.MonkeyPatch, db: None) -> Command:
    """Run the command as manage.py does; return its exit status."""
    monkeypatch.setattr(type(connections), "close_all", lambda _: None)  # the test's transaction lives on one of them

    def run(*args: str) -> int:
        try:
            execute_from_command_line(["manage.py", "check_package_examples", *args])
        except SystemExit as exc:
            return int(exc.code or 0)
        return 0

    return run


@pytest.fixture
def make_example(package: Package) -> MakeExample:
    """Make examples, by default of the package "fortune"."""

    def make(url: str = URL, **fields: Any) -> PackageExample:
        return PackageExample.objects.create(**{"package": package, "title": "A site", "url": url, **fields})

    return make


@pytest.fixture
def example(make_example: MakeExample) -> PackageExample:
    return make_example()


def age(hours: float = 24) -> None:
    """Move the last check into the past by some hours."""
    for example in PackageExample.objects.exclude(last_checked=None):
        example.last_checked -= timedelta(hours=hours)
        example.save()


def logged(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Return the log lines of the checks. They are on stderr, because the command configures logging again."""
    return [line for line in capsys.readouterr().err.splitlines() if "package.jobs.example_checks: " in line]


def asked(responses: RequestsMock) -> list[str]:
    return [str(call.request.url) for call in responses.calls]


class TestPermanentAnswers:
    """404, 410 and 451 count: three in a row, with time in between."""

    @pytest.mark.parametrize("status", [404, 410, 451])
    def test_three_in_a_row(
        self,
        check: Command,
        responses: RequestsMock,
        example: PackageExample,
        capsys: pytest.CaptureFixture[str],
        status: int,
    ) -> None:
        """The third one makes it inactive, and is logged."""
        responses.get(URL, status=status)
        for failures in (1, 2):
            assert check() == 0
            example.refresh_from_db()
            assert (example.active, example.failures) == (True, failures)
            assert example.last_result == f"HTTP {status}"
            age()
        assert check() == 0
        example.refresh_from_db()
        assert (example.active, example.failures) == (False, 3)
        [line] = logged(capsys)
        assert (
            f"WARNING package.jobs.example_checks: fortune: example {example.pk} (example.test) becomes inactive"
            in line
        )

    def test_a_second_run_right_after_does_not_count(
        self, check: Command, responses: RequestsMock, example: PackageExample
    ) -> None:
        """Several runs within a few hours count as one failure."""
        responses.get(URL, status=404)
        for _ in range(PERMANENT_IN_A_ROW + 1):
            check()
        example.refresh_from_db()
        assert (example.active, example.failures) == (True, 1)
        assert example.last_result == "HTTP 404, too soon after the last one to count"

    def test_a_job_that_runs_each_hour_counts_nevertheless(
        self, check: Command, responses: RequestsMock, example: PackageExample
    ) -> None:
        """The minimum time is measured from the last answer that counted, so hourly runs add up."""
        responses.get(URL, status=404)
        hours = round(APART.total_seconds() / 3600)
        for _ in range(2 * hours + 1):
            check()
            age(1)
        example.refresh_from_db()
        assert not example.active

    def test_one_good_answer_begins_anew(
        self, check: Command, responses: RequestsMock, example: PackageExample
    ) -> None:
        """A good answer in between resets the count."""
        for status in (404, 404, 200, 404, 404):
            responses.upsert("GET", URL, status=status)
            check()
            age()
        example.refresh_from_db()
        assert (example.active, example.failures) == (True, 2)

    def test_a_page_that_is_gone_behind_a_redirect(
        self, check: Command, responses: RequestsMock, make_example: MakeExample
    ) -> None:
        """Redirects are followed, and the last response counts."""
        example = make_example(failures=2, last_checked=timezone.now() - timedelta(days=1))
        responses.get(URL, status=301, headers={"Location": "https://other.test/"})
        responses.get("https://other.test/", status=404)
        check()
        example.refresh_from_db()
        assert not example.active
        assert example.url == URL

    def test_one_made_active_by_hand_begins_anew(
        self, check: Command, responses: RequestsMock, make_example: MakeExample
    ) -> None:
        """After a person activates an example, the count of failures starts again at 0."""
        example = make_example(failures=3, last_checked=timezone.now())
        responses.get(URL, status=404)
        check()
        example.refresh_from_db()
        assert (example.active, example.failures) == (True, 1)


class TestEverythingElse:
    """Nothing else makes an example inactive, however often it happens."""

    @pytest.mark.parametrize(
        ("answer", "note"),
        [
            *(({"status": status}, f"HTTP {status}") for status in (400, 401, 403, 405, 408, 429, 500, 502, 503, 504)),
            ({"status": 304}, "HTTP 304"),
            ({"status": 302, "headers": {"Location": URL}}, "too many redirects"),
            ({"status": 302, "headers": {"Location": "ftp://example.test/"}}, "InvalidSchema"),
            ({"status": 302, "headers": {"Location": "http://example.test/"}}, "BlockedAddress"),
            ({"body": requests.ConnectionError("no such name")}, "could not be reached: ConnectionError"),
            ({"body": requests.ConnectTimeout("slow")}, "could not be reached"),
            ({"body": requests.ReadTimeout("slow")}, "could not be reached"),
            ({"body": requests.exceptions.SSLError("bad certificate")}, "could not be reached: SSLError"),
            ({"body": ZeroDivisionError("a bug")}, ""),
        ],
    )
    def test_neither_counts_nor_resets(
        self, check: Command, responses: RequestsMock, make_example: MakeExample, answer: dict[str, Any], note: str
    ) -> None:
        """A 503, a 429, a login or a network failure is no information about the page."""
        example = make_example(failures=2, last_checked=timezone.now() - timedelta(days=1))
        responses.get(URL, **answer)
        check()
        example.refresh_from_db()
        assert note in example.last_result
        for _ in range(PERMANENT_IN_A_ROW):
            age()
            check()
        example.refresh_from_db()
        assert (example.active, example.failures) == (True, 2)

    def test_an_open_breaker(self, check: Command, responses: RequestsMock, make_example: MakeExample) -> None:
        """When a server is known to be down, only its examples are skipped."""
        responses.get(URL, status=503)
        responses.get("https://good.test/", status=200)
        for _ in range(5):
            make_example(failures=2)
        good = make_example("https://good.test/")
        assert check() == 0
        assert not PackageExample.objects.filter(active=False).exists()
        assert PackageExample.objects.filter(failures=2).count() == 5
        assert asked(responses).count(URL) == 10, "the breaker opens after ten attempts"
        last = PackageExample.objects.filter(failures=2).latest("pk")
        assert last.last_result.startswith("its server is down; nothing is sent before")
        good.refresh_from_db()
        assert good.last_result == "HTTP 200"

    def test_a_server_that_limits_our_rate(
        self, check: Command, responses: RequestsMock, make_example: MakeExample
    ) -> None:
        """A server that asks for a longer pause than a call may wait gets no further request."""
        responses.get(URL, status=429, headers={"Retry-After": "600"})
        first, second = make_example(failures=2), make_example(failures=2)
        check()
        assert asked(responses) == [URL]
        first.refresh_from_db(), second.refresh_from_db()
        assert first.last_result == "HTTP 429"
        assert second.last_result.startswith("its server limits our rate")
        assert first.active
        assert second.active

    @pytest.mark.parametrize(
        "url",
        [
            "http://127.0.0.1/",
            "http://127.0.0.1:1/",
            "http://localhost:8080/",
            "http://[::1]/",
            "http://169.254.169.254/latest/meta-data/",
            "http://2130706433/",
            "ftp://example.test/",
            "file:///etc/passwd",
            "http://",
            "example.test/page",
            "http://[",
            "",
        ],
    )
    def test_addresses_that_lead_where_nothing_is_fetched(
        self,
        check: Command,
        responses: RequestsMock,
        make_example: MakeExample,
        capsys: pytest.CaptureFixture[str],
        url: str,
    ) -> None:
        """Nothing is sent to such an address; it is recorded, and a WARNING is logged."""
        if url:
            responses.add_passthru(url)
        example = make_example(url, failures=2, last_checked=timezone.now() - timedelta(days=1))
        for _ in range(PERMANENT_IN_A_ROW + 1):
            assert check() == 0
        example.refresh_from_db()
        assert (example.active, example.failures) == (True, 2)
        assert example.last_result.startswith("its address is not allowed: ")
        captured = capsys.readouterr()
        assert f"WARNING package.jobs.example_checks: fortune: example {example.pk}" in captured.err
        assert "Not checked (still active): correct the address, which is not allowed: fortune: example" in captured.out


class TestGoodAnswers:
    @pytest.mark.parametrize("status", [200, 204, 206])
    def test_resets_the_count(
        self, check: Command, responses: RequestsMock, make_example: MakeExample, status: int
    ) -> None:
        """An answer with the page resets the count of failures."""
        example = make_example(failures=2)
        responses.get(URL, status=status)
        before = timezone.now()
        check()
        example.refresh_from_db()
        assert (example.active, example.failures, example.last_result) == (True, 0, f"HTTP {status}")
        assert example.last_checked is not None
        assert example.last_checked >= before

    def test_nothing_else_is_touched(self, check: Command, responses: RequestsMock, example: PackageExample) -> None:
        """A check does not change `modified` or other fields of the example."""
        responses.get(URL, status=301, headers={"Location": "https://new.test/"})
        responses.get("https://new.test/")
        check()
        before = PackageExample.objects.values().get()
        assert before["last_result"] == "HTTP 200"
        for name in ("url", "title", "created", "modified", "package_id"):
            assert before[name] == getattr(example, name)

    def test_the_body_is_left_unread(self, check: Command, responses: RequestsMock, example: PackageExample) -> None:
        """The body of a page is not downloaded."""

        class Body(io.BufferedReader):
            def read(self, *_: Any) -> bytes:
                pytest.fail("it was read")

        body = Body(io.BytesIO(b"x"))  # type: ignore[arg-type]
        responses.get(URL, body=body)
        check()
        example.refresh_from_db()
        assert example.last_result == "HTTP 200"
        assert body.closed


class TestInactive:
    """Examples that checks made inactive, and examples that a person has hidden."""

    def test_are_left_out(self, check: Command, responses: RequestsMock, make_example: MakeExample) -> None:
        """Inactive examples are checked only with --all."""
        make_example(active=False, failures=3)
        assert check() == 0
        assert not responses.calls

    def test_become_active_again(
        self,
        check: Command,
        responses: RequestsMock,
        make_example: MakeExample,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        """With --all, an inactive example whose page answers becomes active."""
        example = make_example(active=False, failures=3)
        responses.get(URL)
        assert check("--all") == 0
        example.refresh_from_db()
        assert (example.active, example.failures) == (True, 0)
        [line] = logged(capsys)
        assert f"INFO package.jobs.example_checks: fortune: example {example.pk} (example.test) is active again" in line

    @pytest.mark.parametrize("status", [404, 503])
    def test_stay_inactive(
        self, check: Command, responses: RequestsMock, make_example: MakeExample, status: int
    ) -> None:
        """With --all, an inactive example whose page does not answer stays inactive."""
        example = make_example(active=False, failures=3)
        responses.get(URL, status=status)
        check("--all")
        example.refresh_from_db()
        assert (example.active, example.failures) == (False, 3)

    def test_what_somebody_hid_stays_hidden(
        self, check: Command, responses: RequestsMock, make_example: MakeExample
    ) -> None:
        """An example that a person has hidden is never checked."""
        make_example(active=False, failures=2)
        check("--all")
        assert not responses.calls


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

    def test_short_runs_get_round_to_each(self, check: Command, responses: RequestsMock) -> None:
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
        """A site without examples is in order."""
        assert check() == 0
        assert "No example to check" in capsys.readouterr().out

    @pytest.mark.parametrize("status", [404, 429, 503])
    def test_any_answer_shows_that_the_network_works(
        self, check: Command, responses: RequestsMock, example: PackageExample, status: int
    ) -> None:
        """One answer of any server means success: failures of other sites must not raise an alert."""
        responses.get(URL, status=status)
        assert check() == 0

    @pytest.mark.parametrize("options", [[], ["--json"]])
    def test_nothing_could_be_reached(
        self, check: Command, responses: RequestsMock, make_example: MakeExample, options: list[str]
    ) -> None:
        """A run in which no server answered fails; addresses that are refused are no answers."""
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
        """With --json a program reads stdout, and a human reads stderr."""
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
def test_secrets_are_not_told(
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


def test_control_characters_are_not_told(
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

        responses.add_callback("GET", URL, answer)
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
    def test_the_first_signal_ends_the_run_in_good_order(
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

    def test_one_that_takes_too_long_is_not_first_the_next_time(
        self, check: Command, responses: RequestsMock, outbound_http: OutboundHTTP
    ) -> None:
        """A wait is cut short; the example counts as checked, but not as failed."""
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
