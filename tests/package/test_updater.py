"""The order of the queue, and a run over it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.db import DataError, IntegrityError, InterfaceError, OperationalError, connection
from django.utils import timezone

from core.http import registry
from core.http.testing import OutboundHTTP
from package import pypi as pypi_module
from package.models import Package, Version
from package.results import FetchOutcome, FetchResult
from package.updater import Stopped, Stopper, Summary, due, run
from tests.package.conftest import CannedPyPI, MakePackage

NOW = timezone.now()


def ago(hours: float) -> Any:
    return NOW - timedelta(hours=hours)


def slugs(packages: Any) -> list[str]:
    return [package.slug for package in packages]


def refresh(*packages: Package, stopper: Stopper | None = None) -> tuple[Summary, list[str]]:
    """Run over these packages; return the summary, and of which packages progress was told."""
    told: list[str] = []
    keys = [package.pk for package in packages]
    summary = run(keys, stopper or Stopper(), lambda package, _: told.append(package.slug))
    return summary, told


def refuse_to_store(monkeypatch: pytest.MonkeyPatch, slug: str, error: Exception) -> None:
    """Let the database refuse what PyPI says of one package."""
    record = Package.record_success

    def record_or_refuse(package: Package, fields: list[str]) -> None:
        if package.slug == slug:
            raise error
        record(package, fields)

    monkeypatch.setattr(Package, "record_success", record_or_refuse)


class TestQueue:
    """due."""

    @pytest.fixture
    def queue(self, make_package: MakePackage) -> None:
        make_package("fresh", last_fetched=ago(1))
        make_package("stale", last_fetched=ago(48))
        make_package("new")
        make_package("failing", last_fetched=ago(72), last_exception_at=ago(0.5), last_exception="x")
        make_package("never-went-well", last_exception_at=ago(2), last_exception="x")
        make_package("recovered", last_fetched=ago(3), last_exception_at=ago(90))

    @pytest.mark.usefixtures("queue")
    def test_those_tried_longest_ago_come_first(self) -> None:
        """A try counts, whether it went well or not: what fails cannot block the head."""
        assert slugs(due()) == ["new", "stale", "recovered", "never-went-well", "fresh", "failing"]

    @pytest.mark.usefixtures("queue")
    def test_only_stale_ones_are_due(self) -> None:
        """Stale is what was not refreshed for that long, however often it was tried since."""
        assert slugs(due(ago(20))) == ["new", "stale", "never-went-well", "failing"]

    def test_ties_are_broken_by_age(self, make_package: MakePackage) -> None:
        """The order is the same in every run."""
        for slug in ("b", "a", "c"):
            make_package(slug)
        assert slugs(due()) == ["b", "a", "c"]

    def test_every_package_that_was_tried_moves_back(self, make_package: MakePackage, pypi: CannedPyPI) -> None:
        """Found, missing, failing, without PyPI: each had its turn, and the others come before its next one."""
        tried = [make_package(slug) for slug in ("good", "missing", "down", "odd")]
        tried += [make_package("bare", pypi_url=""), make_package("elsewhere", pypi_url="https://example.org/x")]
        make_package("waiting")
        pypi.knows("good")
        pypi.answers("missing", 404)
        pypi.answers("down", 503)
        pypi.says("odd", [])
        refresh(*tried)
        assert slugs(due())[0] == "waiting"


class TestRun:
    """run."""

    def test_refreshes_each_and_tells(self, make_package: MakePackage, pypi: CannedPyPI) -> None:
        """Packages are refreshed in the given order, and progress is told of each."""
        packages = [make_package(slug) for slug in ("b", "a")]
        for slug in ("a", "b"):
            pypi.knows(slug)
        summary, told = refresh(*packages)
        assert told == pypi.asked == ["b", "a"]
        assert summary.outcomes == {"pypi": {FetchOutcome.UPDATED: 2}}
        assert (summary.tried, summary.left, summary.stopped, summary.attempts, summary.retries) == (2, 0, "", 2, 0)
        assert not summary.reached_nothing

    def test_counts_what_calls_cost(self, make_package: MakePackage, pypi: CannedPyPI) -> None:
        """The summary tells attempts, retries and the seconds lost to them, each kind of outcome by source."""
        packages = [make_package(slug) for slug in ("good", "missing", "down", "odd")]
        packages.append(make_package("bare", pypi_url=""))
        pypi.knows("good")
        pypi.answers("missing", 404)
        pypi.answers("down", 503)
        pypi.knows("odd", classifiers=5)
        summary, _ = refresh(*packages)
        assert summary.as_dict()["sources"] == {
            "pypi": {"updated": 1, "partly updated": 1, "not found": 1, "failed": 1, "left alone": 0, "skipped": 1}
        }
        assert (summary.attempts, summary.retries, summary.backoff_seconds) == (7, 3, 7.0)

    def test_one_that_raises_does_not_lose_the_others(
        self,
        make_package: MakePackage,
        pypi: CannedPyPI,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """A bug that one package brings to light is logged and noted on that package; the others are refreshed."""
        packages = [make_package(slug) for slug in ("a", "buggy", "b")]
        for slug in ("a", "b", "buggy"):
            pypi.knows(slug)
        update = pypi_module.update_package_from_pypi

        def buggy(package: Package, *args: Any) -> FetchResult:
            if package.slug == "buggy":
                raise ZeroDivisionError("secret")
            return update(package, *args)

        monkeypatch.setattr(pypi_module, "update_package_from_pypi", buggy)
        summary, told = refresh(*packages)
        assert told == ["a", "buggy", "b"]
        assert Version.objects.count() == 2
        broken = Package.objects.get(slug="buggy")
        assert "ZeroDivisionError" in broken.last_exception
        assert "secret" not in broken.last_exception
        assert broken.last_exception_count == 1
        assert any(record.exc_info and "buggy" in record.getMessage() for record in caplog.records)
        assert sum(counter[FetchOutcome.FAILED] for counter in summary.outcomes.values()) == 1

    @pytest.mark.parametrize("error", [DataError("too long: s3cret"), IntegrityError("taken: s3cret")])
    def test_one_that_the_database_refuses_does_not_end_the_run(
        self,
        make_package: MakePackage,
        pypi: CannedPyPI,
        monkeypatch: pytest.MonkeyPatch,
        error: Exception,
    ) -> None:
        """What cannot be stored is noted on its package, which moves back in the queue; the others are refreshed."""
        packages = [make_package(slug) for slug in ("refused", "a", "b")]
        make_package("waiting")
        for package in packages:
            pypi.knows(package.slug)
        refuse_to_store(monkeypatch, "refused", error)
        summary, told = refresh(*packages)
        assert told == ["refused", "a", "b"]
        assert (summary.tried, summary.left, summary.stopped, summary.database_failed) == (3, 0, "", False)
        refused = Package.objects.get(slug="refused")
        assert type(error).__name__ in refused.last_exception
        assert "s3cret" not in refused.last_exception
        assert (refused.last_exception_count, refused.pypi_license) == (1, "")
        assert set(slugs(Package.objects.exclude(pypi_license=""))) == {"a", "b"}
        assert slugs(due())[0] == "waiting"

    @pytest.mark.parametrize("error", [OperationalError("gone"), InterfaceError("closed")])
    def test_a_database_that_is_gone_ends_the_run(
        self,
        make_package: MakePackage,
        pypi: CannedPyPI,
        monkeypatch: pytest.MonkeyPatch,
        error: Exception,
    ) -> None:
        """Where nothing can be stored, nobody is asked for more; what was stored before stays."""
        packages = [make_package(slug) for slug in ("a", "b", "c")]
        for package in packages:
            pypi.knows(package.slug)
        refuse_to_store(monkeypatch, "b", error)
        summary, told = refresh(*packages)
        assert told == ["a"]
        assert pypi.asked == ["a", "b"]
        assert (summary.tried, summary.left, summary.database_failed) == (1, 2, True)
        assert type(error).__name__ in summary.stopped

    def test_a_run_in_which_everything_broke_reached_nothing(
        self, make_package: MakePackage, pypi: CannedPyPI, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A bug that strikes every package is not a run in good order."""
        packages = [make_package(slug) for slug in ("a", "b")]

        def buggy(*_: Any) -> None:
            raise ZeroDivisionError

        monkeypatch.setattr(pypi_module, "update_package_from_pypi", buggy)
        summary, _ = refresh(*packages)
        assert summary.reached_nothing

    def test_its_seconds_are_those_of_the_clock(
        self, make_package: MakePackage, pypi: CannedPyPI, outbound_http: OutboundHTTP
    ) -> None:
        """How long a run took goes by the clock that everything else goes by."""
        package = make_package("a")

        def answer(_: object) -> tuple[int, dict[str, str], str]:
            outbound_http.clock.advance(12)
            return 503, {}, ""

        pypi.calls("a", answer)
        summary, _ = refresh(package)
        assert summary.seconds == 4 * 12 + 1 + 2 + 4
        assert summary.as_dict()["seconds"] == 55

    def test_a_wait_that_is_cut_short_is_no_retry(
        self, make_package: MakePackage, pypi: CannedPyPI, outbound_http: OutboundHTTP
    ) -> None:
        """The summary counts the retries that were made."""
        pypi.answers("a", 503)
        stopper = Stopper()
        during_waits(lambda: stopper.stop("enough"), outbound_http)
        summary, _ = refresh(make_package("a"), stopper=stopper)
        assert (summary.attempts, summary.retries, summary.backoff_seconds) == (1, 0, 0.0)

    def test_a_circle_of_redirects_is_logged(
        self, make_package: MakePackage, pypi: CannedPyPI, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Each call of it went well, so core.http has nothing to say: the package is named here, once."""
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
        """The list of what is due may be minutes old."""
        packages = [make_package(slug) for slug in ("a", "b")]
        Package.objects.filter(slug="a").delete()
        pypi.knows("b")
        summary, told = refresh(*packages)
        assert told == ["b"]
        assert (summary.tried, summary.left) == (1, 0)

    @pytest.mark.django_db(transaction=True)
    @pytest.mark.parametrize("status", [200, 404, 503])
    def test_a_package_deleted_during_its_turn_loses_nothing_else(
        self, make_package: MakePackage, pypi: CannedPyPI, status: int
    ) -> None:
        """Whoever deletes a package while it is refreshed does not end the run for the others."""
        packages = [make_package(slug) for slug in ("a", "b")]

        def delete_meanwhile(_: object) -> tuple[int, dict[str, str], str]:
            Package.objects.filter(slug="a").delete()
            return status, {}, '{"info": {"version": "1.0"}}'

        pypi.calls("a", delete_meanwhile)
        pypi.knows("b")
        refresh(*packages)
        assert Package.objects.get().pypi_license == "MIT"

    @pytest.mark.django_db(transaction=True)
    def test_no_transaction_is_open_while_pypi_is_asked(self, make_package: MakePackage, pypi: CannedPyPI) -> None:
        """Each package is saved on its own, and nobody waits for the database meanwhile."""
        package = make_package("a")
        in_transaction: list[bool] = []

        def look(_: object) -> tuple[int, dict[str, str], str]:
            in_transaction.append(connection.in_atomic_block)
            return 404, {}, ""

        pypi.calls("a", look)
        refresh(package)
        assert in_transaction == [False]

    def test_what_is_due_but_has_no_turn_is_counted(self, make_package: MakePackage, pypi: CannedPyPI) -> None:
        """A run that is stopped says how much it left."""
        packages = [make_package(slug) for slug in ("a", "b", "c")]
        stopper = Stopper()
        pypi.knows("a")
        summary = run([p.pk for p in packages], stopper, lambda *_: stopper.stop("enough"))
        assert pypi.asked == ["a"]
        assert (summary.tried, summary.left, summary.stopped) == (1, 2, "enough")
        assert Package.objects.get(slug="a").pypi_license == "MIT"

    def test_stopped_before_it_began(self, make_package: MakePackage, pypi: CannedPyPI) -> None:
        """Nothing is tried once the order to stop is there."""
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
        """A package that always uses the whole time budget up does not keep the others from ever having a turn."""
        packages = [make_package(slug) for slug in ("slow", "good")]
        headers = {} if retry_after is None else {"Retry-After": retry_after}
        pypi.answers("slow", 503, headers=headers)
        pypi.knows("good")
        refresh(*packages, stopper=Stopper(time_budget=5))
        assert slugs(due())[0] == "good"

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
    def test_tells_whether_anything_was_reached(
        self, make_package: MakePackage, pypi: CannedPyPI, answers: dict[str, int], nothing: bool
    ) -> None:
        """Packages that fail are daily life; a run in which nothing answered is not."""
        for name, status in answers.items():
            pypi.knows(name) if status == 200 else pypi.answers(name, status)
        summary, _ = refresh(*map(make_package, answers))
        assert summary.reached_nothing is nothing

    @pytest.mark.parametrize("url", ["https://github.com/x/a", "a"])
    def test_what_is_wrong_with_one_package_is_no_outage(
        self, make_package: MakePackage, pypi: CannedPyPI, url: str
    ) -> None:
        """A URL that is not PyPI's, or an answer that is not JSON, does not say that PyPI cannot be reached."""
        pypi.answers("a", 200, body="<h1>Hello</h1>")
        summary, _ = refresh(make_package("a", pypi_url=url))
        assert not summary.reached_nothing

    def test_others_calls_are_not_counted_afterwards(self, make_package: MakePackage, pypi: CannedPyPI) -> None:
        """The summary is of its run, and of nothing later."""
        package = make_package("a")
        pypi.knows("a")
        summary, _ = refresh(package)
        package.fetch_metadata()
        assert summary.attempts == 1


class TestStopper:
    """Stopper."""

    def test_waits_for_as_long_as_it_is_asked(self, outbound_http: OutboundHTTP) -> None:
        """While nobody stops the run, a wait is a wait."""
        Stopper().wait(1.5)
        assert outbound_http.clock.now == pytest.approx(1.5)

    def test_cuts_waiting_short(self, outbound_http: OutboundHTTP) -> None:
        """An order to stop that comes during a long wait is heard at once."""
        stopper = Stopper()
        during_waits(lambda: stopper.stop("enough"), outbound_http)
        with pytest.raises(Stopped, match="enough"):
            stopper.wait(60)
        assert outbound_http.clock.now <= 0.5

    def test_ends_when_the_time_is_up(self, outbound_http: OutboundHTTP) -> None:
        """The time budget ends a wait as well."""
        stopper = Stopper(time_budget=3)
        with pytest.raises(Stopped, match="time budget"):
            stopper.wait(60)
        assert 3 <= outbound_http.clock.now <= 3.5
        assert stopper.reason

    def test_without_a_budget_time_does_not_matter(self, outbound_http: OutboundHTTP) -> None:
        """A run may take hours."""
        stopper = Stopper()
        outbound_http.clock.advance(1e6)
        assert stopper.reason == ""


def during_waits(action: Callable[[], object], outbound_http: OutboundHTTP) -> None:
    """Take `action` each time somebody waits."""

    def wait(seconds: float) -> None:
        outbound_http.clock.wait(seconds)
        action()

    registry.use(time=replace(registry.current().time, wait=wait))


def test_a_stop_while_waiting_begins_no_new_attempt(
    make_package: MakePackage, pypi: CannedPyPI, outbound_http: OutboundHTTP, caplog: pytest.LogCaptureFixture
) -> None:
    """Stopped during the wait before a retry, the run asks PyPI nothing more and ends without an error."""
    packages = [make_package(slug) for slug in ("a", "b")]
    pypi.answers("a", 503)
    stopper = Stopper()
    during_waits(lambda: stopper.stop("enough"), outbound_http)
    summary, _ = refresh(*packages, stopper=stopper)
    assert pypi.asked == ["a"]
    assert summary.stopped == "enough"
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


class TestSourceThatIsDown:
    """An upstream that is down, or asks to be left alone, is left alone."""

    def test_a_source_that_is_down_is_left_alone(
        self, make_package: MakePackage, pypi: CannedPyPI, caplog: pytest.LogCaptureFixture
    ) -> None:
        """When the breaker opens, the rest of the packages cost nothing, one WARNING says so, and none is blamed."""
        packages = [make_package(f"p{number}") for number in range(6)]
        for package in packages:
            pypi.answers(package.slug, 503)
        summary, told = refresh(*packages)
        assert len(told) == 6
        assert summary.outcomes["pypi"] == {FetchOutcome.FAILED: 3, FetchOutcome.LEFT_ALONE: 3}
        assert summary.attempts == 10
        assert summary.reached_nothing
        assert "PyPI is down" in summary.left_alone["pypi"]
        assert [
            record.getMessage() for record in caplog.records if "left alone for the rest" in record.getMessage()
        ] == [f"pypi is left alone for the rest of the run: {summary.left_alone['pypi']}"]
        assert list(Package.objects.filter(last_exception_count=0).values_list("slug", flat=True)) == ["p3", "p4", "p5"]

    def test_a_source_that_limits_our_rate_is_left_alone(self, make_package: MakePackage, pypi: CannedPyPI) -> None:
        """After a 429 that asks for more time than a call has, nobody else asks."""
        packages = [make_package(f"p{number}") for number in range(3)]
        for package in packages:
            pypi.answers(package.slug, 429, headers={"Retry-After": "300"})
        summary, _ = refresh(*packages)
        assert summary.attempts == 1
        assert summary.outcomes["pypi"] == {FetchOutcome.FAILED: 1, FetchOutcome.LEFT_ALONE: 2}
        assert "PyPI limits our rate" in summary.left_alone["pypi"]
