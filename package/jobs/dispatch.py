"""The queue of the Celery workers: a ticket for each source of a package to fetch, and a message for each ticket.

Tickets are rows in the database, and a message only identifies its ticket. So a message that arrives twice has no
effect the second time, and a message that is lost can be sent again.
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
"""If no worker takes a ticket within this time, its message is sent again, because the broker may have lost it."""
_CHUNK = 200
"""Number of packages per database query."""

Send = Callable[[int, str], object]
"""A function that sends the message for a package (its primary key) and a source."""


def enqueue(primary_keys: Sequence[int], send: Send, *, everything: bool) -> Iterator[int]:
    """Queue these packages in chunks. After each chunk, yield the number of its packages.

    :param everything: whether to queue all parts of the packages, not only those that are due.
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
        Claim.objects.bulk_create(  # sorted, against deadlocks: see `claims.claim`
            [Claim(package_id=package, source=source, queued=now) for package, source in sorted(wanted)],
            ignore_conflicts=True,
        )
        there = Claim.objects.filter(package_id__in=keys)
        _change(there.filter(queued=None), queued=now)  # a run has claimed these, but may be killed before the end
        if everything:
            _change(there.filter(everything=False), everything=True)
        _send(unsent().filter(package_id__in=keys), send)
        yield len(keys)


def send_again(send: Send) -> None:
    """Send messages again that were lost, or whose worker was killed."""
    _send(unsent(), send)


def unsent() -> QuerySet[Claim]:
    """Return the tickets that probably have no message, because none was sent, or none was handled in time."""
    now = timezone.now()
    return Claim.objects.filter(
        Q(until=None) | Q(until__lt=now),
        Q(sent=None) | Q(sent__lt=now - RESEND),
        queued__isnull=False,
    )


def left(queued_by: datetime) -> int:
    """Return the number of tickets that were queued at `queued_by` or earlier and are not done yet."""
    return Claim.objects.filter(queued__lte=queued_by).count()


def _send(tickets: QuerySet[Claim], send: Send) -> None:
    rows = list(tickets.order_by("pk").values_list("pk", "package_id", "source"))
    for start in range(0, len(rows), _CHUNK):  # in chunks, so that after an interruption few messages are sent twice
        sent = []
        try:
            for key, package, source in rows[start : start + _CHUNK]:
                send(package, source)
                sent.append(key)
        finally:
            _change(Claim.objects.filter(pk__in=sent), sent=timezone.now())


def _change(tickets: QuerySet[Claim], **values: object) -> None:
    """Update tickets. Against deadlocks, they are locked in the order in which runs lock the claims that they store."""
    with transaction.atomic():
        Claim.objects.filter(pk__in=claims.lock(tickets)).update(**values)
