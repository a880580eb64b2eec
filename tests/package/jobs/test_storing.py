"""Storing the results of several packages at once: good results are stored even if others fail."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial
from itertools import permutations
from typing import Any

import pytest
from django.db import DataError, IntegrityError, InterfaceError, OperationalError, connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from package.jobs import claims, fetch_fields
from package.jobs.fetch_fields import FETCH_FIELDS
from package.jobs.fetching import Work
from package.jobs.storing import store
from package.models import Claim, Package, SourceStatus
from package.sources.client import Client
from package.sources.errors import Gone, NotReady, Unreachable, Unusable
from package.sources.fetch_results import FetchOutcome
from package.sources.fields import Reading
from package.sources.package_parts import Part
from package.sources.sessions import Sessions
from tests.package.conftest import MakePackage, at_once, stub

FAILED, SKIPPED, UPDATED = FetchOutcome.FAILED, FetchOutcome.SKIPPED, FetchOutcome.UPDATED
NOW = timezone.now()
Answer = Reading | Exception | Callable[[Client], Reading]


@pytest.fixture(autouse=True)
def _parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give every package three sources of one part each."""
    monkeypatch.setattr(
        "package.sources.package_parts.parts_of", lambda _: [source(name, Reading()) for name in ("a", "b", "c")]
    )


def source(name: str, answer: Answer) -> Part:
    return stub("", answer, source=name, missing_since="repo_missing_since" if name == "a" else "")


def done(package: Package, name: str, answer: Answer, *, now: datetime = NOW, claim: int | None = None) -> Work:
    """Return the work of one source of a package."""
    read = Package.objects.prefetch_related("sources").get(pk=package.pk)
    work = Work(read, [source(name, answer)], claim=claim)
    work.now = now
    work.do(Sessions())
    return work


def outcome(work: Work) -> FetchOutcome:
    [result] = work.results
    return result.outcome


def ledger(package: Package) -> dict[str, str]:
    return {row.source: row.outcome for row in SourceStatus.objects.filter(package=package)}


class Broken(Reading):
    """A value that cannot be saved, each time for the next of these errors. The last error stays."""

    def __init__(self, *errors: Exception) -> None:
        super().__init__({"repo_forks": 3})
        self._errors = list(errors)

    def save(self, package: Package) -> list[str]:
        super().save(package)
        raise self._errors.pop(0) if len(self._errors) > 1 else self._errors[0]


