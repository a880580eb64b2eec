"""Counts the parts that a run leaves for the next run, and records why in their source statuses."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import datetime
from itertools import islice

from django.db import transaction

from package.jobs import claims
from package.jobs.lanes import Lanes, Unit
from package.jobs.pauses import Pause
from package.jobs.refresh_summary import RefreshSummary
from package.models import Claim, Package, SourceStatus
from package.sources import package_parts
from package.sources.fetch_results import FetchOutcome, FetchResult
from package.sources.package_parts import Part

_CHUNK = 200


def leave(lanes: Lanes, summary: RefreshSummary, began: datetime) -> None:
    """Count the units that were put aside and not fetched, and record why nothing was sent to their upstream.

    :param began: when the run began. Parts that another run has fetched since then are not changed.
    """
    rest = (each for each in lanes.rest() if each[0].told)
    while some := list(islice(rest, _CHUNK)):
        _leave(some, summary, began)


@transaction.atomic
def _leave(some: list[tuple[Unit, Pause | None]], summary: RefreshSummary, began: datetime) -> None:
    keys = {unit.package for unit, _ in some}
    # The packages are locked, so that a result of another run is stored either before this update or after it.
    packages = {
        package.pk: package for package in Package.objects.select_for_update().filter(pk__in=keys).order_by("pk")
    }
    stored = {(row.package_id, row.source, row.part): row for row in SourceStatus.objects.filter(package_id__in=keys)}
    rows = []
    for unit, pause in some:
        package = packages.get(unit.package)
        if package is None:
            continue
        for result in unit.last or not_asked(unit.among(package_parts.parts_of(package)), pause):
            row = stored.get((unit.package, result.source, result.part))
            since = row.last_success if row is not None else None
            if since is not None and since >= began:
                summary.count(replace(result, outcome=FetchOutcome.SKIPPED, error="another run fetched it"))
                continue
            if result.outcome is FetchOutcome.LEFT_ALONE:
                result = replace(result, stored=since)  # noqa: PLW2901 - with the current value
                if pause is not None:
                    result = replace(result, error=pause.why, retry_at=pause.retry_at)  # noqa: PLW2901 - as above
                rows.append(_row(unit.package, result))
            summary.count(result)
    _save(rows)


def leave_alone(ticket: Claim, parts: Iterable[Part], pause: Pause) -> list[FetchResult]:
    """Record that these parts of a package were not requested, and delete their ticket.

    Returns the results of the parts; an empty list if another owner has taken over the ticket.
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
    """Yield the results of parts that were not requested because their source is paused."""
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


def _save(rows: list[SourceStatus]) -> None:
    """Save outcome, error and reason. The other fields of the source status stay, because nothing was sent."""
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
