"""Turns units (see `lanes.Unit`) that a run wants to fetch into tasks. A task is a unit that the run has claimed.

The claim is committed before the fetch starts. So if the fetch kills the process, the next run can detect this.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from django.db import transaction
from django.db.models import Prefetch, QuerySet
from django.utils import timezone

from package.jobs import claims, crash_isolation
from package.jobs.crash_isolation import Treatment
from package.jobs.due import parts_due
from package.jobs.fetching import Work
from package.jobs.lanes import Unit
from package.models import Package, SourceStatus
from package.sources import package_parts
from package.sources.package_parts import Part

_READ = ("slug", "title", "repo_url", "repo_host", "repo_missing_since", "pypi_url", "pypi_missing_since")
"""The fields that a fetch reads. They are loaded in advance, so that the threads that fetch do not use the database."""


@dataclass
class Task:
    """A claimed unit, and the work to do for it."""

    unit: Unit
    work: Work


@dataclass
class Claimed:
    """The result of claiming units."""

    tasks: list[Task] = field(default_factory=list)
    """Units to fetch now."""
    later: list[tuple[Treatment, Unit]] = field(default_factory=list)
    """Units that are not fetched now, because they may kill the process, and the treatment of each. Their claims were
    returned, so they can be claimed again."""
    others: list[tuple[Unit, str]] = field(default_factory=list)
    """Units that this run does not fetch, each with the reason: another run fetches them or has fetched them. "": the
    package was deleted or has a new address."""


class Claimer:
    """Claims units for one run."""

    def __init__(self, *, everything: bool) -> None:
        """Create an owner of claims.

        :param everything: whether to fetch all parts of the packages, not only those that are due.
        """
        self.owner = claims.new_owner()
        self.began = timezone.now()
        self._everything = everything

    def claim(self, units: Sequence[Unit], up_to: Treatment) -> Claimed:
        """Claim the units that no other run fetches or has fetched.

        :param up_to: units with this treatment or a smaller one are fetched now. The others are in `Claimed.later`.
        """
        rows = SourceStatus.objects.filter(source__in={unit.source for unit in units})
        claimed = Claimed()
        unneeded, put_back = [], []
        with transaction.atomic():
            got = claims.claim(self.owner, {(unit.package, unit.source) for unit in units})
            died = claims.deaths_of(got.values())
            packages = read([package for package, _ in got], rows)
            for unit in units:
                claim, package = got.pop((unit.package, unit.source), None), packages.get(unit.package)
                parts = self._still_wanted(unit, package) if package is not None else []
                if claim is None or package is None or not parts:
                    if claim is not None:
                        unneeded.append(claim)
                    claimed.others.append((unit, _why_not(unit, claim, package)))
                    continue
                task = Task(unit, Work(package, parts, again=unit.tries > 0, claim=claim))
                treatment = crash_isolation.treatment(
                    died.get(claim, 0), [row for row in package.sources.all() if row.source == unit.source]
                )
                if treatment <= up_to:
                    claimed.tasks.append(task)
                else:
                    claimed.later.append((treatment, unit))
                    put_back.append(claim)
            claims.release(unneeded)
            claims.put_back(put_back)
        return claimed

    def _still_wanted(self, unit: Unit, package: Package) -> list[Part]:
        """Return the parts of `unit` that no other run has fetched since this run began."""
        rows = {row.part: row for row in package.sources.all() if row.source == unit.source}
        # Another run that began before this one may have finished since then. The parts that it fetched are not due.
        first_try = not (unit.tries or self._everything)
        due = {(part.source, part.name) for part in parts_due(package, everything=not first_try)}
        parts = []
        for part in unit.among(package_parts.parts_of(package)):
            row = rows.get(part.name)
            since = None if row is None else row.last_success if unit.tries else row.last_attempt
            if (since is None or since < self.began) and (part.source, part.name) in due:
                parts.append(part)
        return parts


def read(keys: Sequence[int], rows: QuerySet[SourceStatus]) -> dict[int, Package]:
    """Return packages by primary key. The `sources` of each are its source statuses that are among `rows`."""
    packages = Package.objects.filter(pk__in=keys).only(*_READ)
    return {package.pk: package for package in packages.prefetch_related(Prefetch("sources", rows))}


def _why_not(unit: Unit, claim: int | None, package: Package | None) -> str:
    if claim is None:
        return "is being fetched by another run"
    there = package is not None and unit.among(package_parts.parts_of(package))
    return "was fetched by another run" if there else ""
