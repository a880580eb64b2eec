"""Fetches that killed their worker: the package is fetched last and alone, and postponed after two deaths."""

from __future__ import annotations

import logging
from datetime import timedelta
from functools import partial

import pytest
from celery.exceptions import SoftTimeLimitExceeded
from django.db import connections
from django.utils import timezone

from package import tasks
from package.jobs import claims, crash_isolation, dispatch
from package.jobs.due import in_order
from package.jobs.pauses import Pause
from package.jobs.refresh_summary import RefreshSummary
from package.jobs.run import run
from package.jobs.stopper import Stopper
from package.models import Claim, Package, SourceStatus
from package.sources.client import Client
from package.sources.errors import NotReady
from package.sources.fetch_results import FetchOutcome, FetchResult
from package.sources.fields import Reading
from package.sources.package_parts import Part
from tests.package.conftest import CannedPyPI, MakePackage, stub

HOUR = timedelta(hours=1)


def die(*packages: Package, source: str = "pypi") -> None:
    """Claim a source of each package, then let the owner die and its lease expire."""
    claims.claim("dead", {(package.pk, source) for package in packages})
    Claim.objects.filter(owner="dead").update(until=timezone.now() - timedelta(seconds=1))


def count() -> list[int]:
    """Claim all free sources, and return their deaths."""
    claims.claim("looking", set(Claim.objects.values_list("package_id", "source")))
    return list(Claim.objects.values_list("deaths", flat=True))


def refresh(*packages: Package, workers: int = 1) -> tuple[RefreshSummary, dict[str, list[FetchResult]]]:
    """Run over packages; return the summary and the last results of each package."""
    told: dict[str, list[FetchResult]] = {}

    def tell(package: Package, results: list[FetchResult], again: bool) -> None:
        told[package.slug] = results

    return run([package.pk for package in packages], Stopper(), tell, workers=workers), told


def row(package: Package, source: str = "pypi") -> SourceStatus:
    return SourceStatus.objects.get(package=package, source=source)


class TestCount:
    """Claim.deaths."""

    def test_each_owner_that_dies_counts(self, package: Package) -> None:
        """The next owner sees how many owners died in a row."""
        for deaths_so_far in range(3):
            got = claims.claim("me", {(package.pk, "pypi")})
            assert claims.deaths_of(got.values()) == (
                dict.fromkeys(got.values(), deaths_so_far) if deaths_so_far else {}
            )
            Claim.objects.update(until=timezone.now() - timedelta(seconds=1))

    def test_who_gives_back_has_not_died(self, package: Package) -> None:
        """An aborted run, and a worker that returns its ticket, do not count as deaths."""
        got = claims.claim("me", {(package.pk, "pypi")})
        claims.put_back(got.values())
        assert count() == [0]
        claims.give_back(got.values(), sent=timezone.now())
        assert count() == [0]
        claims.release_all("looking")
        assert count() == []

    def test_an_abort_does_not_reset_it(self, package: Package) -> None:
        """An aborted run does not reset the count of deaths."""
        die(package)
        claims.claim("aborted", {(package.pk, "pypi")})
        claims.release_all("aborted")
        assert count() == [1]

    def test_a_fetch_resets_it(self, package: Package) -> None:
        """A fetch resets the count, even if it failed and is tried again."""
        die(package)
        claims.give_back(claims.claim("me", {(package.pk, "pypi")}).values(), sent=timezone.now())
        assert count() == [0]


