"""From what a run would like to fetch to what it fetches: claimed in the database, and still wanted.

The claim is committed before anything is fetched. So when the fetch kills the process, the next run finds out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from django.db import transaction
from django.db.models import Prefetch, QuerySet
from django.utils import timezone

from package.jobs import claims, deaths
from package.jobs.deaths import Danger
from package.jobs.due import parts_due
from package.jobs.fetching import Work
from package.jobs.lanes import Unit
from package.jobs.leftovers import of_unit
from package.models import Package, SourceStatus
from package.sources import registry
from package.sources.registry import Part

_READ = ("slug", "title", "repo_url", "repo_host", "repo_missing_since", "pypi_url", "pypi_missing_since")
"""What fetching looks at: a thread of the crew must have no need of the database."""


@dataclass
class Task:
    """A unit under way, and the work that it means."""

    unit: Unit
    work: Work


@dataclass
class Claimed:
    """What became of units."""

    tasks: list[Task] = field(default_factory=list)
    """To be done now."""
    later: list[tuple[Danger, Unit]] = field(default_factory=list)
    """Too dangerous for now; they can be claimed again."""
    others: list[tuple[Unit, str]] = field(default_factory=list)
    """Not to be done, and why: another run does it, or did; "": it is of no package any more."""


class Claimer:
    """Claims units for one run."""

    def __init__(self, *, everything: bool) -> None:
        """`everything`: every part of the packages, and not only those that the ledger says are due."""
        self.owner = claims.new_owner()
        self.began = timezone.now()
        self._everything = everything

    def claim(self, units: Sequence[Unit], up_to: Danger) -> Claimed:
        """Claim those units that nobody else does or has done, and that are no more dangerous than `up_to`."""
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
                danger = deaths.danger(
                    died.get(claim, 0), [row for row in package.sources.all() if row.source == unit.source]
                )
                if danger <= up_to:
                    claimed.tasks.append(task)
                else:
                    claimed.later.append((danger, unit))
                    put_back.append(claim)
            claims.release(unneeded)
            claims.put_back(put_back)
        return claimed

    def _still_wanted(self, unit: Unit, package: Package) -> list[Part]:
        """Return the parts that nobody has fetched since the run, or the last pass over them, began."""
        rows = {row.part: row for row in package.sources.all() if row.source == unit.source}
        # Another run may have had it in hand before this one began, and finished since: then it is no longer due.
        first_try = not (unit.tries or self._everything)
        due = {(part.source, part.name) for part in parts_due(package, everything=not first_try)}
        parts = []
        for part in of_unit(unit, registry.parts_of(package)):
            row = rows.get(part.name)
            since = None if row is None else row.last_success if unit.tries else row.last_attempt
            if (since is None or since < self.began) and (part.source, part.name) in due:
                parts.append(part)
        return parts


def read(keys: Sequence[int], rows: QuerySet[SourceStatus]) -> dict[int, Package]:
    """Read packages, and these rows of theirs."""
    packages = Package.objects.filter(pk__in=keys).only(*_READ)
    return {package.pk: package for package in packages.prefetch_related(Prefetch("sources", rows))}


def _why_not(unit: Unit, claim: int | None, package: Package | None) -> str:
    if claim is None:
        return "is being fetched by another run"
    there = package is not None and of_unit(unit, registry.parts_of(package))
    return "was fetched by another run" if there else ""
