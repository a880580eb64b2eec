"""The Celery tasks. `plan` queues packages, and `fetch` fetches one source of one package.

A ticket is a row in the database for each source of a package that is queued: see `package.jobs.dispatch`. The message
of `fetch` contains only the id of the package, the name of the source and the number of tries; the task reads
everything else from the database. So a message that arrives twice or late does no harm.
"""

from __future__ import annotations

import logging
import random
from contextlib import suppress
from datetime import datetime, timedelta
from functools import cache, partial
from typing import Any

from celery import Task, shared_task
from django.db import InterfaceError, OperationalError
from django.utils import timezone

from core.http import observe
from core.http.django import batch_job_metrics
from package.jobs import claims, crash_isolation, dispatch
from package.jobs.crash_isolation import Treatment
from package.jobs.due import due, parts_due
from package.jobs.fallback_metric import count_fallback
from package.jobs.fetching import LONGEST, Work
from package.jobs.pauses import Pauses, was_asked
from package.jobs.storing import store
from package.jobs.unfetched import leave_alone
from package.models import Claim, Package
from package.sources import package_parts
from package.sources.fetch_results import FetchOutcome
from package.sources.package_parts import Part
from package.sources.sessions import sessions

logger = logging.getLogger(__name__)

PATIENCE = timedelta(hours=1)
"""Time after which a ticket that cannot be done is deleted. Its parts are still due, so `plan` queues them again."""
_FIRST_PAUSE = timedelta(seconds=10)
"""Delay before a ticket is tried a second time. It doubles each time, and up to half of it is added at random."""
_LONGEST_PAUSE = timedelta(minutes=10)
"""Maximum of that delay, without the random part."""
_EARLY = timedelta(seconds=1)
"""Tolerated difference between the clocks of two machines."""


class Patient(Task):  # type: ignore[type-arg]  # not subscriptable at run time
    """A task that is retried, with increasing delays, while the database is unavailable."""

    autoretry_for = (OperationalError, InterfaceError)
    retry_backoff = True
    retry_backoff_max = 300
    retry_jitter = True
    max_retries = 20


@shared_task(base=Patient)
def plan() -> None:
    """Queue the packages that are due, and send lost messages again. The task runs in the default queue."""
    with batch_job_metrics.jobs().run("plan") as job:
        for packages in dispatch.enqueue(list(due().values_list("pk", flat=True)), send, everything=False):
            job.items({"success": packages})
        dispatch.send_again(send)


@shared_task(base=Patient, soft_time_limit=int(LONGEST) + 10, time_limit=int(LONGEST) + 20)
def fetch(package_id: int, source: str, tries: int = 0) -> None:
    """Fetch the queued parts of a package from one source, unless another process fetches them or has fetched them."""
    owner = claims.new_owner()
    try:
        _fetch_claimed(owner, package_id, source, tries)
    except BaseException:  # time limit, shutdown or database failure: return the claim, so that this counts no death
        with suppress(OperationalError, InterfaceError):
            claims.release_all(owner)
        raise


def send(package_id: int, source: str, tries: int = 0, eta: datetime | None = None) -> None:
    """Send the message for a ticket.

    :param tries: how often the ticket was tried.
    :param eta: the time at which the message is delivered; None: now.
    :raises kombu.exceptions.OperationalError: if the broker cannot be reached.
    """
    when: dict[str, Any] = {} if eta is None else {"eta": eta}
    fetch.apply_async((package_id, source), {"tries": tries} if tries else {}, queue=source, **when)


def _fetch_claimed(owner: str, package_id: int, source: str, tries: int) -> None:
    claim = claims.claim(owner, {(package_id, source)}, tickets=True).get((package_id, source))
    if claim is None:
        _wait_for_its_owner(package_id, source, tries)
        return
    ticket = Claim.objects.get(pk=claim)
    package = Package.objects.filter(pk=package_id).prefetch_related("sources").first()
    parts = _wanted(package, ticket) if package is not None else []
    if package is None or not parts:
        claims.release([claim])
        return
    rows = [row for row in package.sources.all() if row.source == source]
    if crash_isolation.treatment(ticket.deaths, rows) is Treatment.POSTPONED:
        work = Work(package, parts, claim=claim)
        crash_isolation.put_off(work, sessions())
        store([work], owner)
        return
    pause, at = _pauses().of(parts[0]), _awaited(ticket)
    if at is None and pause is None:
        _fetch(package, parts, ticket, tries)
    elif at := at or _try_again(ticket, 0, pause.retry_at if pause else None):  # nothing was sent, so 0 tries
        claims.give_back([claim], sent=at, deaths=ticket.deaths)
        send(package_id, source, tries, eta=at)
    elif pause is not None:
        for result in leave_alone(ticket, parts, pause):
            count_fallback(result)