class TestBatch:
    """Several works at once."""

    def test_each_is_stored(self, make_package: MakePackage) -> None:
        """The fields of each package, and its source statuses."""
        packages = [make_package(f"p{number}") for number in range(5)]
        store([done(package, "a", Reading({"repo_forks": number})) for number, package in enumerate(packages)])
        assert list(Package.objects.order_by("pk").values_list("repo_forks", flat=True)) == list(range(5))
        assert [ledger(package) for package in packages] == [{"a": "updated"}] * 5

    def test_two_sources_of_one_package_are_both_stored(self, package: Package) -> None:
        """Two sources of one package do not overwrite each other's fields or rows."""
        works = [done(package, "a", Reading({"repo_forks": 1})), done(package, "b", Reading({"repo_watchers": 2}))]
        store([*works, done(package, "c", Unusable("no JSON", "other"))])
        package.refresh_from_db()
        assert (package.repo_forks, package.repo_watchers) == (1, 2)
        assert (package.last_exception, package.last_exception_count, package.last_fetched) == ("no JSON", 1, NOW)
        assert ledger(package) == {"a": "updated", "b": "updated", "c": "failed"}

    def test_an_empty_batch(self) -> None:
        """An empty batch is allowed."""
        store([])

    @pytest.mark.parametrize("error", [ZeroDivisionError("a bug"), DataError("too long"), IntegrityError("taken")])
    def test_one_that_cannot_be_stored_does_not_lose_the_others(
        self, make_package: MakePackage, error: Exception
    ) -> None:
        """Data that cannot be stored is a failure of its own package only, and none of it is stored."""
        packages = [make_package(slug) for slug in ("first", "bad", "last")]
        readings = [Reading({"repo_forks": 1}), Broken(error), Reading({"repo_forks": 2})]
        works = [done(package, "a", reading) for package, reading in zip(packages, readings, strict=True)]
        store(works)
        assert [outcome(work) for work in works] == [UPDATED, FAILED, UPDATED]
        assert list(Package.objects.order_by("pk").values_list("repo_forks", flat=True)) == [1, 0, 2]
        bad = Package.objects.get(slug="bad")
        assert bad.last_exception == f"could not be stored: {type(error).__name__}; see the log"
        assert bad.next_due is None, "its other sources have never been asked"
        assert SourceStatus.objects.get(package=bad).next_due > timezone.now()

    def test_one_of_which_not_even_that_can_be_noted_does_not_lose_the_others(
        self, make_package: MakePackage, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        """If even the failure cannot be recorded, it is logged, and the claim is released."""
        packages = [make_package(slug) for slug in ("first", "bad", "last")]
        got = claims.claim("me", {(package.pk, "a") for package in packages})
        works = [done(package, "a", Reading({"repo_forks": 1}), claim=got[package.pk, "a"]) for package in packages]
        real = fetch_fields.after

        def refuse(package: Package, *args: Any) -> dict[str, Any]:
            if package.slug == "bad":
                raise DataError("value too long")
            return real(package, *args)

        monkeypatch.setattr(fetch_fields, "after", refuse)
        store(works, "me")
        assert [outcome(work) for work in works] == [UPDATED, FAILED, UPDATED]
        assert list(Package.objects.order_by("pk").values_list("repo_forks", flat=True)) == [1, 0, 1]
        assert not works[1].results[0].again, "another request would get the same data"
        assert ledger(packages[1]) == {}
        assert any(record.exc_info and "bad" in record.getMessage() for record in caplog.records)
        assert not Claim.objects.exists()

    @pytest.mark.parametrize("error", [OperationalError("gone"), InterfaceError("closed")])
    def test_a_database_that_is_gone_stores_nothing(self, make_package: MakePackage, error: Exception) -> None:
        """If the database fails, nothing of the batch is stored."""
        packages = [make_package(slug) for slug in ("a", "b")]
        got = claims.claim("me", {(package.pk, "a") for package in packages})
        readings = [Reading({"repo_forks": 1}), Broken(error)]
        works = [
            done(package, "a", reading, claim=got[package.pk, "a"])
            for package, reading in zip(packages, readings, strict=True)
        ]
        with pytest.raises(type(error)):
            store(works, "me")
        assert not SourceStatus.objects.exists()
        assert not Package.objects.exclude(repo_forks=0).exists()
        assert Claim.objects.filter(owner="me").count() == 2

    @pytest.mark.parametrize("error", [OperationalError("gone"), InterfaceError("closed")])
    def test_a_database_failure_during_single_stores_is_no_failure_of_a_package(
        self, make_package: MakePackage, error: Exception
    ) -> None:
        """Results stored before the failure stay; the others count as not done, and their owner keeps its claims."""
        packages = [make_package(slug) for slug in ("first", "bad", "last")]
        got = claims.claim("me", {(package.pk, "a") for package in packages})
        readings = [Reading({"repo_forks": 1}), Broken(DataError("too long"), error), Reading({"repo_forks": 2})]
        works = [
            done(package, "a", reading, claim=got[package.pk, "a"])
            for package, reading in zip(packages, readings, strict=True)
        ]
        with pytest.raises(type(error)):
            store(works, "me")
        assert [ledger(package) for package in packages] == [{"a": "updated"}, {}, {}]
        assert list(Package.objects.order_by("pk").values_list("repo_forks", flat=True)) == [1, 0, 0]
        assert [outcome(work) for work in works] == [UPDATED] * 3
        assert set(Claim.objects.filter(owner="me").values_list("package__slug", flat=True)) == {"bad", "last"}

    def test_many_cost_one_query_each_and_a_handful_in_all(self, make_package: MakePackage) -> None:
        """Source statuses and claims are read and written for all of them together."""
        packages = [make_package(f"p{number}") for number in range(25)]
        got = claims.claim("me", {(package.pk, "a") for package in packages})
        works = [done(package, "a", Reading({"repo_forks": 1}), claim=got[package.pk, "a"]) for package in packages]
        with CaptureQueriesContext(connection) as few:
            store(works[:5], "me")
        with CaptureQueriesContext(connection) as many:
            store(works[5:], "me")
        assert Package.objects.filter(repo_forks=1).count() == 25
        assert not Claim.objects.exists()
        assert len(many) - len(few) == 15
        assert len(many) <= 20 + 8


class TestSum:
    """The fields of a package that summarize all its sources."""

    ANSWERS: tuple[tuple[str, Answer, timedelta], ...] = (
        ("a", Reading({"repo_forks": 1}), timedelta(seconds=3)),
        ("b", Unusable("no JSON", "other"), timedelta(seconds=1)),
        ("c", Unreachable("timed out", "timeout"), timedelta(seconds=2)),
    )

    @staticmethod
    def sums(package: Package) -> dict[str, Any]:
        package.refresh_from_db()
        return {name: getattr(package, name) for name in FETCH_FIELDS}

    @pytest.mark.parametrize("together", [True, False], ids=["together", "one by one"])
    @pytest.mark.parametrize("order", list(permutations(range(3))), ids=str)
    def test_is_the_same_in_any_order(self, package: Package, order: tuple[int, ...], together: bool) -> None:
        """The summarizing fields do not depend on the order in which sources are stored."""
        works = [done(package, name, answer, now=NOW + later) for name, answer, later in self.ANSWERS]
        for some in [[works[number] for number in order]] if together else [[works[number]] for number in order]:
            store(some)
        assert self.sums(package) == {
            "last_fetched": NOW + timedelta(seconds=3),
            "last_exception": "no JSON; timed out",
            "last_exception_at": NOW + timedelta(seconds=2),
            "last_exception_count": 1,
            "next_due": min(row.next_due for row in SourceStatus.objects.all()),
        }

    def test_is_due_as_long_as_one_of_them_was_never_asked(self, package: Package) -> None:
        """A package is due while one of its sources was never asked."""
        store([done(package, "a", Reading()), done(package, "b", Reading())])
        assert self.sums(package)["next_due"] is None
        store([done(package, "c", NotReady("not yet", "not_ready"))])
        assert self.sums(package)["next_due"] == SourceStatus.objects.get(source="c").next_due

    def test_a_success_of_one_source_does_not_clear_the_failure_of_another(self, package: Package) -> None:
        """A source that succeeds does not clear the failure of another."""
        store([done(package, name, Unusable(f"{name} says no", "other")) for name in "ab"])
        store([done(package, "a", Reading())])
        assert self.sums(package)["last_exception"] == "b says no"
        store([done(package, "b", Reading())])
        sums = self.sums(package)
        assert (sums["last_exception"], sums["last_exception_at"], sums["last_exception_count"]) == ("", None, 0)

    def test_who_fails_for_longest_counts(self, package: Package) -> None:
        """The failures in a row are those of the worst source."""
        for _ in range(3):
            store([done(package, "b", Unusable("no JSON", "other"))])
        store([done(package, "a", Unusable("no JSON", "other"))])
        assert self.sums(package)["last_exception_count"] == 3


class TestChangedMeanwhile:
    """Changes to a package during its fetch."""

    def test_results_of_an_old_address_are_skipped(self, package: Package) -> None:
        """After a change of address, the results of the old address are skipped, and only these."""
        works = [done(package, "a", Reading({"repo_forks": 1})), done(package, "pypi", Reading({"pypi_downloads": 2}))]
        Package.objects.update(repo_url="https://github.com/new/name")
        store(works)
        package.refresh_from_db()
        assert (package.repo_forks, package.pypi_downloads) == (0, 2)
        assert [outcome(work) for work in works] == [SKIPPED, UPDATED]
        assert works[0].results[0].error == "its address was changed meanwhile"
        assert "a" not in ledger(package)

    def test_another_address_lets_go_of_the_claim(self, package: Package) -> None:
        """A change of address releases the claim, so that the new address can be fetched at once."""
        got = claims.claim("me", {(package.pk, "a")})
        work = done(package, "a", Reading(), claim=got[package.pk, "a"])
        Package.objects.update(repo_url="https://github.com/new/name")
        store([work], "me")
        assert not Claim.objects.exists()

    def test_a_deleted_package_does_not_come_back(self, make_package: MakePackage) -> None:
        """A deleted package is not recreated, and the others of the batch are stored."""
        gone, stays = make_package("gone"), make_package("stays")
        works = [done(package, "a", Reading({"repo_forks": 1})) for package in (gone, stays)]
        gone.delete()
        store(works)
        assert [outcome(work) for work in works] == [SKIPPED, UPDATED]
        assert works[0].results[0].error == "was deleted meanwhile"
        assert Package.objects.get().repo_forks == 1

    def test_edits_during_a_fetch_stay(self, package: Package) -> None:
        """Storing writes only the fetched fields, so that edits of other fields stay."""
        work = done(package, "a", Reading({"repo_forks": 1}))
        Package.objects.update(title="Better", score=9)
        store([work])
        package.refresh_from_db()
        assert (package.title, package.score, package.repo_forks) == ("Better", 9, 1)

    def test_a_repository_that_is_gone_is_so_for_all_sources(self, package: Package) -> None:
        """Any source can store since when the repository is gone, or that it is back."""
        store([done(package, "a", Gone("gone", "gone")), done(package, "b", Reading())])
        package.refresh_from_db()
        assert package.repo_missing_since == NOW
        store([done(package, "b", Reading()), done(package, "a", Reading())])
        package.refresh_from_db()
        assert package.repo_missing_since is None


class TestTakenOver:
    """Works whose claims another owner has taken over."""

    @staticmethod
    def take_over() -> None:
        Claim.objects.update(until=NOW - timedelta(days=1))
        claims.claim("you", set(Claim.objects.values_list("package_id", "source")))

    def test_store_nothing_and_say_so(self, package: Package) -> None:
        """A work whose lease expired and was taken over is not stored, and its result says so."""
        got = claims.claim("me", {(package.pk, "a")})
        work = done(package, "a", Reading({"repo_forks": 1}), claim=got[package.pk, "a"])
        self.take_over()
        store([work], "me")
        assert (outcome(work), work.results[0].error) == (SKIPPED, "another run took it over")
        package.refresh_from_db()
        assert (package.repo_forks, package.last_fetched, ledger(package)) == (0, None, {})
        assert Claim.objects.get().owner == "you"

    def test_do_not_take_the_others_with_them(self, make_package: MakePackage) -> None:
        """The other works of a batch are stored, and their claims released."""
        lost, kept = make_package("lost"), make_package("kept")
        first, second = claims.claim("me", {(lost.pk, "a")}), {}
        work = done(lost, "a", Reading({"repo_forks": 1}), claim=first[lost.pk, "a"])
        self.take_over()
        second = claims.claim("me", {(kept.pk, "a")})
        store([work, done(kept, "a", Reading({"repo_forks": 2}), claim=second[kept.pk, "a"])], "me")
        assert list(Package.objects.order_by("pk").values_list("repo_forks", flat=True)) == [0, 2]
        assert list(Claim.objects.values_list("owner", flat=True)) == ["you"]

    def test_store_nothing_when_it_has_been_done_by_now(self, package: Package) -> None:
        """A work whose claim was taken over and is done by now is not stored."""
        got = claims.claim("me", {(package.pk, "a")})
        old = done(package, "a", Reading({"repo_forks": 1}), claim=got[package.pk, "a"])
        self.take_over()
        store([done(package, "a", Reading({"repo_forks": 2}), claim=got[package.pk, "a"])], "you")
        store([old], "me")
        package.refresh_from_db()
        assert (package.repo_forks, outcome(old)) == (2, SKIPPED)


@pytest.mark.usefixtures("shared_database")
class TestAtOnce:
    """Two processes that store at the same time, each with its own connection."""

    @pytest.fixture
    def packages(self, make_package: MakePackage) -> list[Package]:
        return [make_package(f"p{number}") for number in range(20)]

    def test_two_sources_of_the_same_packages(self, packages: list[Package]) -> None:
        """Two batches in opposite orders do not deadlock, lose nothing, and give common sums."""
        first = [done(package, "a", Reading({"repo_forks": 1})) for package in packages]
        second = [done(package, "b", Reading({"repo_watchers": 2})) for package in reversed(packages)]
        at_once(partial(store, first), partial(store, second))
        store([done(package, "c", Reading()) for package in packages])
        assert Package.objects.filter(repo_forks=1, repo_watchers=2, next_due__isnull=False).count() == 20
        assert SourceStatus.objects.filter(outcome="updated").count() == 60

    def test_a_package_is_deleted_meanwhile(self, packages: list[Package]) -> None:
        """Deleting a package during storing leaves no rows of it, and the rest is stored."""
        works = [done(package, "a", Reading({"repo_forks": 1})) for package in packages]

        def delete() -> None:
            for package in packages[::2]:
                while Package.objects.filter(pk=package.pk).exists():
                    with suppress(IntegrityError):  # a row was stored after Django had looked for rows
                        package.delete()

        at_once(partial(store, works), delete)
        assert Package.objects.filter(repo_forks=1).count() == 10
        assert SourceStatus.objects.count() == 10