class TestRun:
    """Runs without Celery."""

    def test_after_a_death_it_comes_last(self, make_package: MakePackage, pypi: CannedPyPI) -> None:
        """The package is fetched last, so all others are refreshed even if it kills this run too."""
        packages = [make_package(slug) for slug in ("deadly", "a", "b")]
        for package in packages:
            pypi.knows(package.slug)
        die(packages[0])
        summary, told = refresh(*packages)
        assert pypi.asked == ["a", "b", "deadly"]
        assert (summary.tried, summary.left, len(told)) == (3, 0, 3)
        assert row(packages[0]).outcome == FetchOutcome.UPDATED
        assert not Claim.objects.exists()

    @pytest.mark.usefixtures("shared_database")
    def test_after_a_death_it_comes_alone(self, make_package: MakePackage, parts: list[Part]) -> None:
        """The packages of a dead run are fetched one at a time, so that the one that kills is known."""
        packages = [make_package(slug) for slug in ("a", "b", "c", "d")]
        in_hand = []

        def look(_: Client) -> Reading:
            in_hand.append(Claim.objects.exclude(owner="").count())
            connections.close_all()  # this thread's
            return Reading({"repo_forks": 7})

        parts.append(stub("", look))
        die(*packages, source="stub")
        refresh(*packages, workers=4)
        assert in_hand == [1, 1, 1, 1]
        assert not Claim.objects.exists()

    def test_after_two_deaths_it_is_put_off(
        self, make_package: MakePackage, pypi: CannedPyPI, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A package is postponed after two deaths of its run; the source status, the run and the log say why."""
        packages = [make_package(slug) for slug in ("deadly", "a")]
        pypi.knows("a")
        die(packages[0])
        die(packages[0])
        with caplog.at_level(logging.WARNING, "package"):
            summary, told = refresh(*packages)
        assert pypi.asked == ["a"]
        deadly = row(packages[0])
        why = (
            "PyPI was not asked: in the last fetches of this package the worker process died (killed, or out of memory)"
        )
        assert (deadly.outcome, deadly.reason, deadly.error) == (FetchOutcome.FAILED, "worker_died", why)
        assert why in deadly.in_words  # which staff see
        assert deadly.failures == 1
        assert deadly.next_due is not None
        assert HOUR - timedelta(minutes=1) < deadly.next_due - timezone.now() < 1.2 * HOUR
        packages[0].refresh_from_db()
        assert (packages[0].last_exception, packages[0].last_exception_count) == (why, 1)
        assert [package.slug for package in in_order(Package.objects.all())] == ["a", "deadly"]
        assert [result.error for result in told["deadly"] if result.source == "pypi"] == [why]
        assert summary.items["failure"] == 1
        assert not summary.reached_nothing
        assert f"deadly: not updated: {why}" in caplog.messages
        assert row(packages[0], "pypistats").outcome == FetchOutcome.UPDATED
        assert not Claim.objects.exists()

    def test_postponed_packages_come_last_and_are_postponed_for_longer(
        self, make_package: MakePackage, pypi: CannedPyPI
    ) -> None:
        """When due again it still comes last, and one death postpones it again, until a fetch succeeds."""
        packages = [make_package(slug) for slug in ("deadly", "a")]
        for package in packages:
            pypi.knows(package.slug)
        die(packages[0])
        die(packages[0])
        refresh(packages[0])
        SourceStatus.objects.update(next_due=None)
        die(packages[0])
        refresh(packages[0])
        assert pypi.asked == []
        assert row(packages[0]).failures == 2
        assert row(packages[0]).next_due > timezone.now() + HOUR  # type: ignore[operator]
        SourceStatus.objects.update(next_due=None)
        refresh(*packages)
        assert pypi.asked == ["a", "deadly"]
        well = row(packages[0])
        assert (well.outcome, well.reason, well.error, well.failures) == (FetchOutcome.UPDATED, "", "", 0)
        packages[0].refresh_from_db()
        assert packages[0].last_exception == ""
        SourceStatus.objects.update(next_due=None)
        die(packages[0])
        refresh(*packages)
        assert pypi.asked == ["a", "deadly"] * 2

    def test_a_run_that_ends_early_leaves_it_to_the_next(self, make_package: MakePackage, pypi: CannedPyPI) -> None:
        """A run that ends early counts the package as left, and the next run still knows of the death."""
        packages = [make_package(slug) for slug in ("deadly", "a")]
        pypi.knows("a")
        die(packages[0])
        stopper = Stopper()
        pypi.mock.remove("GET", pypi.url("a"))
        pypi.mock.add_callback("GET", pypi.url("a"), callback=lambda _: stopper.stop("enough") or (404, {}, ""))  # type: ignore[func-returns-value]
        summary = run([package.pk for package in packages], stopper, lambda *_: None)
        assert (summary.left, summary.stopped) == (2, "enough")
        assert pypi.asked == ["a"]
        assert count() == [1]


class TestTask:
    """Workers of Celery."""

    @pytest.fixture(autouse=True)
    def sent(self, monkeypatch: pytest.MonkeyPatch) -> list[object]:
        """Return the messages that are sent; no worker receives them."""
        messages: list[object] = []
        monkeypatch.setattr(tasks.fetch, "apply_async", lambda args, *_, **__: messages.append(args))
        return messages

    @pytest.fixture
    def ticket(self, package: Package, parts: list[Part]) -> Claim:
        parts.append(stub("", Reading({"repo_forks": 7})))
        list(dispatch.enqueue([package.pk], tasks.send, everything=False))
        return Claim.objects.get()

    def test_after_one_death_it_is_fetched(self, package: Package, ticket: Claim) -> None:
        """One death may have another cause, so the package is fetched."""
        die(package, source="stub")
        tasks.fetch(package.pk, "stub")
        package.refresh_from_db()
        assert package.repo_forks == 7
        assert not Claim.objects.exists()

    def test_after_two_deaths_it_is_put_off(self, package: Package, ticket: Claim, sent: list[object]) -> None:
        """The ticket is deleted; the next plan queues the part when it is due again."""
        die(package, source="stub")
        die(package, source="stub")
        sent.clear()
        tasks.fetch(package.pk, "stub")
        assert (row(package, "stub").reason, row(package, "stub").failures) == (crash_isolation.REASON, 1)
        assert not Claim.objects.exists()
        assert sent == []
        SourceStatus.objects.update(next_due=None)
        list(dispatch.enqueue([package.pk], tasks.send, everything=False))
        tasks.fetch(package.pk, "stub")
        assert (row(package, "stub").reason, row(package, "stub").failures) == ("", 0)

    @pytest.mark.parametrize("error", [SoftTimeLimitExceeded, SystemExit, KeyboardInterrupt])
    def test_a_task_that_is_ended_is_no_death(
        self, package: Package, ticket: Claim, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
    ) -> None:
        """A soft time limit or a shutdown is no death, and frees the ticket at once."""
        monkeypatch.setattr(tasks, "store", partial(_raise, error))
        with pytest.raises(error):
            tasks.fetch(package.pk, "stub")
        assert list(Claim.objects.values_list("owner", "until")) == [("", None)]
        assert count() == [0]

    def test_to_wait_for_the_source_is_no_fetch(
        self, package: Package, ticket: Claim, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Waiting for a paused source keeps the count of deaths."""
        until = timezone.now() + timedelta(minutes=1)
        pauses = tasks._pauses()
        monkeypatch.setattr(pauses, "of", lambda _: Pause(60.0, until, "down"))
        die(package, source="stub")
        tasks.fetch(package.pk, "stub")
        assert count() == [1]

    def test_not_to_be_ready_is_a_fetch(self, package: Package, parts: list[Part], ticket: Claim) -> None:
        """A source that is not ready was fetched without a death, so the count is reset."""
        parts[:] = [stub("", NotReady("still at it"))]
        die(package, source="stub")
        tasks.fetch(package.pk, "stub")
        assert count() == [0]


def _raise(error: type[BaseException], *_: object, **__: object) -> None:
    raise error
