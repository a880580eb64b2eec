"""Claiming units: which units of a batch become tasks, and why the others do not."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from package.jobs import claims, crash_isolation
from package.jobs.claimer import Claimed, Claimer
from package.jobs.crash_isolation import Treatment
from package.jobs.lanes import Unit
from package.models import Claim, Package, SourceStatus
from package.sources.fields import Reading
from package.sources.package_parts import Part
from tests.package.conftest import stub

SECOND = timedelta(seconds=1)


@pytest.fixture
def stubs(parts: list[Part]) -> list[Part]:
    """Return the parts of every package: two of one source, and one of another."""
    parts += [
        stub("a", Reading()),
        stub("b", Reading()),
        stub("c", Reading(), source="other", api="https://other.test"),
    ]
    return parts


def units(package: Package, parts: list[Part], *, tries: int = 0) -> list[Unit]:
    """Return one unit for each source."""
    names: dict[tuple[str, str], list[str]] = {}
    for part in parts:
        names.setdefault((part.source, part.key), []).append(part.name)
    return [Unit(package.pk, source, key, tuple(each), tries) for (source, key), each in names.items()]


def record(package: Package, part: Part, **fields: Any) -> None:
    SourceStatus.objects.create(package=package, source=part.source, part=part.name, **fields)


def tasks(claimed: Claimed) -> dict[str, list[str]]:
    """Return the names of the parts to fetch, by source."""
    return {task.unit.source: [part.name for part in task.work._parts] for task in claimed.tasks}


def test_all_that_is_free_and_due_is_a_task(package: Package, stubs: list[Part]) -> None:
    """Each source becomes a task of its own, with the parts of that source and its claim."""
    claimed = Claimer(everything=False).claim(units(package, stubs), Treatment.NORMAL)
    assert tasks(claimed) == {"stub": ["a", "b"], "other": ["c"]}
    assert {task.work.claim for task in claimed.tasks} == set(Claim.objects.values_list("pk", flat=True))
    assert not claimed.later
    assert not claimed.others


@pytest.mark.parametrize(("ago", "names"), [(SECOND, ["a", "b"]), (-SECOND, ["b"])])
def test_a_part_that_another_run_has_tried_since_is_not_fetched(
    package: Package, stubs: list[Part], ago: timedelta, names: list[str]
) -> None:
    """A part is fetched only if its last attempt was before this run began, also if everything is to be fetched."""
    claimer = Claimer(everything=True)
    record(package, stubs[0], last_attempt=claimer.began - ago)
    record(package, stubs[2], last_attempt=claimer.began - SECOND)
    assert tasks(claimer.claim(units(package, stubs), Treatment.NORMAL)) == {"stub": names, "other": ["c"]}


@pytest.mark.parametrize(("success", "names"), [(None, ["a", "b"]), (-SECOND, ["a", "b"]), (SECOND, ["b"])])
def test_in_a_second_pass_only_a_success_of_another_run_counts(
    package: Package, stubs: list[Part], success: timedelta | None, names: list[str]
) -> None:
    """A part that this run has put aside was tried by it, so only a later success shows that another run fetched it."""
    claimer = Claimer(everything=False)
    later = claimer.began + SECOND
    record(
        package,
        stubs[0],
        last_attempt=later,
        next_due=timezone.now() + timedelta(hours=1),
        last_success=None if success is None else claimer.began + success,
    )
    claimed = claimer.claim(units(package, stubs, tries=1)[:1], Treatment.NORMAL)
    assert tasks(claimed) == {"stub": names}


@pytest.mark.parametrize(("tries", "again"), [(0, False), (1, True)])
def test_a_second_pass_is_marked(package: Package, stubs: list[Part], tries: int, again: bool) -> None:
    """From the second pass on, another failure does not count as a further one."""
    [task] = Claimer(everything=False).claim(units(package, stubs, tries=tries)[:1], Treatment.NORMAL).tasks
    assert task.work._again is again


def test_a_part_that_is_no_longer_due_is_not_fetched(package: Package, stubs: list[Part]) -> None:
    """Parts that a run which began earlier has fetched by now are left out, unless everything is to be fetched."""
    record(package, stubs[0], next_due=timezone.now() + timedelta(hours=1))
    first = Claimer(everything=False)
    assert tasks(first.claim(units(package, stubs), Treatment.NORMAL)) == {"stub": ["b"], "other": ["c"]}
    claims.release_all(first.owner)
    assert tasks(Claimer(everything=True).claim(units(package, stubs), Treatment.NORMAL))["stub"] == ["a", "b"]


def test_a_unit_that_another_run_has_fetched_is_passed_over(package: Package, stubs: list[Part]) -> None:
    """Its claim is deleted, so that no later run sees work in progress."""
    claimer = Claimer(everything=False)
    unit = units(package, stubs)[1]
    record(package, stubs[2], last_attempt=claimer.began + SECOND)
    assert claimer.claim([unit], Treatment.NORMAL).others == [(unit, "was fetched by another run")]
    assert not Claim.objects.exists()


def test_a_unit_that_another_run_fetches_is_passed_over(package: Package, stubs: list[Part]) -> None:
    """The claim of the other run stays."""
    mine, other = units(package, stubs)
    Claimer(everything=False).claim([other], Treatment.NORMAL)
    claimed = Claimer(everything=False).claim([mine, other], Treatment.NORMAL)
    assert set(tasks(claimed)) == {"stub"}
    assert claimed.others == [(other, "is being fetched by another run")]


def test_a_package_whose_address_has_changed_is_passed_over(package: Package, stubs: list[Part]) -> None:
    """No reason is given, because no other run has fetched the unit: nothing is counted for it."""
    unit = units(package, stubs)[1]
    stubs.pop()
    assert Claimer(everything=False).claim([unit], Treatment.NORMAL).others == [(unit, "")]
    assert not Claim.objects.exists()


def test_a_dangerous_unit_waits_for_its_turn(package: Package, stubs: list[Part]) -> None:
    """A unit whose last fetch died is kept for later, and any run can claim it. Other sources are not."""
    dangerous, harmless = units(package, stubs)
    record(package, stubs[0], outcome="failed", reason=crash_isolation.REASON)
    claimer = Claimer(everything=False)
    claimed = claimer.claim([dangerous, harmless], Treatment.NORMAL)
    assert set(tasks(claimed)) == {"other"}
    assert claimed.later == [(Treatment.ALONE, dangerous)]
    assert set(tasks(claimer.claim([dangerous], Treatment.ALONE))) == {"stub"}
