"""Claims. Before a process fetches a source of a package, it claims that source in the database, with a lease.

This prevents several runs, machines and workers from fetching the same data at once. The lease of a process that dies
expires. If a process continues after its lease has expired, another owner may have the claim. The process then stores
nothing.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterable
from datetime import datetime, timedelta

from django.db import connection, transaction
from django.db.models import Case, F, Q, QuerySet, When
from django.db.models.functions import Now

from package.models import Claim

LEASE = timedelta(seconds=150)
"""Duration of a lease. It is longer than the fetch of one source of a package can take: see `fetching.LONGEST`."""

Wanted = tuple[int, str]
"""The primary key of a package, and a source."""


def new_owner() -> str:
    """Return a unique name for an owner of claims: a run, or a Celery task."""
    return uuid.uuid4().hex


def claim(owner: str, wanted: Collection[Wanted], *, tickets: bool = False) -> dict[Wanted, int]:
    """Claim those of `wanted` that no other owner has claimed. Returns the primary keys of the new claims.

    If the lease of a claim expired while it had an owner, its `deaths` are increased by one, because an owner whose
    process is alive returns its claims before the lease ends.

    :param tickets: whether to claim only tickets, that is, rows that `package.jobs.dispatch` has queued and that are
        not done yet.
    """
    with transaction.atomic():
        if not tickets:
            # All processes insert in the same order, so that two processes that insert the same rows cannot deadlock.
            missing = [Claim(package_id=package, source=source) for package, source in sorted(wanted)]
            Claim.objects.bulk_create(missing, ignore_conflicts=True)
        packages = {package for package, _ in wanted}
        # order_by() here and below, because an ordering by the package would join and lock the packages too. Then a
        # claim would be skipped whenever another process stores another source of the same package.
        claims = Claim.objects.order_by()
        known = claims.filter(package_id__in=packages).values_list("pk", "package_id", "source")
        keys = {pk: (package, source) for pk, package, source in known if (package, source) in wanted}
        free = claims.filter(Q(until=None) | Q(until__lt=Now()), pk__in=keys)
        if connection.features.has_select_for_update_skip_locked:  # skip rows that another process is claiming
            free = claims.filter(pk__in=free.select_for_update(skip_locked=True).values("pk"))
        deaths = Case(When(until=None, then=F("deaths")), default=F("deaths") + 1)
        got = free.update(owner=owner, until=Now() + LEASE, deaths=deaths)
        if got < len(keys):
            taken = claims.filter(pk__in=keys, owner=owner).values_list("pk", flat=True)
            keys = {pk: keys[pk] for pk in taken}
    return {wanted: pk for pk, wanted in keys.items()}


def deaths_of(keys: Iterable[int]) -> dict[int, int]:
    """Return `Claim.deaths` of these claims, by primary key. Claims whose `deaths` are 0 are omitted."""
    return dict(Claim.objects.filter(pk__in=keys, deaths__gt=0).order_by().values_list("pk", "deaths"))


def still_ours(owner: str, keys: Iterable[int]) -> set[int]:
    """Return which of these claims `owner` still has, and lock them until the transaction ends."""
    return set(lock(Claim.objects.filter(pk__in=keys, owner=owner)))


def lock(claims: QuerySet[Claim]) -> list[int]:
    """Lock claims until the transaction ends. All processes lock in the same order, so that they cannot deadlock."""
    return list(claims.select_for_update().order_by("pk").values_list("pk", flat=True))


def release(keys: Iterable[int]) -> None:
    """Delete claims whose work is done."""
    Claim.objects.filter(pk__in=keys).delete()


def give_back(keys: Iterable[int], *, sent: datetime, deaths: int = 0) -> None:
    """Return claims to the queue.

    :param sent: the time at which the queue delivers their next message.
    :param deaths: the current `deaths` of the claims, if nothing was fetched; 0 after a fetch, which resets the count.
    """
    Claim.objects.filter(pk__in=keys).update(owner="", until=None, sent=sent, deaths=deaths)


def put_back(keys: Iterable[int]) -> None:
    """Return claims, so that any process can claim them immediately. Their `deaths` stay unchanged."""
    Claim.objects.filter(pk__in=keys).update(owner="", until=None)


def release_all(owner: str) -> None:
    """Return all claims of `owner`, whose work is not done. Tickets stay queued, and `deaths` stay unchanged."""
    with transaction.atomic():
        mine = Claim.objects.filter(pk__in=lock(Claim.objects.filter(owner=owner)))
        mine.filter(queued=None, deaths=0).delete()
        mine.update(owner="", until=None)