def _fetch(package: Package, parts: list[Part], ticket: Claim, tries: int) -> None:
    """Fetch these parts and store the results. If parts failed for a transient reason, send the ticket again."""
    through, pauses = sessions(), _pauses()
    work = Work(package, parts, again=tries > 0, claim=ticket.pk)
    with observe(pauses.observe), through.within(LONGEST):
        work.do(through)
    for result in work.results:
        if pauses.heed(parts[0], result):
            logger.warning("Refreshing %s paused: %s", result.source, result.error)
    left = [result for result in work.results if result.outcome is FetchOutcome.LEFT_ALONE or result.again]
    later = [result.retry_at for result in left if result.retry_at is not None]
    at = _try_again(ticket, tries, max(later, default=timezone.now())) if left else None
    store([work], ticket.owner, end=claims.release if at is None else partial(claims.give_back, sent=at))
    if at is not None:
        send(package.pk, ticket.source, tries + any(map(was_asked, left)), eta=at)
        return
    for result in work.results:
        count_fallback(result)


def _wanted(package: Package, ticket: Claim) -> list[Part]:
    """Return the parts to fetch for a ticket.

    These are the parts that were fetched without success since the ticket was queued, and those that are still due. The
    parts are determined from the database, because a message may be lost.
    """
    since = ticket.queued or timezone.now()
    rows = {(row.source, row.part): row for row in package.sources.all()}
    tried = any(row.source == ticket.source and _is_since(row.last_attempt, since) for row in rows.values())
    due = {(part.source, part.name) for part in parts_due(package, everything=ticket.everything)}
    wanted = []
    for part in package_parts.parts_of(package):
        key = (part.source, part.name)
        row = rows.get(key)
        # Parts that were not requested because another part failed count as tried too.
        unasked = row is not None and row.outcome == FetchOutcome.FAILED and not row.attempts
        if row is not None and (_is_since(row.last_attempt, since) or (tried and unasked)):
            is_wanted = not _is_since(row.last_success, since) and row.outcome != FetchOutcome.NOT_FOUND
        else:
            is_wanted = key in due
        if is_wanted and part.source == ticket.source:
            wanted.append(part)
    return wanted


def _is_since(moment: datetime | None, since: datetime) -> bool:
    return moment is not None and moment >= since


def _wait_for_its_owner(package_id: int, source: str, tries: int) -> None:
    """Send another message for the ticket, to be delivered when the lease of its owner ends.

    If the process of the owner is killed, that message restarts the work.
    """
    ticket = Claim.objects.filter(package_id=package_id, source=source).first()
    if ticket is not None:  # otherwise the work is done
        # If there is no lease, another process had locked the row of the ticket, to record that its message was sent.
        until = max(ticket.until or timezone.now(), timezone.now())
        send(package_id, source, tries, eta=until + timedelta(seconds=1 + 4 * random.random()))  # noqa: S311 - no secret


def _awaited(ticket: Claim) -> datetime | None:
    """Return the time at which the next message of a ticket is delivered; None: the current message is the last one."""
    return ticket.sent if ticket.sent is not None and ticket.sent > timezone.now() + _EARLY else None


def _try_again(ticket: Claim, tries: int, until: datetime | None) -> datetime | None:
    """Return when to try a ticket again that cannot be done before `until`.

    None: do not try it again, because `until` is None or the ticket is older than `PATIENCE`.
    """
    now = timezone.now()
    if until is None or now - (ticket.queued or now) > PATIENCE:
        return None
    pause: timedelta = min(_FIRST_PAUSE * 2 ** min(tries, 10), _LONGEST_PAUSE)
    pause += pause * random.random() / 2  # noqa: S311 - no secret
    return max(until, now + pause)


@cache
def _pauses() -> Pauses:
    """Return the pauses of this process. The first call creates the object."""
    return Pauses()
