"""Results of the parts of one package, and what is stored of them."""

from __future__ import annotations

from package.models import Package, SourceStatus
from package.sources.errors import Gone, Unreachable, Unusable
from package.sources.fetch_results import FetchResult
from package.sources.fields import Reading

DOWN = Unreachable("The stub answered HTTP 503", "http_5xx")
BROKEN = Unusable("The stub answered HTTP 400", "other")
GONE = Gone("The stub has no such resource (HTTP 404)", "gone")


def forks(number: int) -> Reading:
    return Reading({"repo_forks": number})


def watchers(number: int | None) -> Reading:
    return Reading({"repo_watchers": number})


def ledger(package: Package) -> dict[str, SourceStatus]:
    """Return the source statuses of a package by part, or by source if that has only one part."""
    return {row.part or row.source: row for row in SourceStatus.objects.filter(package=package)}


def outcomes(results: list[FetchResult]) -> dict[str, str]:
    """Return the outcome of each part."""
    return {result.part: result.outcome.value for result in results}


def reloaded(package: Package) -> Package:
    """Return the package as it is stored now."""
    return Package.objects.get(pk=package.pk)
