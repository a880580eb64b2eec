"""What workers of Celery are to fetch: a ticket for each source of a package, and a message for each ticket.

The tickets are rows in the database; a message says no more than which ticket it is about. So a message that comes
twice finds nothing to do the second time, and one that is lost is sent again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from package.jobs import claims
from package.jobs.due import parts_due
from package.models import Claim, Package

RESEND = timedelta(minutes=15)
"""A ticket that nobody has taken for so long is sent again: the broker may have lost its message."""
_CHUNK = 200
"""Packages that are read at a time."""

Send = Callable[[int, str], object]
"""Sends the message for a package and a source."""


def enqueue(primary_keys: Sequence[int], send: Send, *, everything: bool) -> Iterator[int]:
    """Queue these packages, chunk by chunk; yields how many packages that were.

    :param everything: every part of them, and not only those that the ledger says are due.
    """
    for start in range(0, len(primary_keys), _CHUNK):
        keys = primary_keys[start : start + _CHUNK]
        packages = Package.objects.filter(pk__in=keys).only("slug", "pypi_url", "repo_url", "repo_host")
        wanted = {
            (package.pk, part.source)
            for package in packages.prefetch_related("sources")
            for part in parts_due(package, everything=everything)
        }
        now = timezone.now()
        Claim.objects.bulk_create(
            [Claim(package_id=package, source=source, queued=now) for package, source in sorted(wanted)],  # as `claims`
            ignore_conflicts=True,
        )
        there = Claim.objects.filter(package_id__in=keys)
        _change(there.filter(queued=None), queued=now)  # what a run has claimed, and may not live to do
        if everything:
            _change(there.filter(everything=False), everything=True)
        _send(unsent().filter(package_id__in=keys), send)
        yield len(keys)


def send_again(send: Send) -> None:
    """Send what was lost, or left by workers that died."""
    _send(unsent(), send)


def unsent() -> QuerySet[Claim]:
    """Return the tickets for which there is no message, as far as one can know."""
    now = timezone.now()
    return Claim.objects.filter(
        Q(until=None) | Q(until__lt=now),
        Q(sent=None) | Q(sent__lt=now - RESEND),
        queued__isnull=False,
    )


def left(queued_by: datetime) -> int:
    """Count the tickets of that moment that are still to be done."""
    return Claim.objects.filter(queued__lte=queued_by).count()


def _send(tickets: QuerySet[Claim], send: Send) -> None:
    rows = list(tickets.order_by("pk").values_list("pk", "package_id", "source"))
    for start in range(0, len(rows), _CHUNK):  # noted as it goes on: whoever is stopped sends little twice
        sent = []
        try:
            for key, package, source in rows[start : start + _CHUNK]:
                send(package, source)
                sent.append(key)
        finally:
            _change(Claim.objects.filter(pk__in=sent), sent=timezone.now())


def _change(tickets: QuerySet[Claim], **values: object) -> None:
    """Update tickets: locked in the order in which runs lock what they store, so that nobody waits in a circle."""
    with transaction.atomic():
        Claim.objects.filter(pk__in=claims.lock(tickets)).update(**values)
