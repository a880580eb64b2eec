"""Decides which packages are refreshed, and in which order."""

from __future__ import annotations

from datetime import datetime

from django.db.models import F, Q, QuerySet
from django.db.models.functions import Coalesce, Greatest
from django.utils import timezone

from package.models import Package
from package.sources import package_parts
from package.sources.package_parts import Part


def due(now: datetime | None = None) -> QuerySet[Package]:
    """Return the packages with at least one part that is due, in the order of `in_order`."""
    return in_order(Package.objects.filter(Q(next_due=None) | Q(next_due__lte=now or timezone.now())))


def stale(before: datetime) -> QuerySet[Package]:
    """Return the packages that were last refreshed before `before`, or never, in the order of `in_order`."""
    return in_order(Package.objects.filter(Q(last_fetched=None) | Q(last_fetched__lt=before)))


def in_order(packages: QuerySet[Package]) -> QuerySet[Package]:
    """Order packages for refreshing: those whose last refresh, successful or failed, is oldest come first.

    For a package that was never refreshed but was postponed, the time at which it is due counts instead. Packages that
    were neither refreshed nor postponed come before all others.
    """
    tried = Greatest(
        Coalesce("last_fetched", "last_exception_at", "next_due"),
        Coalesce("last_exception_at", "last_fetched", "next_due"),
    )
    return packages.order_by(tried.asc(nulls_first=True), F("pk"))


def parts_due(package: Package, *, everything: bool) -> list[Part]:
    """Return the parts of a package to fetch: those that are due according to their source statuses.

    The list may be empty, because another process may have fetched the parts since the package was selected.

    :param everything: whether to return all parts.
    """
    parts = package_parts.parts_of(package)
    if everything:
        return parts
    now = timezone.now()
    later = {(row.source, row.part) for row in package.sources.all() if row.next_due and row.next_due > now}
    return [part for part in parts if (part.source, part.name) not in later]
