"""The parts that a run leaves are counted and recorded, but never overwrite newer results."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from package.jobs import claims, unfetched
from package.jobs.fetching import Work
from package.jobs.lanes import Lanes, Unit
from package.jobs.pauses import Pause
from package.jobs.refresh_summary import Left, RefreshSummary
from package.jobs.storing import store
from package.jobs.unfetched import leave, leave_alone
from package.models import Claim, Package, SourceStatus
from package.sources.fetch_results import FetchOutcome, FetchResult
from package.sources.fields import Reading
from package.sources.package_parts import Part
from package.sources.sessions import Sessions
from tests.package.conftest import MakePackage, at_once, stub

BEGAN = timezone.now()
DOWN = "the stub is down"
FAILED, LEFT_ALONE, SKIPPED = FetchOutcome.FAILED, FetchOutcome.LEFT_ALONE, FetchOutcome.SKIPPED
KEY = "stub.test"


@pytest.fixture(autouse=True)
def _parts(parts: list[Part]) -> None:
    parts += [stub("a", Reading()), stub("b", Reading())]


UNTIL = timezone.now() + timedelta(seconds=99)


class Upstreams:
    """One upstream, which is down or not."""

    def __init__(self, why: str) -> None:
        self.why = why

    def limit(self, _: str) -> int:
        return 9

    def pause(self, _: str) -> Pause | None:
        return Pause(99, UNTIL, self.why) if self.why else None

    def is_suspect(self, _: str) -> bool:
        return False


def left(*units: Unit, why: str = DOWN) -> RefreshSummary:
    """End a run that has these units left."""
    lanes, summary = Lanes(Upstreams(why)), RefreshSummary()
    for unit in units:
        lanes.put_back(unit, 0)
    leave(lanes, summary, BEGAN)
    return summary


def unit(package: Package, *parts: str, **fields: Any) -> Unit:
    return Unit(package.pk, "stub", KEY, parts, **{"told": True, **fields})


def last(outcome: FetchOutcome, part: str = "a") -> FetchResult:
    return FetchResult("stub", outcome, part, error="it said no", reason="other")


def ledger() -> dict[str, tuple[str, str, str]]:
    return {row.part: (row.outcome, row.error, row.reason) for row in SourceStatus.objects.all()}


def test_parts_without_a_request_are_recorded(package: Package) -> None:
    """Each part that was not requested has the reason in the summary and in its source status."""
    summary = left(unit(package, "a", "b"))
    assert summary.outcomes == {"stub": {LEFT_ALONE: 2}}
    assert summary.left_alone == {"stub": Left(2, DOWN, UNTIL)}
    assert summary.as_dict()["left_alone"] == {"stub": {"parts": 2, "why": DOWN, "until": UNTIL.isoformat()}}
    assert ledger() == dict.fromkeys("ab", ("left alone", DOWN, "left_alone"))


def test_units_without_a_turn_are_not_counted(package: Package) -> None:
    """Units that had no turn are not counted, because their whole package is left."""
    assert left(unit(package, "a", told=False)).outcomes == {}
    assert ledger() == {}


def test_parts_that_waited_for_another_try_count_as_failed(package: Package) -> None:
    """A part that failed and was waiting for another try counts with its last result."""
    assert left(unit(package, "a", last=(last(FAILED),))).outcomes == {"stub": {FAILED: 1}}
    assert ledger() == {}


def test_the_reason_is_that_of_the_current_pause(package: Package) -> None:
    """The reason and time of the current pause are recorded, not those of the last try."""
    assert left(unit(package, "a", last=(last(LEFT_ALONE),))).left_alone == {"stub": Left(1, DOWN, UNTIL)}
    assert ledger() == {"a": ("left alone", DOWN, "other")}


def test_without_a_reason_of_its_server_it_keeps_its_own(package: Package) -> None:
    """Without a current pause, the part keeps its own reason, for example that no time was left."""
    assert left(unit(package, "a", last=(last(LEFT_ALONE),)), why="").left_alone == {"stub": Left(1, "it said no")}


def test_newer_results_of_another_run_stay(package: Package) -> None:
    """Newer results of another run stay, and the summary counts the part as skipped."""
    for part, when in (("a", BEGAN), ("b", BEGAN - timedelta(seconds=1))):
        SourceStatus.objects.create(package=package, source="stub", part=part, outcome="updated", last_success=when)
    summary = left(unit(package, "a", "b"))
    assert summary.outcomes == {"stub": {SKIPPED: 1, LEFT_ALONE: 1}}
    assert ledger()["a"] == ("updated", "", "")
    assert ledger()["b"] == ("left alone", DOWN, "left_alone")


def test_the_rest_of_the_ledger_stays(package: Package) -> None:
    """`next_due`, failures and validators stay, because nothing was sent."""
    fields = {"failures": 3, "next_due": BEGAN, "validators": {"reading": 1, "urls": {}}, "last_success": None}
    SourceStatus.objects.create(package=package, source="stub", part="a", http_status=503, **fields)
    left(unit(package, "a"))
    row = SourceStatus.objects.get()
    assert {name: getattr(row, name) for name in fields} == fields
    assert row.http_status == 503


def test_a_deleted_package_is_skipped(make_package: MakePackage) -> None:
    """A deleted package is skipped, and the others are recorded."""
    gone, stays = make_package("gone"), make_package("stays")
    units = [unit(gone, "a"), unit(stays, "a")]
    gone.delete()
    assert left(*units).outcomes == {"stub": {LEFT_ALONE: 1}}
    assert SourceStatus.objects.get().package == stays


def test_a_package_with_another_address_has_nothing_left(package: Package, parts: list[Part]) -> None:
    """A unit of a package whose address has changed is dropped."""
    parts[:] = [stub("c", Reading())]
    assert left(unit(package, "a", "b")).outcomes == {}


@pytest.mark.usefixtures("shared_database")
def test_results_that_two_runs_store_at_once(make_package: MakePackage) -> None:
    """In any order, the newer results of another run stay, and there is no deadlock."""
    packages = [make_package(f"p{number}") for number in range(100)]
    units = [unit(package, "a") for package in packages]
    read = Package.objects.prefetch_related("sources").order_by("-pk")
    works = [Work(package, [stub("a", Reading())]) for package in read]
    for work in works:
        work.do(Sessions())
    at_once(
        lambda: left(*units),
        lambda: [store(works[start : start + 5]) for start in range(0, 100, 5)],
    )
    assert set(SourceStatus.objects.values_list("outcome", flat=True)) == {"updated"}


def test_thousands_cost_a_handful_of_queries(
    make_package: MakePackage, django_assert_max_num_queries: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Thousands of units are read and saved in chunks, with few queries."""
    monkeypatch.setattr(unfetched, "_CHUNK", 10)
    units = [unit(make_package(f"p{number}"), "a", "b") for number in range(30)]
    with django_assert_max_num_queries(3 * 5):
        summary = left(*units)
    assert summary.outcomes == {"stub": {LEFT_ALONE: 60}}


