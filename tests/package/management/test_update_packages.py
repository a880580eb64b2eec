"""update_packages: which packages it refreshes, its options, its exit status and its metrics."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Callable
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
import requests
from django.core.management import call_command
from django.db import DataError, OperationalError, connections
from django.utils import timezone
from prometheus_client import REGISTRY

from core.http.django.batch_job_metrics import ITEMS, RUNS
from package.models import Package, SourceStatus
from package.sources import pypi as pypi_module
from package.sources import pypistats as downloads_module
from package.sources.pypi_fields import ProjectReading
from tests.package.conftest import CannedPyPI, MakePackage
from tests.package.management.conftest import Command


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
    def test_tried_longest_ago_first(
        self, update_packages: Command, pypi: CannedPyPI, args: list[str], asked: list[str]
    ) -> None:
        """Packages that are due, tried longest ago first; with slugs, --all or --stale-hours also those not due."""
        assert update_packages(*args) == 0
        assert pypi.asked == asked

    @pytest.mark.parametrize(
        ("args", "statistics"), [([], 4), (["a"], 1), (["--all"], 5), (["--stale-hours", "45"], 3)]
    )
    def test_which_parts_are_fetched(
        self, update_packages: Command, pypi: CannedPyPI, args: list[str], statistics: int
    ) -> None:
        """Without options, the parts that are due; with them, all parts of the packages."""
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
        """A run without work says so and succeeds."""
        assert update_packages() == 0
        pypi.mock.calls.reset()
        capsys.readouterr()
        assert update_packages() == 0
        assert not pypi.asked
        assert "No package is due" in capsys.readouterr().out

    def test_packages_that_fail_move_to_the_end(self, update_packages: Command, pypi: CannedPyPI) -> None:
        """Packages that fail do not keep short runs from refreshing the others."""
        for name in ("new", "c"):
            pypi.answers(name, 404 if name == "c" else 400)
        for _ in range(4):
            update_packages("--all", "--limit", "1")
        assert pypi.asked == ["new", "c", "b", "a"]


class TestBatchMetrics:
    """The metrics of a run."""

    @pytest.fixture
    def growth(self) -> Callable[..., float]:
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
    def test_a_successful_run(self, update_packages: Command, growth: Callable[..., float]) -> None:
        """The items are parts of packages: PyPI's metadata, the downloads."""
        update_packages()
        assert growth("runs_total", "success") == 1
        assert growth("items_total", "success") > 4
        assert growth("items_total", "failure") == 0

    def test_a_run_without_any_answer(
        self, update_packages: Command, growth: Callable[..., float], pypi: CannedPyPI, make_package: MakePackage
    ) -> None:
        """The run counts as failed, and so does each of its items."""
        make_package("a")
        pypi.breaks("a", requests.ConnectionError("refused"))
        pypi.statistics_answer(503)
        assert update_packages("a") == 1
        assert growth("runs_total", "failure") == 1
        assert growth("items_total", "failure") == 2
        assert growth("runs_total", "success") == 0

    def test_misuse_does_not_count(self, update_packages: Command, growth: Callable[..., float]) -> None:
        """Misuse does not count as a run."""
        assert update_packages("nonesuch") == 2
        assert [growth("runs_total", outcome) for outcome in RUNS] == [0, 0, 0]


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
        """A command line with a mistake exits with 2 and a message, and nothing is fetched."""
        make_package("a")
        assert update_packages(*args) == 2
        assert says in capsys.readouterr().err
        assert not pypi.asked


class TestExitStatus:
    """0 the work was done, 1 nothing could be reached."""

    @pytest.mark.parametrize("status", [404, 429, 503])
    def test_some_packages_fail(
        self, update_packages: Command, make_package: MakePackage, pypi: CannedPyPI, status: int
    ) -> None:
        """Failures of some packages do not make the run fail."""
        make_package("a"), make_package("b")
        pypi.answers("a", status)
        pypi.knows("b")
        pypi.statistics_answer(status)
        assert update_packages() == 0

    def test_some_sources_are_down(self, update_packages: Command, make_package: MakePackage, pypi: CannedPyPI) -> None:
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

    def test_packages_without_sources(self, update_packages: Command, make_package: MakePackage) -> None:
        """A run over packages without sources succeeds, although nothing was fetched."""
        make_package("bare", pypi_url="")
        assert update_packages() == 0

    def test_every_package_raises_an_unexpected_error(
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

    def test_a_redirect_loop_is_no_outage(
        self, update_packages: Command, make_package: MakePackage, pypi: CannedPyPI
    ) -> None:
        """A redirect loop is an answer of PyPI, so the run succeeds."""
        make_package("a")
        pypi.answers("a", 302, headers={"Location": pypi.url("a")})
        pypi.statistics_answer(503)
        assert update_packages() == 0


def test_runs_in_a_thread(make_package: MakePackage, pypi: CannedPyPI) -> None:
    """The command works in a thread of a scheduler, and does not change the signal handlers."""
    make_package("a")
    pypi.knows("a")
    out, errors = StringIO(), []

    def work() -> None:
        connections["default"] = connection  # the test's, which sees its packages
        try:
            call_command("update_packages", workers=1, stdout=out)
        except BaseException as exc:  # noqa: BLE001 - the test fails with any error of the thread
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
