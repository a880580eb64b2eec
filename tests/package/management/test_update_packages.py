"""update_packages: options, output, exit status, signals."""

from __future__ import annotations

import json
import os
import pty
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import requests
from django.core.management import call_command, execute_from_command_line
from django.db import DataError, OperationalError, connections
from django.utils import timezone
from prometheus_client import REGISTRY
from pytest_httpserver import HTTPServer

from core.http import process as outbound
from core.http.django.batch_job_metrics import ITEMS, RUNS
from core.http.testing import OutboundHTTP
from package.models import Package, SourceStatus
from package.sources import pypi as pypi_module
from package.sources import pypistats as downloads_module
from package.sources.pypi_fields import ProjectReading
from tests.package.conftest import CannedPyPI, MakePackage
from tests.pages import documented_keys, text_of
from tests.upstreams.pypi import FakePyPI, project, serving

ROOT = Path(__file__).resolve().parents[3]
Command = Callable[..., int]


@pytest.fixture
def update_packages(monkeypatch: pytest.MonkeyPatch, db: None) -> Command:
    """Run the command as manage.py does; return its exit status."""
    # It closes the connections when it is done; the test's transaction lives on one of them.
    monkeypatch.setattr(type(connections), "close_all", lambda _: None)

    def run(*args: str) -> int:
        try:
            execute_from_command_line(["manage.py", "update_packages", "--workers=1", *args])
        except SystemExit as exc:
            return int(exc.code or 0)
        return 0

    return run


@pytest.fixture
def queue(make_package: MakePackage, pypi: CannedPyPI) -> None:
    """Four packages that are due, in this order, and one that is fresh. PyPI knows them all."""
    now = timezone.now()
    for slug, hours in (("c", 90), ("b", 60), ("a", 30), ("fresh", 1)):
        fetched = now - timedelta(hours=hours)
        make_package(slug, last_fetched=fetched, next_due=fetched + timedelta(hours=20))
        pypi.knows(slug)
    make_package("new")
    pypi.knows("new")


