"""What a run leaves to the next one: counted, and noted in the ledger."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import datetime
from itertools import islice

from django.db import transaction

from package import sources
from package.lanes import Lanes, Unit
from package.models import Package, SourceStatus
from package.results import FetchOutcome, FetchResult
from package.sources import Part
from package.summary import Summary

_CHUNK = 200


def leave(lanes: Lanes, summary: Summary, began: datetime) -> None:
    """Count what had its turn and was put aside, and note what its upstream was left alone for.

    `began`: when the run did; what another one has fetched since is not touched.
    """
    rest = (each for each in lanes.rest() if each[0].told)
    while some := list(islice(rest, _CHUNK)):
        _leave(some, summary, began)


@transaction.atomic
def _leave(some: list[tuple[Unit, str]], summary: Summary, began: datetime) -> None:
    keys = {unit.package for unit, _ in some}
    # Locked, as where results are stored: what another run fetches now is stored before this, or after it.
    packages = {
        package.pk: package for package in Package.objects.select_for_update().filter(pk__in=keys).order_by("pk")
    }
    stored = {(row.package_id, row.source, row.part): row for row in SourceStatus.objects.filter(package_id__in=keys)}
    rows = []
    for unit, why in some:
        package = packages.get(unit.package)
        if package is None:
            continue
        for result in unit.last or _not_asked(unit, package, why):
            row = stored.get((unit.package, result.source, result.part))
            since = row.last_success if row is not None else None
            if since is not None and since >= began:
                summary.count(replace(result, outcome=FetchOutcome.SKIPPED, error="another run fetched it"))
                continue
            if result.outcome is FetchOutcome.LEFT_ALONE:
                result = replace(result, error=why or result.error, stored=since)  # noqa: PLW2901 - as it is by now
                rows.append(_row(unit, result))
            summary.count(result)
    SourceStatus.objects.bulk_create(
        rows,
        update_conflicts=True,
        unique_fields=["package", "source", "part"],
        update_fields=["outcome", "error", "reason"],
    )


def _not_asked(unit: Unit, package: Package, why: str) -> Iterator[FetchResult]:
    for part in of_unit(unit, sources.parts_of(package)):
        yield FetchResult(
            part.source, FetchOutcome.LEFT_ALONE, part.name, error=why, reason="left_alone", upstream=part.upstream
        )


def of_unit(unit: Unit, parts: Iterable[Part]) -> list[Part]:
    """Return those of a package's `parts` that `unit` is about; none where it has another address by now."""
    return [part for part in parts if (part.source, part.key) == (unit.source, unit.key) and part.name in unit.parts]


def _row(unit: Unit, result: FetchResult) -> SourceStatus:
    return SourceStatus(
        package_id=unit.package,
        source=result.source,
        part=result.part,
        outcome=result.outcome.value,
        error=result.error,
        reason=result.reason,
    )
