"""The order of the queue, and runs over it: parts that were put aside, sources that are down."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest
from django.db import DataError, IntegrityError, InterfaceError, OperationalError, connection
from django.utils import timezone
from prometheus_client import REGISTRY
from pytest_django import Settings

import config.settings as site
from core.http import ResilientSession, process
from core.http.origin import origin_of
from core.http.testing import OutboundHTTP
from package.jobs import claims
from package.jobs.another_pass import PASSES
from package.jobs.due import due, in_order, stale
from package.jobs.pauses import RESERVE
from package.jobs.run import PATIENCE, run
from package.jobs.stopper import Stopped, Stopper
from package.jobs.summary import Summary
from package.models import Package, SourceStatus, Version
from package.sources import pypi as pypi_module
from package.sources import pypistats as downloads_module
from package.sources.client import READING, Client
from package.sources.errors import LeftAlone, NotReady, Unusable
from package.sources.fields import Reading
from package.sources.pypi_fields import ProjectReading
from package.sources.registry import Part
from package.sources.results import FetchOutcome, FetchResult
from tests.package.conftest import STATISTICS, CannedPyPI, MakePackage, stub
from tests.upstreams.pypi import project

NOW = timezone.now()
FAILED, UPDATED, NOT_FOUND = FetchOutcome.FAILED, FetchOutcome.UPDATED, FetchOutcome.NOT_FOUND
LEFT_ALONE, PUT_ASIDE, NOT_READY = FetchOutcome.LEFT_ALONE, FetchOutcome.PUT_ASIDE, FetchOutcome.NOT_READY


def ago(hours: float) -> Any:
    return NOW - timedelta(hours=hours)


def slugs(packages: Any) -> list[str]:
    return [package.slug for package in packages]


@dataclass(frozen=True)
class Told:
    """The arguments of one call of `progress`."""

    slug: str
    outcomes: dict[str, FetchOutcome]
    """By source."""
    again: bool


def refresh(*packages: Package, stopper: Stopper | None = None, everything: bool = False) -> tuple[Summary, list[Told]]:
    """Run over these packages; return the summary and the calls of `progress`."""
    told: list[Told] = []

    def tell(package: Package, results: list[FetchResult], again: bool) -> None:
        told.append(Told(package.slug, {result.source: result.outcome for result in results}, again))

    keys = [package.pk for package in packages]
    return run(keys, stopper or Stopper(), tell, everything=everything), told


def at_first(told: list[Told]) -> list[str]:
    """Return the packages of all calls of `progress`, without those for parts that were put aside before."""
    return [each.slug for each in told if not each.again]


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


def row(slug: str, source: str = "pypi") -> SourceStatus:
    return SourceStatus.objects.get(package__slug=slug, source=source)


def warnings(caplog: pytest.LogCaptureFixture, *, by: str = "package") -> list[str]:
    """Return the package app's log messages at WARNING or above."""
    return [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING and r.name.startswith(by)]


class TestQueue:
    """due, stale and in_order."""

    @pytest.fixture
    def queue(self, make_package: MakePackage) -> None:
        soon, past = ago(-1), ago(0.1)
        make_package("fresh", last_fetched=ago(1), next_due=soon)
        make_package("stale", last_fetched=ago(48), next_due=past)
        make_package("new")
        make_package("failing", last_fetched=ago(72), last_exception_at=ago(0.5), last_exception="x", next_due=soon)
        make_package("never-went-well", last_exception_at=ago(2), last_exception="x", next_due=past)
        make_package("recovered", last_fetched=ago(3), last_exception_at=ago(90), next_due=past)

    @pytest.mark.usefixtures("queue")
    def test_those_tried_longest_ago_come_first(self) -> None:
        """A package that failed moves back too, so that it cannot block the queue."""
        ordered = in_order(Package.objects.all())
        assert slugs(ordered) == ["new", "stale", "recovered", "never-went-well", "fresh", "failing"]

    @pytest.mark.usefixtures("queue")
    def test_what_is_due_goes_by_the_ledger(self) -> None:
        """Failed parts wait longer each time, successful ones are due tomorrow, new ones at once."""
        assert slugs(due()) == ["new", "stale", "recovered", "never-went-well"]

    @pytest.mark.usefixtures("queue")
    def test_what_is_due_can_be_asked_for_any_moment(self) -> None:
        """The packages due at another time can be queried."""
        assert slugs(due(ago(-1))) == ["new", "stale", "recovered", "never-went-well", "fresh", "failing"]
        assert slugs(due(ago(24))) == ["new"]

    @pytest.mark.usefixtures("queue")
    def test_stale_is_what_was_not_refreshed_for_long(self) -> None:
        """`stale` depends on the last success only."""
        assert slugs(stale(ago(20))) == ["new", "stale", "never-went-well", "failing"]

    def test_ties_are_broken_by_age(self, make_package: MakePackage) -> None:
        """The order is the same in every run."""
        for slug in ("b", "a", "c"):
            make_package(slug)
        assert slugs(due()) == ["b", "a", "c"]

    def test_every_package_that_was_tried_moves_back(self, make_package: MakePackage, pypi: CannedPyPI) -> None:
        """Every tried package moves to the end of the queue, whatever its result."""
        tried = [make_package(slug) for slug in ("good", "missing", "down", "odd")]
        tried += [make_package("bare", pypi_url=""), make_package("elsewhere", pypi_url="https://example.org/x")]
        make_package("waiting")
        pypi.knows("good")
        pypi.answers("missing", 404)
        pypi.answers("down", 503)
        pypi.says("odd", [])
        pypi.statistics_answer(404)
        refresh(*tried)
        assert slugs(in_order(Package.objects.all()))[0] == "waiting"
        assert slugs(due()) == ["waiting"]