@pytest.mark.usefixtures("queue")
class TestChoice:
    """Which packages are refreshed, and in which order."""

    @pytest.mark.parametrize(
        ("args", "asked"),
        [
            ([], ["new", "c", "b", "a"]),
            (["--all"], ["new", "c", "b", "a", "fresh"]),
            (["--limit", "2"], ["new", "c"]),
            (["--all", "--limit", "9"], ["new", "c", "b", "a", "fresh"]),
            (["--stale-hours", "45"], ["new", "c", "b"]),
            (["--stale-hours", "0.5"], ["new", "c", "b", "a", "fresh"]),
            (["--stale-hours", "45", "--limit", "1"], ["new"]),
            (["a"], ["a"]),
            (["fresh", "a", "c"], ["c", "a", "fresh"]),
            (["a", "a"], ["a"]),
            (["a", "c", "--limit", "1"], ["c"]),
        ],
    )
    def test_stalest_first(self, update_packages: Command, pypi: CannedPyPI, args: list[str], asked: list[str]) -> None:
        """Packages that are due, tried longest ago first; with slugs, --all or --stale-hours also those not due."""
        assert update_packages(*args) == 0
        assert pypi.asked == asked

    @pytest.mark.parametrize(
        ("args", "statistics"), [([], 4), (["a"], 1), (["--all"], 5), (["--stale-hours", "45"], 3)]
    )
    def test_what_is_due_of_them(
        self, update_packages: Command, pypi: CannedPyPI, args: list[str], statistics: int
    ) -> None:
        """Without options, the parts that the ledger says are due; with them, all parts of the packages."""
        later = timezone.now() + timedelta(hours=9)
        SourceStatus.objects.bulk_create(
            SourceStatus(package=package, source="pypi", next_due=later) for package in Package.objects.all()
        )
        update_packages(*args)
        assert sum("pypistats" in call.request.url for call in pypi.mock.calls) == statistics
        assert len(pypi.asked) == (statistics if args else 0)

    def test_nothing_is_due(
        self, update_packages: Command, pypi: CannedPyPI, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """A run without work says so, and is in order."""
        assert update_packages() == 0
        pypi.mock.calls.reset()
        capsys.readouterr()
        assert update_packages() == 0
        assert not pypi.asked
        assert "No package is due" in capsys.readouterr().out

    def test_those_that_fail_move_back(self, update_packages: Command, pypi: CannedPyPI) -> None:
        """Runs that are too short for all of them get round to each one nevertheless."""
        for name in ("new", "c"):
            pypi.answers(name, 404 if name == "c" else 400)
        for _ in range(4):
            update_packages("--all", "--limit", "1")
        assert pypi.asked == ["new", "c", "b", "a"]


class TestBatchMetrics:
    """The metrics of a run."""

    @pytest.fixture
    def told(self) -> Callable[..., float]:
        """Return by how much a metric of the command has grown since the test began."""

        def value(name: str, labels: dict[str, str]) -> float:
            labels = {"command": "update_packages", **labels}
            return REGISTRY.get_sample_value(f"batch_job_{name}", labels) or 0.0

        before = {
            (name, outcome): value(name, {"outcome": outcome})
            for name, outcomes in (("runs_total", RUNS), ("items_total", ITEMS))
            for outcome in outcomes
        }
        return lambda name, outcome: value(name, {"outcome": outcome}) - before[name, outcome]

    @pytest.mark.usefixtures("queue")
    def test_a_run_that_did_its_work(self, update_packages: Command, told: Callable[..., float]) -> None:
        """The items are parts of packages: PyPI's metadata, the downloads."""
        update_packages()
        assert told("runs_total", "success") == 1
        assert told("items_total", "success") > 4
        assert told("items_total", "failure") == 0

    def test_a_run_that_reached_nothing(
        self, update_packages: Command, told: Callable[..., float], pypi: CannedPyPI, make_package: MakePackage
    ) -> None:
        """The run counts as failed, and so does each of its items."""
        make_package("a")
        pypi.breaks("a", requests.ConnectionError("refused"))
        pypi.statistics_answer(503)
        assert update_packages("a") == 1
        assert told("runs_total", "failure") == 1
        assert told("items_total", "failure") == 2
        assert told("runs_total", "success") == 0

    def test_misuse_is_no_run(self, update_packages: Command, told: Callable[..., float]) -> None:
        """Misuse does not count as a run."""
        assert update_packages("nonesuch") == 2
        assert [told("runs_total", outcome) for outcome in RUNS] == [0, 0, 0]


class TestMisuse:
    """Exit status 2, a message, and nothing done."""

    @pytest.mark.parametrize(
        ("args", "says"),
        [
            (["nonesuch"], "nonesuch"),
            (["a", "nonesuch", "neither"], "nonesuch, neither"),
            (["a", "--all"], "only one of"),
            (["a", "--stale-hours", "3"], "only one of"),
            (["--all", "--stale-hours", "3"], "only one of"),
            *(([f"--limit={value}"], "--limit") for value in ("0", "-1", "x", "1.5", "", "nan", "9" * 20)),
            *(
                ([f"--stale-hours={value}"], "--stale-hours")
                for value in ("0", "-1", "x", "nan", "inf", "1e9", "1e8", "")
            ),
            *(([f"--time-budget={value}"], "--time-budget") for value in ("0", "-1", "x", "nan", "inf", "")),
            (["--limit"], "--limit"),
            (["--retries", "3"], "--retries"),
        ],
    )
    def test_is_refused(
        self,
        update_packages: Command,
        make_package: MakePackage,
        pypi: CannedPyPI,
        capsys: pytest.CaptureFixture[str],
        args: list[str],
        says: str,
    ) -> None:
        """A cron job with a typo does nothing instead of something else."""
        make_package("a")
        assert update_packages(*args) == 2
        assert says in capsys.readouterr().err
        assert not pypi.asked


class TestExitStatus:
    """0 the work was done, 1 nothing could be reached."""

    @pytest.mark.parametrize("status", [404, 429, 503])
    def test_some_failures_are_daily_life(
        self, update_packages: Command, make_package: MakePackage, pypi: CannedPyPI, status: int
    ) -> None:
        """Failures of some packages do not make the run fail."""
        make_package("a"), make_package("b")
        pypi.answers("a", status)
        pypi.knows("b")
        pypi.statistics_answer(status)
        assert update_packages() == 0

    def test_some_sources_that_are_down_are_daily_life(
        self, update_packages: Command, make_package: MakePackage, pypi: CannedPyPI
    ) -> None:
        """A run succeeds if at least one source answered."""
        for slug in ("a", "b"):
            make_package(slug)
            pypi.answers(slug, 503)
        assert update_packages() == 0

    @pytest.mark.parametrize("error", [None, requests.ConnectionError("refused"), requests.ReadTimeout("slow")])
    def test_nothing_could_be_reached(
        self,
        update_packages: Command,
        make_package: MakePackage,
        pypi: CannedPyPI,
        capsys: pytest.CaptureFixture[str],
        error: Exception | None,
    ) -> None:
        """A run in which no source answered fails, and says that the stored data stays."""
        for slug in ("a", "b"):
            make_package(slug)
            pypi.breaks(slug, error) if error else pypi.answers(slug, 503)
        pypi.statistics_answer(503)
        assert update_packages() == 1
        assert "Nothing could be fetched. All packages keep their data." in capsys.readouterr().out

    def test_nothing_could_be_reached_in_json(
        self, update_packages: Command, make_package: MakePackage, pypi: CannedPyPI
    ) -> None:
        """With --json the status is the same."""
        make_package("a")
        pypi.answers("a", 503)
        pypi.statistics_answer(503)
        assert update_packages("--json") == 1

    def test_packages_without_pypi_are_no_failure(self, update_packages: Command, make_package: MakePackage) -> None:
        """A site whose packages are not on PyPI has nothing to reach."""
        make_package("bare", pypi_url="")
        assert update_packages() == 0

    def test_a_bug_that_strikes_every_package(
        self, update_packages: Command, make_package: MakePackage, pypi: CannedPyPI, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A run in which every package failed with an unexpected error fails."""

        def buggy(*_: Any) -> None:
            raise ZeroDivisionError

        for slug in ("a", "b"):
            make_package(slug)
            pypi.knows(slug)
        monkeypatch.setattr(pypi_module, "read_project", buggy)
        monkeypatch.setattr(downloads_module, "_last_month", buggy)
        assert update_packages() == 1

    @pytest.mark.parametrize(("error", "status"), [(OperationalError("gone"), 1), (DataError("too long"), 0)])
    @pytest.mark.parametrize("options", [[], ["--json"]])
    def test_the_database_fails(
        self,
        update_packages: Command,
        make_package: MakePackage,
        pypi: CannedPyPI,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
        error: Exception,
        status: int,
        options: list[str],
    ) -> None:
        """A database that is gone ends the run, with its summary and without a traceback; a bad value does not."""
        save = ProjectReading.save

        def save_or_fail(reading: ProjectReading, package: Package) -> list[str]:
            if package.slug == "b":
                raise error
            return save(reading, package)

        monkeypatch.setattr(ProjectReading, "save", save_or_fail)
        for slug in ("a", "b", "c"):
            make_package(slug)
            pypi.knows(slug)
        assert update_packages(*options) == status
        out = capsys.readouterr().out
        assert pypi.asked == (["a", "b"] if status else ["a", "b", "c"])
        if options:
            summary = json.loads(out)
            assert (summary["tried"], summary["left"]) == ((1, 2) if status else (3, 0))
            assert ("OperationalError" in summary["stopped"]) == bool(status)
        else:
            assert ("1 packages in" if status else "3 packages in") in out
            assert ("2 packages left for the next run: the database failed" in out) == bool(status)

    def test_a_circle_of_redirects_is_no_outage(
        self, update_packages: Command, make_package: MakePackage, pypi: CannedPyPI
    ) -> None:
        """A redirect loop is an answer of PyPI, so the run succeeds."""
        make_package("a")
        pypi.answers("a", 302, headers={"Location": pypi.url("a")})
        pypi.statistics_answer(503)
        assert update_packages() == 0


def test_it_may_run_in_a_thread(make_package: MakePackage, pypi: CannedPyPI) -> None:
    """Schedulers that call the command in a thread of theirs get the work done, and signals stay as they were."""
    make_package("a")
    pypi.knows("a")
    out, errors = StringIO(), []

    def work() -> None:
        connections["default"] = connection  # the test's, which sees its packages
        try:
            call_command("update_packages", workers=1, stdout=out)
        except BaseException as exc:  # noqa: BLE001 - whatever it is, the test is to show it
            errors.append(exc)

    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    connection = connections["default"]
    connection.inc_thread_sharing()
    try:
        thread = threading.Thread(target=work)
        thread.start()
        thread.join(30)
    finally:
        connection.dec_thread_sharing()
    assert errors == []
    assert "a: pypi updated, pypistats updated" in out.getvalue()
    assert Package.objects.get().pypi_license == "MIT"
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def table(out: str) -> dict[str, list[str]]:
    """Parse the table in the output: the cells of each row by its first cell."""
    rows = [re.split(r"[│┃]", line.strip("│┃ \n")) for line in out.splitlines() if line[:1] in {"│", "┃"}]
    return {cells[0].strip(): [cell.strip() for cell in cells[1:]] for cells in rows}


class TestOutput:
    """The output of the command."""

    @pytest.fixture(autouse=True)
    def _packages(self, make_package: MakePackage, pypi: CannedPyPI) -> None:
        for slug in ("good", "missing", "down", "odd"):
            make_package(slug)
        make_package("bare", pypi_url="")
        pypi.knows("good")
        pypi.answers("missing", 404)
        pypi.answers("down", 503)
        pypi.knows("odd", project_urls=5)

    def test_lines_and_a_summary(self, update_packages: Command, capsys: pytest.CaptureFixture[str]) -> None:
        """Off the terminal there is a line for each package, with reasons, and a table of all of them."""
        assert update_packages() == 0
        out = capsys.readouterr().out
        assert "[2/5] good: pypi updated, pypistats updated\n" in out
        assert "[3/5] missing: pypi not found, pypistats updated (" in out
        assert "[4/5] down: pypi put aside, pypistats updated (" in out
        assert "HTTP 503" in out
        assert "[5/5] odd: pypi partly updated, pypistats updated (documentation_url: must be an object" in out
        assert "[1/5] bare: pypi skipped (" in out
        assert "[again] down: pypi put aside (" in out
        assert table(out) == {
            "source": ["updated", "partly updated", "not found", "failed", "skipped"],
            "pypi": ["1", "1", "1", "1", "1"],
            "pypistats": ["4", "0", "0", "0", "0"],
        }
        assert "4 packages in" in out, "nobody was asked about bare"
        assert "retries" in out
        assert "lost to backoff" in out
        assert "times a part was put aside for later in the run" in out
        assert "left for the next run" not in out

    def test_what_is_left_alone(
        self, update_packages: Command, pypi: CannedPyPI, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """The table has a column for it, and a line below says how many parts, and why."""
        pypi.answers("good", 429, headers={"Retry-After": "900"})
        assert update_packages() == 0
        out = capsys.readouterr().out
        rows = table(out)
        assert dict(zip(rows["source"], rows["pypi"], strict=True)) == {
            "updated": "0",
            "left alone": "4",
            "skipped": "1",
        }
        assert "[3/5] missing: pypi put aside, pypistats updated (" in out
        assert "pypi: 4 parts left for the next run: " in out
        assert "limits our rate; nothing is sent before" in out

    def test_what_has_not_changed(
        self, update_packages: Command, pypi: CannedPyPI, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """The output counts 304 answers, and the table has a column for unchanged parts."""
        pypi.says("good", project("good"), headers={"ETag": '"1"'})
        update_packages("good")
        pypi.answers("good", 304)
        capsys.readouterr()
        assert update_packages("good") == 0
        out = capsys.readouterr().out
        assert "[1/1] good: pypi unchanged, pypistats updated\n" in out
        assert table(out)["source"] == ["updated", "unchanged"]
        assert "2 attempts (1 were answered by 304: unchanged), 0 retries" in out

    def test_json(self, update_packages: Command, capsys: pytest.CaptureFixture[str]) -> None:
        """With --json a program reads stdout, and a human reads stderr."""
        assert update_packages("--json") == 0
        captured = capsys.readouterr()
        summary = json.loads(captured.out)
        assert summary["sources"]["pypi"] == {
            "updated": 1,
            "partly_updated": 1,
            "unchanged": 0,
            "not_found": 1,
            "failed": 1,
            "not_ready": 0,
            "left_alone": 0,
            "skipped": 1,
        }
        assert (summary["tried"], summary["left"], summary["stopped"]) == (4, 0, "")
        assert summary["version"] == 1
        assert summary["put_aside"] > 0
        assert summary["unchanged"] == 0
        assert summary["left_alone"] == {}
        assert summary["attempts"] - summary["retries"] == 8 + summary["put_aside"] - 1
        assert summary["seconds"] >= summary["backoff_seconds"] > 0
        assert "[2/5] good" in captured.err

    def test_json_is_documented(self, update_packages: Command, capsys: pytest.CaptureFixture[str]) -> None:
        """docs/operations.md has a row for every key and names every outcome; all of them are in snake_case."""
        assert update_packages("--json") == 0
        summary = json.loads(capsys.readouterr().out)
        assert set(summary) == documented_keys("threads")
        outcomes = {outcome for counts in summary["sources"].values() for outcome in counts}
        section = text_of("operations.md", "## Machine-readable output")
        assert {"updated", "not_found", "left_alone"} <= outcomes
        assert [outcome for outcome in outcomes if f"`{outcome}`" not in section] == []
        assert all(re.fullmatch("[a-z_]+", name) for name in {*summary, *outcomes})

    def test_json_of_what_is_left_alone(
        self, update_packages: Command, pypi: CannedPyPI, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """The JSON names each source that was left alone, with the number of parts, the reason and the time."""
        pypi.answers("good", 429, headers={"Retry-After": "900"})
        assert update_packages("--json") == 0
        [(source, left)] = json.loads(capsys.readouterr().out)["left_alone"].items()
        assert (source, left["parts"]) == ("pypi", 4)
        assert left["why"].startswith("PyPI limits our rate; nothing is sent before ")
        assert 890 < (datetime.fromisoformat(left["until"]) - timezone.now()).total_seconds() <= 900

    def test_packages_that_nobody_was_asked_about_were_not_tried(
        self, update_packages: Command, pypi: CannedPyPI, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """A run whose sources all limit its rate says so, and counts no package as tried."""
        Package.objects.filter(slug="bare").delete()
        pypi.answers("good", 429, headers={"Retry-After": "900"})
        pypi.statistics_answer(429, headers={"Retry-After": "900"})
        assert update_packages("good", "--json") == 1
        assert json.loads(capsys.readouterr().out)["tried"] == 1
        assert update_packages("--json") == 1
        summary = json.loads(capsys.readouterr().out)
        assert (summary["tried"], summary["left"], summary["attempts"]) == (0, 0, 0)
        assert {source: left["parts"] for source, left in summary["left_alone"].items()} == {"pypi": 4, "pypistats": 4}
        assert not Package.objects.exclude(last_fetched=None).exists()
        assert update_packages() == 1
        out = capsys.readouterr().out
        assert "0 packages in" in out
        assert "pypi: 4 parts left for the next run: PyPI limits our rate; nothing is sent before " in out
        assert "pypistats: 4 parts left for the next run: " in out
        assert "No package is due." not in out

    def test_json_of_nothing(self, update_packages: Command, capsys: pytest.CaptureFixture[str]) -> None:
        """A run without work is JSON too."""
        Package.objects.all().delete()
        assert update_packages("--json") == 0
        assert json.loads(capsys.readouterr().out)["tried"] == 0

    @pytest.mark.parametrize("args", [[], ["--json"]])
    def test_a_bar_on_a_terminal(
        self,
        update_packages: Command,
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
        args: list[str],
    ) -> None:
        """The bar is drawn on stderr, so that it does not mix with the output on stdout."""
        monkeypatch.setenv("TTY_COMPATIBLE", "1")
        update_packages(*args)
        captured = capsys.readouterr()
        assert "5/5" in captured.err
        assert "[1/5]" not in captured.out
        assert "5/5" not in captured.out


class TestStopping:
    """Time budgets, Ctrl-C and SIGTERM."""

    @pytest.fixture(autouse=True)
    def _packages(self, make_package: MakePackage, pypi: CannedPyPI) -> None:
        for slug in ("a", "b", "c"):
            make_package(slug)
            pypi.knows(slug)

    @staticmethod
    def during(pypi: CannedPyPI, name: str, action: Callable[[], object], status: int = 200) -> None:
        """Call something while a request for `name` to PyPI is in progress, then answer."""

        def answer(_: object) -> tuple[int, dict[str, str], str]:
            action()
            return status, {}, json.dumps(project(name))

        pypi.mock.remove("GET", pypi.url(name))
        pypi.calls(name, answer)

    def test_time_budget(
        self,
        update_packages: Command,
        pypi: CannedPyPI,
        outbound_http: OutboundHTTP,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        """After the time budget, no request is sent; finished results are saved, and the exit status is 0."""
        self.during(pypi, "b", lambda: outbound_http.clock.advance(8))
        assert update_packages("--time-budget", "8") == 0
        assert pypi.asked == ["a", "b"]
        assert Package.objects.filter(pypi_license="MIT").count() == 2
        assert "2 packages left for the next run: the time budget is used up" in capsys.readouterr().out

    def test_time_budget_cuts_waiting_short(
        self, update_packages: Command, pypi: CannedPyPI, outbound_http: OutboundHTTP
    ) -> None:
        """A long pause that PyPI asks for does not extend a run beyond its time budget."""
        pypi.answers("b", 429, headers={"Retry-After": "55"})
        assert update_packages("--time-budget", "8") == 0
        assert pypi.asked == ["a", "b"]
        assert outbound_http.clock.now <= 8.5
        assert set(Package.objects.filter(next_due=None).values_list("slug", flat=True)) == {"b", "c"}

    def test_time_budget_is_used_for_what_is_put_aside(
        self, update_packages: Command, pypi: CannedPyPI, outbound_http: OutboundHTTP
    ) -> None:
        """A run waits for parts that were put aside as long as its time budget allows, and no longer."""
        answers = iter([(429, {"Retry-After": "300"}, "")])
        pypi.calls("b", lambda _: next(answers, (200, {}, json.dumps(project("b")))))
        assert update_packages("--time-budget", "600") == 0
        assert sorted(pypi.asked) == ["a", "b", "b", "c"]
        assert Package.objects.filter(pypi_license="MIT").count() == 3
        assert 300 <= outbound_http.clock.now < 310

    def test_without_a_time_budget_little_is_waited(
        self, update_packages: Command, pypi: CannedPyPI, outbound_http: OutboundHTTP
    ) -> None:
        """Without a time budget, a run waits only a short time for parts that were put aside."""
        pypi.answers("b", 429, headers={"Retry-After": "300"})
        assert update_packages() == 0
        assert outbound_http.clock.now <= 30

    @pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
    def test_the_first_signal_ends_the_run_in_good_order(
        self,
        update_packages: Command,
        pypi: CannedPyPI,
        capfd: pytest.CaptureFixture[str],
        number: signal.Signals,
        status: int,
    ) -> None:
        """The current attempt ends and is saved, nothing new starts, and the summary is printed."""
        self.during(pypi, "b", lambda: signal.raise_signal(number))
        assert update_packages() == status
        assert pypi.asked == ["a", "b"]
        assert set(Package.objects.filter(pypi_license="MIT").values_list("slug", flat=True)) == {"a", "b"}
        captured = capfd.readouterr()
        assert f"2 packages left for the next run: {number.name} received" in captured.out
        assert "Repeat the signal to abort" in captured.err

    def test_the_summary_of_a_stopped_run_is_json_where_asked_for(
        self, update_packages: Command, pypi: CannedPyPI, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """The JSON of a stopped run says what was done and what is left."""
        self.during(pypi, "b", lambda: signal.raise_signal(signal.SIGTERM))
        assert update_packages("--json") == 143
        summary = json.loads(capsys.readouterr().out)
        assert (summary["tried"], summary["left"], summary["stopped"]) == (1, 2, "SIGTERM received")

    def test_a_signal_during_the_last_package(self, update_packages: Command, pypi: CannedPyPI) -> None:
        """After a signal the exit status says so, even if nothing was left to do."""
        self.during(pypi, "c", lambda: signal.raise_signal(signal.SIGINT))
        assert update_packages() == 130
        assert Package.objects.filter(pypi_license="MIT").count() == 3

    def test_a_signal_cuts_waiting_short(
        self, update_packages: Command, pypi: CannedPyPI, outbound_http: OutboundHTTP
    ) -> None:
        """Ctrl-C ends a wait of a minute at once."""

        def wait(seconds: float) -> None:
            outbound_http.clock.wait(seconds)
            if len(outbound_http.clock.waits) == 1:
                signal.raise_signal(signal.SIGINT)

        outbound.use(runtime=replace(outbound.current().runtime, wait=wait))
        pypi.answers("b", 429, headers={"Retry-After": "50"})
        assert update_packages() == 130
        assert pypi.asked == ["a", "b"]
        assert outbound_http.clock.now <= 0.5

    def test_a_signal_cuts_waiting_for_what_is_put_aside_short(
        self,
        update_packages: Command,
        pypi: CannedPyPI,
        outbound_http: OutboundHTTP,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        """Ctrl-C also ends the wait for a paused source, and the output says what is left."""

        def wait(seconds: float) -> None:
            outbound_http.clock.wait(seconds)
            if len(outbound_http.clock.waits) == 1:
                signal.raise_signal(signal.SIGINT)

        outbound.use(runtime=replace(outbound.current().runtime, wait=wait))
        for slug in ("a", "b", "c"):
            pypi.answers(slug, 429, headers={"Retry-After": "300"})
        assert update_packages("--time-budget", "600", "--json") == 130
        assert pypi.asked == ["a"]
        assert outbound_http.clock.now <= 0.5
        summary = json.loads(capsys.readouterr().out)
        assert (summary["tried"], summary["left"], summary["stopped"]) == (3, 0, "SIGINT received")
        assert summary["sources"]["pypi"]["left_alone"] == 3

    @pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
    def test_the_second_signal_aborts(
        self,
        update_packages: Command,
        pypi: CannedPyPI,
        capsys: pytest.CaptureFixture[str],
        number: signal.Signals,
        status: int,
    ) -> None:
        """The current attempt is dropped; results saved before it stay."""
        self.during(pypi, "b", lambda: [signal.raise_signal(number) for _ in range(2)])
        assert update_packages() == status
        assert list(Package.objects.filter(pypi_license="MIT").values_list("slug", flat=True)) == ["a"]
        captured = capsys.readouterr()
        assert "Aborted" in captured.err
        assert "Traceback" not in captured.err

    def test_signals_mean_afterwards_what_they_meant_before(self, update_packages: Command, pypi: CannedPyPI) -> None:
        """Code that calls the command keeps its own handlers."""
        before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
        self.during(pypi, "b", lambda: signal.raise_signal(signal.SIGINT))
        update_packages()
        assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


class Process:
    """`manage.py` in a separate process with its own database; all servers are on the loopback interface."""

    def __init__(self, database: Path, pypi: FakePyPI, statistics: str) -> None:
        self.database, self.pypi = database, pypi
        self.env = {
            **{name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")},
            "COLUMNS": "100",
            "DATABASE_URL": f"sqlite:///{database}",
            "DEBUG": "true",
            "DJANGO_SETTINGS_MODULE": "config.settings",
            "LOG_LEVEL": "INFO",
            "PYPI_URL": pypi.url,
            "PYPISTATS_URL": statistics,
            "TERM": "xterm",
        }

    def start(self, *args: str, **kwargs: Any) -> subprocess.Popen[str]:
        command = [sys.executable, "manage.py", "update_packages", "--workers=1", *args]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen(command, cwd=ROOT, env=self.env, text=True, **{**pipes, **kwargs})

    def run(self, *args: str) -> tuple[int, str, str]:
        """Return exit status, stdout and stderr."""
        with self.start(*args) as process:
            out, err = process.communicate(timeout=60)
        return process.returncode, out, err

    def refreshed(self) -> list[str]:
        with closing(sqlite3.connect(self.database)) as connection:
            return [row[0] for row in connection.execute("SELECT slug FROM package_package WHERE pypi_license = 'MIT'")]

    def claims(self) -> int:
        with closing(sqlite3.connect(self.database)) as connection:
            return int(connection.execute("SELECT count(*) FROM package_claim").fetchone()[0])


@pytest.fixture(scope="session")
def filled_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a database with three packages, as `migrate` and `loaddata` do."""
    directory = tmp_path_factory.mktemp("database")
    moment = "2026-01-01T00:00:00Z"
    fields = {"created": moment, "modified": moment}
    rows = [{"model": "package.category", "pk": 1, "fields": {"title": "App", "slug": "app", **fields}}]
    rows += [
        {
            "model": "package.package",
            "pk": pk,
            "fields": {"title": slug, "slug": slug, "category": 1, "pypi_url": slug, **fields},
        }
        for pk, slug in enumerate(("first", "second", "third"), 1)
    ]
    (directory / "rows.json").write_text(json.dumps(rows))
    script = (
        "import django; django.setup(); from django.core.management import call_command as call; "
        f"call('migrate', verbosity=0); call('loaddata', {str(directory / 'rows.json')!r}, verbosity=0)"
    )
    env = {
        **os.environ,
        "DATABASE_URL": f"sqlite:///{directory / 'db.sqlite3'}",
        "DEBUG": "true",
        "DJANGO_SETTINGS_MODULE": "config.settings",
    }
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, env=env, check=True, timeout=60)
    return directory / "db.sqlite3"


@pytest.fixture
def process(filled_database: Path, tmp_path: Path, httpserver: HTTPServer) -> Iterator[Process]:
    httpserver.expect_request(re.compile("/api/packages/")).respond_with_json({"data": {"last_month": 7}})
    with serving() as pypi:
        yield Process(Path(shutil.copy(filled_database, tmp_path)), pypi, httpserver.url_for("").rstrip("/"))


class AtRequest(list[str]):
    """Calls something at the n-th request to the server, before the answer."""

    def __init__(self, position: int, action: Callable[[], object]) -> None:
        super().__init__()
        self._position, self._action = position, action

    def append(self, path: str) -> None:
        super().append(path)
        if len(self) == self._position:
            self._action()


class TestProcess:
    """The same with a real process."""

    def test_json_is_all_there_is_on_stdout(self, process: Process) -> None:
        """A pipe gets JSON, and nothing else."""
        status, out, err = process.run("--json")
        assert status == 0
        assert json.loads(out)["sources"]["pypi"]["updated"] == 3
        assert "[3/3] third: pypi updated, pypistats updated" in err
        assert process.refreshed() == ["first", "second", "third"]

    def test_misuse(self, process: Process) -> None:
        """An unknown package is exit status 2 and one line, not a traceback."""
        status, out, err = process.run("first", "nonesuch")
        assert (status, out) == (2, "")
        assert "nonesuch" in err
        assert "Traceback" not in err
        assert process.pypi.requested == []

    @pytest.mark.parametrize(("number", "expected"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
    def test_a_signal_from_outside(self, process: Process, number: signal.Signals, expected: int) -> None:
        """On Ctrl-C, or the SIGTERM of a service manager, the current attempt is saved, then the run ends."""
        started: list[subprocess.Popen[str]] = []
        process.pypi.requested = AtRequest(2, lambda: started[0].send_signal(number))
        with process.start() as running:
            started.append(running)
            out, err = running.communicate(timeout=60)
        assert running.returncode == expected
        assert process.refreshed() == ["first", "second"]
        assert f"2 packages left for the next run: {number.name} received" in out
        assert "Traceback" not in err

    def test_a_signal_to_many_threads(self, process: Process) -> None:
        """The current attempts of all threads are saved; the run ends with the slowest, and no claim stays."""
        asked, go = threading.Event(), threading.Event()
        process.pypi.requested = AtRequest(3, lambda: asked.set() or go.wait(60))
        with process.start("--workers=8") as running:
            assert asked.wait(60)
            running.send_signal(signal.SIGINT)
            assert "Repeat the signal to abort" in read_until(running.stderr, "Repeat the signal to abort")
            go.set()
            running.communicate(timeout=60)
        assert running.returncode == 130
        assert process.refreshed() == ["first", "second", "third"]
        assert process.claims() == 0

    def test_the_second_signal_to_many_threads(self, process: Process) -> None:
        """The process does not wait for its threads, and their claims are free at once."""
        asked, go = threading.Event(), threading.Event()
        process.pypi.requested = AtRequest(1, lambda: asked.set() or go.wait(60))
        try:
            with process.start("--workers=8") as running:
                assert asked.wait(60)
                running.send_signal(signal.SIGINT)
                read_until(running.stderr, "Repeat the signal to abort")
                running.send_signal(signal.SIGINT)
                _, err = running.communicate(timeout=30)
        finally:
            go.set()
        assert running.returncode == 130
        assert "Aborted" in err
        assert "Traceback" not in err
        assert process.claims() == 0

    def test_a_killed_run_loses_the_package_in_hand_at_most(self, process: Process) -> None:
        """After SIGKILL, all results that were stored before it are there."""
        started: list[subprocess.Popen[str]] = []
        process.pypi.requested = AtRequest(3, lambda: started[0].send_signal(signal.SIGKILL))
        with process.start() as running:
            started.append(running)
            running.communicate(timeout=60)
        assert running.returncode == -signal.SIGKILL
        assert process.refreshed() == ["first", "second"]

    def test_a_terminal_gets_a_bar(self, process: Process) -> None:
        """On a terminal a bar shows the current package, and the terminal is restored at the end."""
        master, slave = pty.openpty()
        with process.start("--json", stderr=slave) as running:
            os.close(slave)
            shown = read_all(master)
            out, _ = running.communicate(timeout=60)
        assert running.returncode == 0
        assert json.loads(out)["tried"] == 3
        assert "third: pypi updated" in shown
        assert "3/3" in shown
        assert shown.rfind("\x1b[?25h") > shown.rfind("\x1b[?25l") >= 0, "the cursor is hidden, and shown again"
        assert shown.endswith(("\n", "\x1b[?25h"))


def read_until(stream: Any, text: str) -> str:
    """Read what a process writes, line by line, until it has written `text`, or ends."""
    read = ""
    while text not in read and (line := stream.readline()):
        read += line
    return read


def read_all(descriptor: int) -> str:
    """Read what a process writes to its terminal, until it ends."""
    chunks = []
    try:
        while chunk := os.read(descriptor, 65536):
            chunks.append(chunk)
    except OSError:  # how Linux says that nobody has the terminal open any more
        pass
    os.close(descriptor)
    return b"".join(chunks).decode()
