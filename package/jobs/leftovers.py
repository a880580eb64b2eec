"""What a run leaves to the next one: counted, and noted in the ledger."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import datetime
from itertools import islice

from django.db import transaction

from package.jobs import claims
from package.jobs.lanes import Lanes, Unit
from package.jobs.pauses import Pause
from package.jobs.summary import Summary
from package.models import Claim, Package, SourceStatus
from package.sources import registry
from package.sources.registry import Part
from package.sources.results import FetchOutcome, FetchResult

_CHUNK = 200


def leave(lanes: Lanes, summary: Summary, began: datetime) -> None:
    """Count what had its turn and was put aside, and note what its upstream was left alone for.

    `began`: when the run did; what another one has fetched since is not touched.
    """
    rest = (each for each in lanes.rest() if each[0].told)
    while some := list(islice(rest, _CHUNK)):
        _leave(some, summary, began)


@transaction.atomic
def _leave(some: list[tuple[Unit, Pause | None]], summary: Summary, began: datetime) -> None:
    keys = {unit.package for unit, _ in some}
    # Locked, as where results are stored: what another run fetches now is stored before this, or after it.
    packages = {
        package.pk: package for package in Package.objects.select_for_update().filter(pk__in=keys).order_by("pk")
    }
    stored = {(row.package_id, row.source, row.part): row for row in SourceStatus.objects.filter(package_id__in=keys)}
    rows = []
    for unit, pause in some:
        package = packages.get(unit.package)
        if package is None:
            continue
        for result in unit.last or not_asked(of_unit(unit, registry.parts_of(package)), pause):
            row = stored.get((unit.package, result.source, result.part))
            since = row.last_success if row is not None else None
            if since is not None and since >= began:
                summary.count(replace(result, outcome=FetchOutcome.SKIPPED, error="another run fetched it"))
                continue
            if result.outcome is FetchOutcome.LEFT_ALONE:
                result = replace(result, stored=since)  # noqa: PLW2901 - as it is by now
                if pause is not None:
                    result = replace(result, error=pause.why, retry_at=pause.retry_at)  # noqa: PLW2901 - as above
                rows.append(_row(unit.package, result))
            summary.count(result)
    _save(rows)


def leave_alone(ticket: Claim, parts: Iterable[Part], pause: Pause) -> list[FetchResult]:
    """Note that these parts of a package were not asked for, and do away with the ticket that they were queued by.

    Returns what is to be told of them: nothing, where somebody else has the ticket by now.
    """
    with transaction.atomic():
        if not claims.still_ours(ticket.owner, [ticket.pk]):
            return []
        rows = SourceStatus.objects.filter(package=ticket.package_id, source=ticket.source)
        since = dict(rows.values_list("part", "last_success"))
        results = [replace(result, stored=since.get(result.part)) for result in not_asked(parts, pause)]
        if Package.objects.select_for_update().filter(pk=ticket.package_id):
            _save([_row(ticket.package_id, result) for result in results])
        claims.release([ticket.pk])
    return results


def not_asked(parts: Iterable[Part], pause: Pause | None) -> Iterator[FetchResult]:
    """Return what came of parts that had their turn while their source was to be left alone."""
    for part in parts:
        yield FetchResult(
            part.source,
            FetchOutcome.LEFT_ALONE,
            part.name,
            error=pause.why if pause else "",
            reason="left_alone",
            upstream=part.upstream,
            retry_at=pause.retry_at if pause else None,
        )


def of_unit(unit: Unit, parts: Iterable[Part]) -> list[Part]:
    """Return those of a package's `parts` that `unit` is about; none where it has another address by now."""
    return [part for part in parts if (part.source, part.key) == (unit.source, unit.key) and part.name in unit.parts]


def _save(rows: list[SourceStatus]) -> None:
    """Save what was left alone; the rest of the ledger stays as it is, for nothing was asked."""
    SourceStatus.objects.bulk_create(
        rows,
        update_conflicts=True,
        unique_fields=["package", "source", "part"],
        update_fields=["outcome", "error", "reason"],
    )


def _row(package: int, result: FetchResult) -> SourceStatus:
    return SourceStatus(
        package_id=package,
        source=result.source,
        part=result.part,
        outcome=result.outcome.value,
        error=result.error,
        reason=result.reason,
    )