class TestRun:
    """run."""

    def test_refreshes_each_and_tells(self, make_package: MakePackage, pypi: CannedPyPI) -> None:
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

    def test_counts_what_calls_cost(self, make_package: MakePackage, pypi: CannedPyPI) -> None:
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
    def test_tells_whether_anything_was_reached(
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
    def test_what_is_wrong_with_one_package_is_no_outage(
        self, make_package: MakePackage, pypi: CannedPyPI, url: str
    ) -> None:
        """An invalid PyPI URL, or an answer that is not JSON, does not count as unreachable."""
        pypi.answers("a", 200, body="<h1>Hello</h1>")
        pypi.statistics_answer(503)
        summary, _ = refresh(make_package("a", pypi_url=url))
        assert not summary.reached_nothing

    @pytest.mark.usefixtures("netrc")
    def test_nobodys_password_is_sent(self, make_package: MakePackage, pypi: CannedPyPI) -> None:
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


class TestStopper:
    """Stopper."""

    def test_waits_for_as_long_as_it_is_asked(self, outbound_http: OutboundHTTP) -> None:
        """Without a stop, a wait takes as long as requested."""
        Stopper().wait(1.5)
        assert outbound_http.clock.now == pytest.approx(1.5)

    def test_cuts_waiting_short(self, outbound_http: OutboundHTTP) -> None:
        """A stop ends a long wait at once."""
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


def known(name: str) -> dict[str, Any]:
    """Return the validators in the ledger after an answer with an ETag about downloads."""
    url = f"https://pypistats.test/api/packages/{name}/recent?period=month"
    return {"reading": READING, "urls": {url: {"etag": '"1"'}}}


def during_waits(action: Callable[[], object], outbound_http: OutboundHTTP) -> None:
    """Call `action` at each wait."""

    def wait(seconds: float) -> None:
        outbound_http.clock.wait(seconds)
        action()

    process.use(runtime=replace(process.current().runtime, wait=wait))


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


class TestWhatIsDue:
    """Only the parts that are due are fetched."""

    @pytest.fixture
    def asked(self, parts: list[Part]) -> list[str]:
        """Return the parts that are requested, of two that always succeed."""
        asked: list[str] = []

        def read(name: str) -> Callable[[Client], Reading]:
            return lambda _: asked.append(name) or Reading()

        parts += [stub("a", read("a")), stub("b", read("b"))]
        return asked

    def test_is_all_that_is_asked_for(self, make_package: MakePackage, asked: list[str]) -> None:
        """Parts that are not due are not requested."""
        package = make_package()
        refresh(package)
        SourceStatus.objects.filter(part="b").update(next_due=ago(1))
        refresh(package)
        assert asked == ["a", "b", "b"]

    def test_does_not_matter_where_everything_is_asked_for(self, make_package: MakePackage, asked: list[str]) -> None:
        """With `everything`, all parts are requested."""
        package = make_package()
        for _ in range(2):
            refresh(package, everything=True)
        assert asked == ["a", "b", "a", "b"]

    def test_may_be_nothing(self, make_package: MakePackage, asked: list[str]) -> None:
        """If another run has fetched all due parts, nothing is requested, and the package has had its turn."""
        package = make_package()
        refresh(package)
        summary, told = refresh(package)
        assert asked == ["a", "b"]
        assert (summary.tried, summary.left, summary.outcomes) == (0, 0, {})
        assert told == [Told(package.slug, {}, again=False)]

    def test_is_what_is_due_when_it_is_claimed(
        self, make_package: MakePackage, asked: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Parts that another run finishes after this run began are not fetched again."""
        package = make_package()
        began = timezone.now()
        refresh(package)
        SourceStatus.objects.update(next_due=None)
        claim = claims.claim

        def finish_first(*args: Any, **how: Any) -> Any:
            SourceStatus.objects.update(last_attempt=began, last_success=began, next_due=ago(-1))
            return claim(*args, **how)

        monkeypatch.setattr(claims, "claim", finish_first)
        refresh(package)
        assert asked == ["a", "b"]

    def test_is_what_has_never_been_asked_for(
        self, make_package: MakePackage, asked: list[str], parts: list[Part]
    ) -> None:
        """A part that was never fetched is due, without the others."""
        package = make_package()
        refresh(package)
        parts.append(stub("c", lambda _: asked.append("c") or Reading()))
        refresh(package)
        assert asked == ["a", "b", "c"]


def answering(*statuses: int, then: int = 200) -> Callable[[Any], tuple[int, dict[str, str], str]]:
    """Answer with each of these statuses, and with the last one from then on."""
    left = list(statuses)

    def answer(request: Any) -> tuple[int, dict[str, str], str]:
        status = left.pop(0) if left else then
        return status, {}, body(request) if status == 200 else ""

    return answer


def body(request: Any) -> str:
    """Return PyPI's JSON for the requested project."""
    return json.dumps(project(request.url.split("/")[-2]))


class TestPutAside:
    """Parts that failed for now are tried again in the same run, after the others."""

    def test_comes_back(self, make_package: MakePackage, pypi: CannedPyPI) -> None:
        """A failure that outlasts the retries of a call is tried again in a second pass."""
        pypi.calls("a", answering(503, 503, 503, 503))
        pypi.knows("b")
        summary, told = refresh(make_package("a"), make_package("b"))
        assert told == [
            Told("a", {"pypi": PUT_ASIDE, "pypistats": UPDATED}, again=False),
            Told("b", {"pypi": UPDATED, "pypistats": UPDATED}, again=False),
            Told("a", {"pypi": UPDATED}, again=True),
        ]
        assert summary.outcomes == {"pypi": {UPDATED: 2}, "pypistats": {UPDATED: 2}}
        assert (summary.tried, summary.put_aside, summary.stopped) == (2, 1, "")
        kept = Package.objects.get(slug="a")
        assert (kept.pypi_license, kept.last_exception, kept.last_exception_count) == ("MIT", "", 0)
        assert (row("a").failures, row("a").error) == (0, "")

    def test_is_asked_for_at_longer_and_longer_intervals(
        self, make_package: MakePackage, parts: list[Part], outbound_http: OutboundHTTP
    ) -> None:
        """The delay between passes doubles, while the run's patience lasts."""
        asked: list[float] = []

        def fail(_: Client) -> Reading:
            asked.append(outbound_http.clock.now)
            raise NotReady("not yet", "not_ready")

        parts.append(stub("a", fail))
        summary, told = refresh(make_package())
        assert asked == pytest.approx([0, 3, 9, 21])
        assert outbound_http.clock.now <= PATIENCE
        assert [each.outcomes["stub"] for each in told] == [PUT_ASIDE] * 4
        assert summary.outcomes == {"stub": {NOT_READY: 1}}

    def test_is_asked_for_so_often_and_no_more(
        self, make_package: MakePackage, parts: list[Part], outbound_http: OutboundHTTP
    ) -> None:
        """The number of passes of a part is limited, even if time is left."""
        part = stub("a", NotReady("not yet", "not_ready"))
        parts.append(part)
        summary, told = refresh(make_package(), stopper=Stopper(time_budget=10_000))
        assert len(told) == PASSES
        assert told[-1].outcomes == {"stub": NOT_READY}
        assert outbound_http.clock.now == pytest.approx(3 + 6 + 12 + 24 + 48)
        assert (summary.outcomes, summary.stopped) == ({"stub": {NOT_READY: 1}}, "")

    def test_is_not_asked_for_all_day_if_nobody_knows_when(self, make_package: MakePackage, parts: list[Part]) -> None:
        """A part that is left alone without a known time has a limited number of passes."""
        parts.append(stub("a", LeftAlone("there was no time left", "deadline_exceeded")))
        summary, told = refresh(make_package(), stopper=Stopper(time_budget=10_000))
        assert len(told) == PASSES
        assert (summary.outcomes, summary.stopped) == ({"stub": {LEFT_ALONE: 1}}, "")
        assert SourceStatus.objects.get().error == "there was no time left"

    def test_is_one_failure(self, make_package: MakePackage, pypi: CannedPyPI) -> None:
        """Several failed passes count as one failure, and the summary has the last result."""
        pypi.answers("a", 429)
        package = make_package("a")
        summary, told = refresh(package)
        assert len(told) > 2
        assert summary.outcomes["pypi"] == {FAILED: 1}
        assert (row("a").failures, Package.objects.get().last_exception_count) == (1, 1)
        assert 1 < (row("a").next_due - timezone.now()) / timedelta(hours=1) * 1.01 < 1.3

    def test_is_only_what_failed(self, make_package: MakePackage, pypi: CannedPyPI) -> None:
        """A pass requests only the parts that failed."""
        pypi.answers("a", 503)
        refresh(make_package("a"))
        statistics = [call for call in pypi.mock.calls if "pypistats" in call.request.url]
        assert len(statistics) == 1

    def test_is_not_what_would_fail_again(self, make_package: MakePackage, parts: list[Part]) -> None:
        """A part whose answer is unusable is not tried again."""
        parts.append(stub("a", Unusable("no JSON", "other")))
        summary, told = refresh(make_package())
        assert (len(told), summary.put_aside, summary.outcomes) == (1, 0, {"stub": {FAILED: 1}})

    def test_what_was_not_ready_is_by_then(
        self, make_package: MakePackage, parts: list[Part], outbound_http: OutboundHTTP
    ) -> None:
        """A part that was not ready is tried again after the others."""
        parts.append(stub("a", NotReady("not yet", "not_ready"), Reading({"repo_forks": 5})))
        summary, _ = refresh(make_package())
        assert summary.outcomes == {"stub": {UPDATED: 1}}
        assert Package.objects.get().repo_forks == 5
        assert outbound_http.clock.now == pytest.approx(3)

    def test_what_was_not_ready_and_then_fails_is_a_failure(self, make_package: MakePackage, parts: list[Part]) -> None:
        """A part that is not ready first and fails later counts as failed."""
        parts.append(stub("a", NotReady("not yet", "not_ready"), Unusable("no JSON", "other")))
        refresh(make_package())
        assert SourceStatus.objects.get().failures == 1
        assert Package.objects.get().last_exception_count == 1

    def test_waits_for_no_longer_than_patience_reaches(
        self, make_package: MakePackage, parts: list[Part], outbound_http: OutboundHTTP
    ) -> None:
        """The patience is a total for all waits."""
        parts.append(stub("a", NotReady("not yet", "not_ready")))
        refresh(*(make_package(f"p{number}") for number in range(20)))
        assert outbound_http.clock.now <= PATIENCE

    def test_of_a_package_that_has_another_address_by_now_is_dropped(
        self, make_package: MakePackage, parts: list[Part]
    ) -> None:
        """Parts that were put aside are dropped if the address of their package changes."""
        package = make_package()
        parts.append(stub("a", NotReady("not yet", "not_ready")))
        told: list[bool] = []

        def move(_: Package, __: list[FetchResult], again: bool) -> None:
            told.append(again)
            parts[:] = [stub("b", Reading())]

        summary = run([package.pk], Stopper(), move)
        assert (told, summary.outcomes) == ([False], {})


class TestSourceThatIsDown:
    """Upstreams that are down, or ask for a pause, get no requests; the others continue."""

    @pytest.fixture
    def packages(self, make_package: MakePackage) -> list[Package]:
        return [make_package(f"p{number}") for number in range(6)]

    @staticmethod
    def out_of_order(
        pypi: CannedPyPI, packages: list[Package], outbound_http: OutboundHTTP, until: float
    ) -> list[float]:
        """Let PyPI answer 503 until that time; return the times of its requests."""
        asked: list[float] = []

        def answer(request: Any) -> tuple[int, dict[str, str], str]:
            asked.append(outbound_http.clock.now)
            return (200, {}, body(request)) if outbound_http.clock.now >= until else (503, {}, "")

        for package in packages:
            pypi.calls(package.slug, answer)
        return asked

    def test_costs_one_probe_for_each_of_its_pauses(
        self, packages: list[Package], pypi: CannedPyPI, outbound_http: OutboundHTTP
    ) -> None:
        """While a source is down, only one probe per pause is sent."""
        asked = self.out_of_order(pypi, packages, outbound_http, until=1e9)
        summary, told = refresh(*packages)
        assert at_first(told) == slugs(packages)
        opened = asked[9]
        assert [moment - opened for moment in asked[10:]] == pytest.approx([15])
        assert summary.outcomes == {"pypi": {FAILED: 4, LEFT_ALONE: 2}, "pypistats": {UPDATED: 6}}

    def test_is_probed_as_long_as_there_is_time(
        self, packages: list[Package], pypi: CannedPyPI, outbound_http: OutboundHTTP
    ) -> None:
        """In a long run, an outage costs only the probes of the breaker, however many packages wait."""
        asked = self.out_of_order(pypi, packages, outbound_http, until=1e9)
        summary, _ = refresh(*packages, stopper=Stopper(time_budget=3600))
        pauses = [later - earlier for earlier, later in pairwise(asked[9:])]
        assert pauses == pytest.approx([15, 30, 60, 120, 240, *[300] * (len(pauses) - 5)])
        assert 3600 - 300 < sum(pauses) <= 3600
        assert outbound_http.clock.now <= 3600
        assert summary.outcomes["pypi"].total() == 6

    def test_may_have_been_down_before(
        self, packages: list[Package], pypi: CannedPyPI, outbound_http: OutboundHTTP
    ) -> None:
        """A run that begins while the breaker is open waits, and then fetches everything."""
        asked = self.out_of_order(pypi, packages, outbound_http, until=20)
        for _ in range(3):
            ResilientSession().get(pypi.url("p0"))
        opened = asked[-1]
        asked.clear()
        summary, told = refresh(*packages)
        assert [each.outcomes["pypi"] for each in told[:6]] == [PUT_ASIDE] * 6
        assert min(asked) >= opened + 15
        assert summary.outcomes["pypi"] == {UPDATED: 6}

    def test_is_noticed_in_the_middle_of_a_package(
        self, make_package: MakePackage, parts: list[Part], pypi: CannedPyPI, outbound_http: OutboundHTTP
    ) -> None:
        """If a source goes down during a package, its remaining parts wait until the source is back."""

        def answer(_: object) -> tuple[int, dict[str, str], str]:
            return (200 if outbound_http.clock.now >= 20 else 503), {}, "{}"

        def ask(client: Client) -> Reading:
            client.get("x")
            return Reading()

        pypi.mock.add_callback("GET", "https://api.github.test/x", callback=answer)
        parts += [stub(name, ask, source="github", api="https://api.github.test") for name in "abcde"]
        first: list[list[FetchResult]] = []
        package = make_package()
        summary = run([package.pk], Stopper(), lambda _, results, __: first.append(results))
        assert [result.reason for result in first[0]] == ["http_5xx"] * 3 + ["breaker_open"] * 2
        assert summary.outcomes == {"github": {UPDATED: 5}}
        assert Package.objects.get().last_exception == ""

    def test_is_caught_up_with_when_it_heals(
        self, packages: list[Package], pypi: CannedPyPI, outbound_http: OutboundHTTP
    ) -> None:
        """After an outage of some seconds, all packages are refreshed in the same run."""
        self.out_of_order(pypi, packages, outbound_http, until=25)
        summary, _ = refresh(*packages)
        assert summary.outcomes == {"pypi": {UPDATED: 6}, "pypistats": {UPDATED: 6}}
        assert summary.put_aside > 0
        assert Package.objects.filter(pypi_license="MIT", last_exception="", last_exception_count=0).count() == 6
        assert not due().exists()
        assert outbound_http.clock.now < 60

    def test_is_said_to_be_once(
        self, packages: list[Package], pypi: CannedPyPI, outbound_http: OutboundHTTP, caplog: pytest.LogCaptureFixture
    ) -> None:
        """One WARNING for all the packages that wait for it."""
        self.out_of_order(pypi, packages, outbound_http, until=1e9)
        refresh(*packages)
        [warning] = warnings(caplog)
        assert "PyPI is down; nothing is sent before " in warning

    def test_is_left_to_the_next_run_in_the_end(
        self, packages: list[Package], pypi: CannedPyPI, outbound_http: OutboundHTTP
    ) -> None:
        """Parts of a source that stays down are left with a reason; they do not fail and stay due."""
        self.out_of_order(pypi, packages, outbound_http, until=1e9)
        summary, _ = refresh(*packages)
        assert "is down; nothing is sent before " in summary.left_alone["pypi"].why
        assert (summary.left, summary.stopped) == (0, "")
        left = SourceStatus.objects.filter(source="pypi", outcome="left alone")
        assert left.count() == 2
        for status in left:
            assert status.error == summary.left_alone["pypi"].why
            assert (status.reason, status.attempts, status.failures) == ("left_alone", 0, 0)
            assert (status.last_attempt, status.next_due) == (None, None)
        assert Package.objects.filter(last_exception_count=0).count() == 2
        assert set(left.values_list("package__slug", flat=True)) <= set(slugs(due()))

    def test_keeps_its_place_in_the_ledger(
        self, packages: list[Package], pypi: CannedPyPI, outbound_http: OutboundHTTP
    ) -> None:
        """A part that is left alone keeps its data in the ledger."""
        for package in packages:
            pypi.says(package.slug, project(package.slug), headers={"ETag": '"1"'})
        refresh(*packages)
        SourceStatus.objects.update(next_due=ago(1))
        before = {status.pk: status for status in SourceStatus.objects.filter(source="pypi")}
        self.out_of_order(pypi, packages, outbound_http, until=1e9)
        refresh(*packages)
        for status in SourceStatus.objects.filter(source="pypi", outcome="left alone"):
            same = before[status.pk]
            assert (status.validators, status.last_success) == (same.validators, same.last_success)
            assert (status.http_status, status.next_due, status.failures) == (200, same.next_due, 0)

    def test_reaches_nothing_if_it_is_all_there_is(self, packages: list[Package], pypi: CannedPyPI) -> None:
        """A run in which every part failed or was left alone has reached nothing."""
        for package in packages:
            pypi.answers(package.slug, 503)
        pypi.statistics_answer(503)
        summary, _ = refresh(*packages)
        assert summary.reached_nothing
        assert set(summary.left_alone) == {"pypi", "pypistats"}

    def test_that_limits_our_rate_is_left_alone(
        self, packages: list[Package], pypi: CannedPyPI, caplog: pytest.LogCaptureFixture
    ) -> None:
        """After a 429 that asks for a long pause, no further request is sent."""
        for package in packages:
            pypi.answers(package.slug, 429, headers={"Retry-After": "300"})
        summary, _ = refresh(*packages)
        assert len(pypi.asked) == 1
        assert summary.outcomes["pypi"] == {LEFT_ALONE: 6}
        assert "limits our rate; nothing is sent before " in summary.left_alone["pypi"].why
        assert len(warnings(caplog)) == 1

    def test_that_limits_our_rate_and_names_no_time_is_left_alone_for_a_minute(
        self, packages: list[Package], pypi: CannedPyPI, settings: Settings, outbound_http: OutboundHTTP
    ) -> None:
        """A 429 without a time pauses the source for a minute, by the site's settings."""
        settings.OUTBOUND_HTTP = {**settings.OUTBOUND_HTTP, "default": site.OUTBOUND_HTTP["default"]}
        for package in packages:
            pypi.answers(package.slug, 429)
        summary, _ = refresh(*packages)
        assert len(pypi.asked) == 1
        assert summary.outcomes["pypi"] == {LEFT_ALONE: 6}
        origin = origin_of("https://pypi.test")
        refusal = process.current().upstream(origin).refusal(outbound_http.clock())
        assert refusal is not None
        assert 59 <= refusal.retry_in <= 60

    def test_that_limits_our_rate_is_waited_for_where_there_is_time(
        self, packages: list[Package], pypi: CannedPyPI, outbound_http: OutboundHTTP
    ) -> None:
        """With enough time, a run waits for the end of a rate limit, and fetches other sources meanwhile."""
        answers = iter([(429, {"Retry-After": "70"}, "")])
        for package in packages:
            pypi.calls(package.slug, lambda request: next(answers, (200, {}, body(request))))
        summary, told = refresh(*packages, stopper=Stopper(time_budget=600))
        assert [each.again for each in told] == [False] * 6 + [True] * 6
        assert summary.outcomes == {"pypi": {UPDATED: 6}, "pypistats": {UPDATED: 6}}
        assert 70 <= outbound_http.clock.now < 75

    def test_is_known_by_its_host_where_it_has_no_name(self, make_package: MakePackage, pypi: CannedPyPI) -> None:
        """Servers without an upstream of their own are paused separately, by host."""
        packages = [make_package(f"p{number}", repo_host=host) for number, host in enumerate(["one", "two"] * 4)]
        pypi.mock.get("https://git.one.test/x", status=503)
        pypi.mock.get("https://git.two.test/x", json={})

        def parts_of(package: Package) -> list[Part]:
            host = package.repo_host
            return [
                stub("x", lambda client: client.get("x") and Reading(), source=host, api=f"https://git.{host}.test")
            ]

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("package.sources.registry.parts_of", parts_of)
            summary, _ = refresh(*packages)
        assert summary.outcomes["two"] == {UPDATED: 4}
        assert summary.outcomes["one"].total() == 4
        assert sum("one" in str(call.request.url) for call in pypi.mock.calls) <= 12


class TestQuota:
    """A part of each quota is reserved for visitors."""

    @staticmethod
    def answer(pypi: CannedPyPI, *names: str, remaining: int, reset: str = "7", limit: str = "100") -> None:
        headers = {"X-RateLimit-Limit": limit, "X-RateLimit-Remaining": str(remaining), "X-RateLimit-Reset": reset}
        for name in names:
            pypi.says(name, project(name), headers={key: value for key, value in headers.items() if value})

    @pytest.fixture
    def packages(self, make_package: MakePackage) -> list[Package]:
        return [make_package(slug) for slug in ("a", "b", "c")]

    @pytest.mark.parametrize(
        ("remaining", "held"), [(0, True), (5, True), (int(100 * RESERVE), True), (11, False), (100, False)]
    )
    def test_near_its_end_the_source_is_left_alone(
        self, packages: list[Package], pypi: CannedPyPI, remaining: int, held: bool
    ) -> None:
        """At a tenth of its quota, a source is paused; the others continue."""
        self.answer(pypi, "a", "b", "c", remaining=remaining, reset="3600")
        summary, _ = refresh(*packages)
        assert pypi.asked == (["a"] if held else ["a", "b", "c"])
        assert summary.outcomes["pypistats"] == {UPDATED: 3}
        assert summary.outcomes["pypi"][LEFT_ALONE] == (2 if held else 0)

    def test_it_is_said_why(self, packages: list[Package], pypi: CannedPyPI) -> None:
        """The summary says how many calls are reserved, for whom, and until when."""
        self.answer(pypi, "a", "b", "c", remaining=7, reset="3600")
        summary, _ = refresh(*packages)
        assert "7 of 100 calls are reserved for visitors until " in summary.left_alone["pypi"].why
        assert row("b").error == summary.left_alone["pypi"].why

    def test_when_it_is_full_again_the_rest_is_fetched(
        self, packages: list[Package], pypi: CannedPyPI, outbound_http: OutboundHTTP
    ) -> None:
        """If the quota is full again within the patience, the rest is fetched."""
        self.answer(pypi, "a", remaining=10)
        self.answer(pypi, "b", "c", remaining=100)
        summary, _ = refresh(*packages)
        assert summary.outcomes["pypi"] == {UPDATED: 3}
        assert outbound_http.clock.now == pytest.approx(7)

    @pytest.mark.parametrize(("reset", "limit"), [("", "100"), ("0", "100"), ("3600", ""), ("3600", "0")])
    def test_that_makes_no_sense_holds_nobody(
        self, packages: list[Package], pypi: CannedPyPI, reset: str, limit: str
    ) -> None:
        """A quota without a limit or a reset pauses nothing."""
        self.answer(pypi, "a", "b", "c", remaining=1, reset=reset, limit=limit)
        refresh(*packages)
        assert pypi.asked == ["a", "b", "c"]


class TestFallbacks:
    """outbound_http_fallbacks_total: stored data replaces an answer."""

    @staticmethod
    def served(upstream: str) -> float:
        labels = {"upstream": upstream, "source": "database"}
        return REGISTRY.get_sample_value("outbound_http_fallbacks_total", labels) or 0.0

    def test_are_counted_once_for_each_part(self, make_package: MakePackage, pypi: CannedPyPI) -> None:
        """A part with stored data counts once, however many passes there were."""
        packages = [make_package(f"p{number}") for number in range(6)]
        for package in packages:
            pypi.knows(package.slug)
        refresh(*packages)
        for package in packages:
            pypi.answers(package.slug, 503)
        before = self.served("pypi"), self.served("pypistats")
        summary, _ = refresh(*packages, everything=True)
        assert summary.put_aside > 6
        assert (self.served("pypi") - before[0], self.served("pypistats") - before[1]) == (6, 0)

    def test_are_not_counted_where_nothing_is_stored(self, make_package: MakePackage, pypi: CannedPyPI) -> None:
        """A part without stored data does not count."""
        before = self.served("pypi")
        pypi.answers("a", 503)
        refresh(make_package("a"))
        assert self.served("pypi") == before

    def test_are_not_counted_where_a_later_pass_went_well(self, make_package: MakePackage, pypi: CannedPyPI) -> None:
        """A part that succeeds in a later pass does not count."""
        package = make_package("a")
        pypi.knows("a")
        refresh(package)
        before = self.served("pypi")
        pypi.calls("a", answering(503, 503, 503, 503))
        refresh(package, everything=True)
        assert self.served("pypi") == before


class TestEndOfARun:
    """Parts that are still put aside when the run ends."""

    @pytest.fixture
    def packages(self, make_package: MakePackage, pypi: CannedPyPI) -> list[Package]:
        """Return packages, with a PyPI that asks for a pause of 15 minutes."""
        packages = [make_package(slug) for slug in ("a", "b", "c")]
        for package in packages:
            pypi.answers(package.slug, 429, headers={"Retry-After": "900"})
        return packages

    def test_a_stop_while_waiting_is_heard_at_once(
        self, packages: list[Package], pypi: CannedPyPI, outbound_http: OutboundHTTP
    ) -> None:
        """A stop during the wait for parts that were put aside ends the run at once, with summary and ledger."""
        stopper = Stopper(time_budget=3600)
        during_waits(lambda: stopper.stop("SIGINT received"), outbound_http)
        summary, _ = refresh(*packages, stopper=stopper)
        assert outbound_http.clock.now <= 0.5
        assert (summary.tried, summary.left, summary.stopped) == (3, 0, "SIGINT received")
        assert summary.outcomes["pypi"] == {LEFT_ALONE: 3}
        assert row("c").outcome == "left alone"

    def test_a_time_budget_is_not_waited_out_in_vain(
        self, packages: list[Package], pypi: CannedPyPI, outbound_http: OutboundHTTP
    ) -> None:
        """A pause that ends after the time budget is not waited for."""
        summary, _ = refresh(*packages, stopper=Stopper(time_budget=600))
        assert outbound_http.clock.now < 1
        assert summary.stopped == ""
        assert summary.outcomes["pypi"].total() == 3

    def test_a_time_budget_that_is_long_enough_gets_everything_done(
        self, packages: list[Package], pypi: CannedPyPI, outbound_http: OutboundHTTP
    ) -> None:
        """A pause that ends within the time budget is waited for."""

        def heal(_: object) -> None:
            if outbound_http.clock.now > 800:
                for package in packages:
                    pypi.knows(package.slug)

        during_waits(lambda: heal(None), outbound_http)
        summary, _ = refresh(*packages, stopper=Stopper(time_budget=3600))
        assert summary.outcomes["pypi"] == {UPDATED: 3}
        assert (summary.left, summary.stopped) == (0, "")
        assert 900 <= outbound_http.clock.now < 1000

    def test_a_stop_in_the_middle_of_the_last_package_is_told(
        self, make_package: MakePackage, pypi: CannedPyPI, outbound_http: OutboundHTTP
    ) -> None:
        """A stop during the last package is in the summary."""
        pypi.answers("a", 503)
        summary, _ = refresh(make_package("a"), stopper=Stopper(time_budget=5))
        assert (summary.tried, summary.left, summary.stopped) == (0, 1, "the time budget is used up")

    def test_a_stop_in_the_middle_of_a_second_pass_is_told(
        self, make_package: MakePackage, pypi: CannedPyPI, outbound_http: OutboundHTTP
    ) -> None:
        """A part that is cut short in a second pass counts with its earlier result."""
        pypi.answers("a", 503)
        summary, _ = refresh(make_package("a"), stopper=Stopper(time_budget=12))
        assert (summary.tried, summary.left, summary.stopped) == (1, 0, "the time budget is used up")
        assert summary.outcomes["pypi"] == {FAILED: 1}

    def test_what_came_before_a_stop_in_a_second_pass_is_told(
        self, make_package: MakePackage, parts: list[Part]
    ) -> None:
        """If a second pass is cut short, fetched parts count as fetched, the others with their earlier result."""
        stopper, not_ready = Stopper(), NotReady("not yet", "not_ready")

        def stop(_: Client) -> Reading:
            stopper.stop("enough")
            return Reading()

        def ask(client: Client) -> Reading:
            client.get("x")
            return Reading()

        parts += [stub("a", not_ready, stop), stub("b", not_ready, ask)]
        summary, _ = refresh(make_package(), stopper=stopper)
        assert summary.outcomes == {"stub": {UPDATED: 1, NOT_READY: 1}}
        assert (summary.tried, summary.left, summary.stopped) == (1, 0, "enough")

    @pytest.mark.django_db(transaction=True)
    def test_a_package_that_was_deleted_meanwhile_is_passed_over(
        self, packages: list[Package], pypi: CannedPyPI
    ) -> None:
        """Deleting a package with parts that were put aside does not affect the others."""

        def delete(package: Package, _: list[FetchResult], again: bool) -> None:
            if package.slug == "b":
                Package.objects.filter(slug="b").delete()

        summary = run([package.pk for package in packages], Stopper(), delete)
        assert not summary.database_failed
        assert set(SourceStatus.objects.filter(source="pypi").values_list("package__slug", flat=True)) == {"a", "c"}

    @pytest.mark.parametrize("error", [OperationalError("gone"), InterfaceError("closed")])
    @pytest.mark.parametrize(
        "when",
        [(Package.objects, "filter", 1), (SourceStatus.objects, "bulk_create", 3)],
        ids=["between two packages", "at the end"],
    )
    def test_a_database_that_is_gone_by_then_is_told(
        self, packages: list[Package], monkeypatch: pytest.MonkeyPatch, when: tuple[Any, str, int], error: Exception
    ) -> None:
        """If the database fails at the end, the run still returns its summary."""
        told: list[str] = []
        manager, method, turn = when

        def refuse(*_: object, **__: object) -> None:
            raise error

        def tell(package: Package, *_: object) -> None:
            told.append(package.slug)
            if len(told) == turn:
                monkeypatch.setattr(manager, method, refuse)

        summary = run([package.pk for package in packages], Stopper(), tell)
        assert summary.database_failed
        assert type(error).__name__ in summary.stopped
