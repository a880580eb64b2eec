"""The order of the queue, and runs over it: parts that were put aside, sources that are down."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from django.db import DataError, IntegrityError, InterfaceError, OperationalError, connection

from core.http.testing import OutboundHTTP
from package.jobs.due import due
from package.jobs.run import run
from package.jobs.stopper import Stopper
from package.models import Package, SourceStatus, Version
from package.sources import pypi as pypi_module
from package.sources import pypistats as downloads_module
from package.sources.fetch_results import FetchOutcome
from package.sources.pypi_fields import ProjectReading
from tests.package.conftest import STATISTICS, CannedPyPI, MakePackage
from tests.package.jobs.running import (
    FAILED,
    PUT_ASIDE,
    UPDATED,
    Told,
    at_first,
    during_waits,
    known,
    refresh,
    slugs,
)


def refuse_to_store(monkeypatch: pytest.MonkeyPatch, slug: str, error: Exception) -> None:
    """Let the database refuse PyPI's data for one package."""
    save = ProjectReading.save

    def save_or_refuse(reading: ProjectReading, package: Package) -> list[str]:
        if package.slug == slug:
            raise error
        return save(reading, package)

    monkeypatch.setattr(ProjectReading, "save", save_or_refuse)


def break_code(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """Let reading PyPI's data for these projects (default: all) raise an unexpected error."""
    read = pypi_module.read_project

    def buggy(data: Any) -> Any:
        if not names or data["info"]["name"] in names:
            raise ZeroDivisionError("secret")
        return read(data)

    monkeypatch.setattr(pypi_module, "read_project", buggy)
    if not names:
        monkeypatch.setattr(downloads_module, "_last_month", buggy)


class TestRun:
    """run."""

    def test_refreshes_each_and_reports_progress(self, make_package: MakePackage, pypi: CannedPyPI) -> None:
        """Packages are refreshed in the given order, and `progress` is called for each."""
        packages = [make_package(slug) for slug in ("b", "a")]
        for slug in ("a", "b"):
            pypi.knows(slug)
        summary, told = refresh(*packages)
        done = {"pypi": UPDATED, "pypistats": UPDATED}
        assert told == [Told("b", done, again=False), Told("a", done, again=False)]
        assert pypi.asked == ["b", "a"]
        assert summary.outcomes == {"pypi": {UPDATED: 2}, "pypistats": {UPDATED: 2}}
        assert (summary.tried, summary.left, summary.stopped, summary.attempts, summary.retries) == (2, 0, "", 4, 0)
        assert not summary.reached_nothing

    def test_counts_attempts_retries_and_backoff(self, make_package: MakePackage, pypi: CannedPyPI) -> None:
        """The summary has attempts, retries, seconds of backoff, and the outcomes by source."""
        packages = [make_package(slug) for slug in ("good", "missing", "down", "odd")]
        packages.append(make_package("bare", pypi_url=""))
        pypi.knows("good")
        pypi.answers("missing", 404)
        pypi.answers("down", 503)
        pypi.knows("odd", classifiers=5)
        pypi.statistics_answer(304)
        SourceStatus.objects.bulk_create(
            SourceStatus(package=package, source="pypistats", validators=known(package.slug))
            for package in packages
            if package.pypi_name
        )
        pypi.mock.get(pypi.url("down"), status=501)
        summary, _ = refresh(*packages)
        nothing = {outcome.key: 0 for outcome in FetchOutcome if outcome is not PUT_ASIDE}
        assert summary.as_dict()["sources"] == {
            "pypi": {**nothing, "updated": 1, "partly_updated": 1, "not_found": 1, "failed": 1, "skipped": 1},
            "pypistats": {**nothing, "unchanged": 4},
        }
        assert (summary.attempts, summary.unchanged, summary.retries, summary.backoff_seconds) == (9, 4, 1, 1.0)

    def test_one_that_raises_does_not_lose_the_others(
        self,
        make_package: MakePackage,
        pypi: CannedPyPI,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """An unexpected error for one package is logged and recorded there; the others are refreshed."""
        packages = [make_package(slug) for slug in ("a", "buggy", "b")]
        for slug in ("a", "b", "buggy"):
            pypi.knows(slug)
        break_code(monkeypatch, "buggy")
        summary, told = refresh(*packages)
        assert at_first(told) == ["a", "buggy", "b"]
        assert Version.objects.count() == 2
        broken = Package.objects.get(slug="buggy")
        assert "ZeroDivisionError" in broken.last_exception
        assert "secret" not in broken.last_exception
        assert broken.last_exception_count == 1
        assert any(record.exc_info and "buggy" in record.getMessage() for record in caplog.records)
        assert sum(counter[FAILED] for counter in summary.outcomes.values()) == 1

    def test_a_bug_outside_of_all_parts_does_not_lose_the_others(
        self,
        make_package: MakePackage,
        pypi: CannedPyPI,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """An error outside of the parts affects only its package, and counts as a failure each time."""
        packages = [make_package(slug) for slug in ("buggy", "a")]
        pypi.knows("a"), pypi.knows("buggy")
        refuse_to_store(monkeypatch, "buggy", ZeroDivisionError("secret"))
        for count in (1, 2):
            summary, told = refresh(*packages, everything=True)
            assert at_first(told) == ["buggy", "a"]
            assert summary.outcomes["pypi"] == {FAILED: 1, UPDATED: 1}
            broken = Package.objects.get(slug="buggy")
            assert broken.last_exception == "could not be stored: ZeroDivisionError; see the log"
            assert broken.last_exception_count == count
        assert Package.objects.get(slug="a").pypi_license == "MIT"
        assert any(record.exc_info and "buggy" in record.getMessage() for record in caplog.records)

    @pytest.mark.parametrize("error", [DataError("too long: s3cret"), IntegrityError("taken: s3cret")])
    def test_one_that_the_database_refuses_does_not_end_the_run(
        self,
        make_package: MakePackage,
        pypi: CannedPyPI,
        monkeypatch: pytest.MonkeyPatch,
        error: Exception,
    ) -> None:
        """Data that cannot be stored is a failure of its package, which moves back; the others are refreshed."""
        packages = [make_package(slug) for slug in ("refused", "a", "b")]
        make_package("waiting")
        for package in packages:
            pypi.knows(package.slug)
        refuse_to_store(monkeypatch, "refused", error)
        summary, told = refresh(*packages)
        assert at_first(told) == ["refused", "a", "b"]
        assert (summary.tried, summary.left, summary.stopped, summary.database_failed) == (3, 0, "", False)
        refused = Package.objects.get(slug="refused")
        assert type(error).__name__ in refused.last_exception
        assert "s3cret" not in refused.last_exception
        assert (refused.last_exception_count, refused.pypi_license) == (1, "")
        assert refused.pypi_downloads == 1000
        assert set(slugs(Package.objects.exclude(pypi_license=""))) == {"a", "b"}
        assert slugs(due()) == ["waiting"]

    @pytest.mark.parametrize("error", [OperationalError("gone"), InterfaceError("closed")])
    def test_a_database_that_is_gone_ends_the_run(
        self,
        make_package: MakePackage,
        pypi: CannedPyPI,
        monkeypatch: pytest.MonkeyPatch,
        error: Exception,
    ) -> None:
        """If the database fails, no further request is sent; stored results stay."""
        packages = [make_package(slug) for slug in ("a", "b", "c")]
        for package in packages:
            pypi.knows(package.slug)
        refuse_to_store(monkeypatch, "b", error)
        summary, told = refresh(*packages)
        assert at_first(told) == ["a"]
        assert pypi.asked == ["a", "b"]
        assert (summary.tried, summary.left, summary.database_failed) == (1, 2, True)
        assert type(error).__name__ in summary.stopped

    def test_a_run_in_which_everything_broke_reached_nothing(
        self, make_package: MakePackage, pypi: CannedPyPI, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A run in which every package raised an unexpected error fails."""
        packages = [make_package(slug) for slug in ("a", "b")]
        pypi.knows("a"), pypi.knows("b")
        break_code(monkeypatch)
        summary, _ = refresh(*packages)
        assert summary.reached_nothing

    def test_its_seconds_are_those_of_the_clock(
        self, make_package: MakePackage, pypi: CannedPyPI, outbound_http: OutboundHTTP
    ) -> None:
        """The duration of a run is measured with the clock of core.http."""
        package = make_package("a")

        def answer(_: object) -> tuple[int, dict[str, str], str]:
            outbound_http.clock.advance(12)
            return 501, {}, ""

        pypi.calls("a", answer)
        summary, _ = refresh(package)
        assert summary.seconds == summary.as_dict()["seconds"] == 12

    def test_a_wait_that_is_cut_short_is_no_retry(
        self, make_package: MakePackage, pypi: CannedPyPI, outbound_http: OutboundHTTP
    ) -> None:
        """A wait that was cut short does not count as a retry."""
        pypi.answers("a", 503)
        stopper = Stopper()
        during_waits(lambda: stopper.stop("enough"), outbound_http)
        summary, _ = refresh(make_package("a"), stopper=stopper)
        assert (summary.attempts, summary.retries, summary.backoff_seconds) == (1, 0, 0.0)
        assert (summary.stopped, summary.left) == ("enough", 1)

    def test_a_circle_of_redirects_is_logged(
        self, make_package: MakePackage, pypi: CannedPyPI, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A redirect loop is logged once with the package, because core.http logs no failure."""
        pypi.answers("a", 302, headers={"Location": pypi.url("a")})
        summary, _ = refresh(make_package("a"))
        warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
        assert len(warnings) == 1
        assert "a: not updated" in warnings[0]
        assert "redirects" in warnings[0]
        assert "redirects" in Package.objects.get().last_exception
        assert not summary.reached_nothing

    def test_a_package_deleted_before_its_turn_is_passed_over(
        self, make_package: MakePackage, pypi: CannedPyPI
    ) -> None:
        """A package that was deleted before its turn is skipped."""
        packages = [make_package(slug) for slug in ("a", "b")]
        Package.objects.filter(slug="a").delete()
        pypi.knows("b")
        summary, told = refresh(*packages)
        assert at_first(told) == ["b"]
        assert (summary.tried, summary.left) == (1, 0)

    @pytest.mark.django_db(transaction=True)
    @pytest.mark.parametrize("status", [200, 404, 503])
    def test_a_package_deleted_during_its_turn_loses_nothing_else(
        self, make_package: MakePackage, pypi: CannedPyPI, status: int
    ) -> None:
        """Deleting a package during its refresh does not affect the others."""
        packages = [make_package(slug) for slug in ("a", "b")]

        def delete_meanwhile(_: object) -> tuple[int, dict[str, str], str]:
            Package.objects.filter(slug="a").delete()
            return status, {}, '{"info": {"version": "1.0"}}'

        pypi.calls("a", delete_meanwhile)
        pypi.knows("b")
        summary, _ = refresh(*packages)
        assert Package.objects.get().pypi_license == "MIT"
        assert summary.outcomes["pypi"] == {UPDATED: 1, FetchOutcome.SKIPPED: 1}

    @pytest.mark.django_db(transaction=True)
    def test_no_transaction_is_open_while_pypi_is_asked(self, make_package: MakePackage, pypi: CannedPyPI) -> None:
        """No transaction is open during a request, so that no other process waits for it."""
        package = make_package("a")
        in_transaction: list[bool] = []

        def look(_: object) -> tuple[int, dict[str, str], str]:
            in_transaction.append(connection.in_atomic_block)
            return 404, {}, ""

        pypi.calls("a", look)
        pypi.mock.remove("GET", STATISTICS)
        pypi.mock.add_callback("GET", STATISTICS, callback=look)
        refresh(package)
        assert in_transaction == [False, False]

    def test_due_packages_without_a_turn_are_counted(self, make_package: MakePackage, pypi: CannedPyPI) -> None:
        """A run that is stopped says how much it left."""
        packages = [make_package(slug) for slug in ("a", "b", "c")]
        stopper = Stopper()
        pypi.knows("a")
        summary = run([p.pk for p in packages], stopper, lambda *_: stopper.stop("enough"))
        assert pypi.asked == ["a"]
        assert (summary.tried, summary.left, summary.stopped) == (1, 2, "enough")
        assert Package.objects.get(slug="a").pypi_license == "MIT"

    def test_stopped_before_it_began(self, make_package: MakePackage, pypi: CannedPyPI) -> None:
        """A run that is stopped before it begins tries nothing."""
        stopper = Stopper()
        stopper.stop("enough")
        summary, told = refresh(make_package("a"), stopper=stopper)
        assert not told
        assert not pypi.asked
        assert (summary.tried, summary.left, summary.reached_nothing) == (0, 1, False)

    @pytest.mark.parametrize("retry_after", [None, "50"])
    def test_one_that_was_tried_when_time_ran_out_moves_back(
        self, make_package: MakePackage, pypi: CannedPyPI, retry_after: str | None
    ) -> None:
        """A package that uses up the whole time budget moves back in the queue."""
        packages = [make_package(slug) for slug in ("slow", "good")]
        headers = {} if retry_after is None else {"Retry-After": retry_after}
        pypi.answers("slow", 503, headers=headers)
        pypi.knows("good")
        refresh(*packages, stopper=Stopper(time_budget=5))
        assert slugs(due())[0] == "good"
        assert slugs(due()) == ["good", "slow"]

    @pytest.mark.parametrize(
        ("answers", "nothing"),
        [
            ({}, False),
            ({"a": 200}, False),
            ({"a": 404}, False),
            ({"a": 503, "b": 404}, False),
            ({"a": 503, "b": 200}, False),
            ({"a": 503}, True),
            ({"a": 503, "b": 429}, True),
        ],
    )
    def test_reached_nothing(
        self, make_package: MakePackage, pypi: CannedPyPI, answers: dict[str, int], nothing: bool
    ) -> None:
        """`reached_nothing` is true only if no source answered."""
        for name, status in answers.items():
            pypi.knows(name) if status == 200 else pypi.answers(name, status)
        pypi.statistics_answer(503)
        summary, _ = refresh(*map(make_package, answers))
        assert summary.reached_nothing is nothing

    def test_one_source_that_answers_is_something(self, make_package: MakePackage, pypi: CannedPyPI) -> None:
        """One source that answers is enough for `reached_nothing` to be false."""
        pypi.answers("a", 503)
        summary, _ = refresh(make_package("a"))
        assert not summary.reached_nothing

    @pytest.mark.parametrize("url", ["https://github.com/x/a", "a"])
    def test_a_problem_of_one_package_is_no_outage(self, make_package: MakePackage, pypi: CannedPyPI, url: str) -> None:
        """An invalid PyPI URL, or an answer that is not JSON, does not count as unreachable."""
        pypi.answers("a", 200, body="<h1>Hello</h1>")
        pypi.statistics_answer(503)
        summary, _ = refresh(make_package("a", pypi_url=url))
        assert not summary.reached_nothing

    @pytest.mark.usefixtures("netrc")
    def test_no_password_of_netrc_is_sent(self, make_package: MakePackage, pypi: CannedPyPI) -> None:
        """No password of the machine's netrc is sent to any server, not even after a redirect."""
        pypi.answers("a", 301, headers={"Location": pypi.url("A")})
        pypi.knows("A")
        refresh(make_package("a"))
        assert [call.request.headers.get("Authorization") for call in pypi.mock.calls] == [None] * 3

    def test_others_calls_are_not_counted_afterwards(self, make_package: MakePackage, pypi: CannedPyPI) -> None:
        """The summary does not count calls after its run."""
        package = make_package("a")
        pypi.knows("a")
        summary, _ = refresh(package)
        package.fetch_metadata()
        assert summary.attempts == 2


def test_a_stop_while_waiting_begins_no_new_attempt(
    make_package: MakePackage, pypi: CannedPyPI, outbound_http: OutboundHTTP, caplog: pytest.LogCaptureFixture
) -> None:
    """A stop during the wait before a retry ends the run without another request."""
    packages = [make_package(slug) for slug in ("a", "b")]
    pypi.answers("a", 503)
    stopper = Stopper()
    during_waits(lambda: stopper.stop("enough"), outbound_http)
    summary, _ = refresh(*packages, stopper=stopper)
    assert pypi.asked == ["a"]
    assert summary.stopped == "enough"
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]
