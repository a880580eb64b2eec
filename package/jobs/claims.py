"""Who fetches what: a source of a package is claimed in the database before it is asked, for as long as a lease.

So several runs, machines and workers never fetch the same at once. Whoever dies leaves a lease that expires; whoever
comes back after that finds that the claim is another's, and stores nothing.
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
"""Longer than a source of a package can take: see `fetching.LONGEST`."""

Wanted = tuple[int, str]
"""A package's primary key, and a source."""


def new_owner() -> str:
    """Return a name for somebody who claims: a run, or a task."""
    return uuid.uuid4().hex


def claim(owner: str, wanted: Collection[Wanted], *, tickets: bool = False) -> dict[Wanted, int]:
    """Claim what is free of `wanted`. Returns the primary keys of the claims that were got.

    A claim whose lease has ended while it had an owner counts one more death: an owner that lives gives it back.

    `tickets`: only what somebody queued (see `package.jobs.dispatch`) and nobody has done meanwhile.
    """
    with transaction.atomic():
        if not tickets:
            # In the same order as everybody: two that insert the same rows wait for each other, and not in a circle.
            missing = [Claim(package_id=package, source=source) for package, source in sorted(wanted)]
            Claim.objects.bulk_create(missing, ignore_conflicts=True)
        packages = {package for package, _ in wanted}
        # In no order, here and below: the model's own joins the packages. Who locks those as well, to claim, goes
        # without what is free, whenever somebody stores another source of the same package.
        claims = Claim.objects.order_by()
        known = claims.filter(package_id__in=packages).values_list("pk", "package_id", "source")
        keys = {pk: (package, source) for pk, package, source in known if (package, source) in wanted}
        free = claims.filter(Q(until=None) | Q(until__lt=Now()), pk__in=keys)
        if connection.features.has_select_for_update_skip_locked:  # whom somebody else takes right now is not free
            free = claims.filter(pk__in=free.select_for_update(skip_locked=True).values("pk"))
        deaths = Case(When(until=None, then=F("deaths")), default=F("deaths") + 1)
        got = free.update(owner=owner, until=Now() + LEASE, deaths=deaths)
        if got < len(keys):
            taken = claims.filter(pk__in=keys, owner=owner).values_list("pk", flat=True)
            keys = {pk: keys[pk] for pk in taken}
    return {wanted: pk for pk, wanted in keys.items()}


def deaths_of(keys: Iterable[int]) -> dict[int, int]:
    """Return, of each claim whose owner's process died, how often in a row that happened."""
    return dict(Claim.objects.filter(pk__in=keys, deaths__gt=0).order_by().values_list("pk", "deaths"))


def still_ours(owner: str, keys: Iterable[int]) -> set[int]:
    """Return which of these claims `owner` has, and keep them from others until the transaction ends."""
    return set(lock(Claim.objects.filter(pk__in=keys, owner=owner)))


def lock(claims: QuerySet[Claim]) -> list[int]:
    """Keep claims from others until the transaction ends; in one order, so that no two wait for each other."""
    return list(claims.select_for_update().order_by("pk").values_list("pk", flat=True))


def release(keys: Iterable[int]) -> None:
    """Let go of claims, done with: nobody needs to come back."""
    Claim.objects.filter(pk__in=keys).delete()


def give_back(keys: Iterable[int], *, sent: datetime, deaths: int = 0) -> None:
    """Let go of claims that are to be claimed again: they stay queued, and the next message comes at `sent`.

    :param deaths: what they counted, where nothing was fetched; after a fetch their count begins anew.
    """
    Claim.objects.filter(pk__in=keys).update(owner="", until=None, sent=sent, deaths=deaths)


def put_back(keys: Iterable[int]) -> None:
    """Let go of claims that are to be claimed again soon, by anybody. They keep their count of deaths."""
    Claim.objects.filter(pk__in=keys).update(owner="", until=None)


def release_all(owner: str) -> None:
    """Let go of everything that `owner` has, undone; what was queued stays so, and what deaths were counted."""
    with transaction.atomic():
        mine = Claim.objects.filter(pk__in=lock(Claim.objects.filter(owner=owner)))
        mine.filter(queued=None, deaths=0).delete()
        mine.update(owner="", until=None)
