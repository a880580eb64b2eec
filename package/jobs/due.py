"""Which packages are to be refreshed, and in what order."""

from __future__ import annotations

from datetime import datetime

from django.db.models import F, Q, QuerySet
from django.db.models.functions import Coalesce, Greatest
from django.utils import timezone

from package.models import Package
from package.sources import registry
from package.sources.registry import Part


def due(now: datetime | None = None) -> QuerySet[Package]:
    """Return the packages of which a part is due by the ledger, in their order."""
    return in_order(Package.objects.filter(Q(next_due=None) | Q(next_due__lte=now or timezone.now())))


def stale(before: datetime) -> QuerySet[Package]:
    """Return the packages last refreshed before then, or never, in their order."""
    return in_order(Package.objects.filter(Q(last_fetched=None) | Q(last_fetched__lt=before)))


def in_order(packages: QuerySet[Package]) -> QuerySet[Package]:
    """Order packages as they are to be refreshed: those tried longest ago first.

    Last come those that had their turn though there was nothing to fetch: they are known by when they are due.
    """
    tried = Greatest(
        Coalesce("last_fetched", "last_exception_at", "next_due"),
        Coalesce("last_exception_at", "last_fetched", "next_due"),
    )
    return packages.order_by(tried.asc(nulls_first=True), F("pk"))


def parts_due(package: Package, *, everything: bool) -> list[Part]:
    """Return what is to be fetched of a package in its turn: what the ledger says is due.

    That may be nothing: others can have fetched it since somebody saw that it is due.
    """
    parts = registry.parts_of(package)
    if everything:
        return parts
    now = timezone.now()
    later = {(row.source, row.part) for row in package.sources.all() if row.next_due and row.next_due > now}
    return [part for part in parts if (part.source, part.name) not in later]