class TestLeaveAlone:
    """leave_alone: of one ticket."""

    @pytest.fixture
    def ticket(self, package: Package) -> Claim:
        claims.claim("me", {(package.pk, "stub")})
        return Claim.objects.get()

    def test_says_why_and_ends_the_ticket(self, ticket: Claim, parts: list[Part]) -> None:
        """The source status gets the reason and keeps its other fields, and the ticket is deleted."""
        SourceStatus.objects.create(package_id=ticket.package_id, source="stub", part="a", last_success=BEGAN)
        results = leave_alone(ticket, parts, Pause(99, UNTIL, DOWN))
        assert [(each.outcome, each.error, each.retry_at, each.stored) for each in results] == [
            (LEFT_ALONE, DOWN, UNTIL, BEGAN),
            (LEFT_ALONE, DOWN, UNTIL, None),
        ]
        assert ledger() == dict.fromkeys("ab", ("left alone", DOWN, "left_alone"))
        assert set(SourceStatus.objects.values_list("last_attempt", "next_due")) == {(None, None)}
        assert not Claim.objects.exists()

    def test_of_another_owner_is_not_changed(self, ticket: Claim, parts: list[Part]) -> None:
        """A ticket with another owner is not changed."""
        Claim.objects.update(owner="another")
        assert leave_alone(ticket, parts, Pause(99, UNTIL, DOWN)) == []
        assert (ledger(), Claim.objects.count()) == ({}, 1)

    def test_of_a_deleted_package_leaves_nothing(self, ticket: Claim, parts: list[Part]) -> None:
        """For a deleted package, neither a source status nor a ticket stays."""
        Package.objects.all().delete()
        Claim.objects.bulk_create([ticket], ignore_conflicts=True)
        leave_alone(ticket, parts, Pause(99, UNTIL, DOWN))
        assert (ledger(), Claim.objects.count()) == ({}, 0)


@pytest.mark.parametrize(
    ("moments", "until", "why"),
    [((None, 5, 3), 5, "1"), ((5, None, 9), 9, "2"), ((None, None), None, "0"), ((3, 3), 3, "0")],
)
def test_of_several_moments_the_last_counts(moments: tuple[int | None, ...], until: int | None, why: str) -> None:
    """Of several pauses of one source, the one that ends last is reported."""
    left = Left()
    for number, seconds in enumerate(moments):
        retry_at = None if seconds is None else BEGAN + timedelta(seconds=seconds)
        left.add(FetchResult("stub", LEFT_ALONE, error=str(number), retry_at=retry_at))
    assert left == Left(len(moments), why, None if until is None else BEGAN + timedelta(seconds=until))
