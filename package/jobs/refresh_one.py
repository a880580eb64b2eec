"""Refreshing one package, here and now."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from django.utils import timezone

from core.http import process
from core.http.events import FallbackServed
from package.jobs import ledger
from package.jobs.fetch_fields import FETCH_FIELDS
from package.jobs.fetching import Work
from package.jobs.storing import store
from package.models import Package
from package.sources import registry
from package.sources.errors import NO_TIME
from package.sources.registry import Part
from package.sources.results import FetchOutcome, FetchResult
from package.sources.sessions import Sessions

STORED = "database"
"""What serves while a source cannot be reached, as `outbound_http_fallbacks_total` names it."""
_NOT_ITS_FAULT = frozenset({NO_TIME, ledger.STOPPED})

sessions = cache(Sessions)
"""The process's own, made on first use."""


def refresh_one(
    package: Package,
    through: Sessions | None = None,
    *,
    parts: Sequence[Part] | None = None,
    again: bool = False,
) -> list[FetchResult]:
    """Refresh `package`, or these `parts` of it, and save what came; a part that fails does not stop the others.

    :param again: what is asked now failed a short while ago: it is the same failure still.
    :raises Stopped: the run ended meanwhile; what had come by then is saved.
    """
    wanted = registry.parts_of(package) if parts is None else parts
    if not wanted:
        return [nothing_to_ask(package)]
    work = Work(package, wanted, again=again)
    work.do(through or sessions())
    store([work])
    if work.stopped is not None:
        raise work.stopped
    return work.results


def nothing_to_ask(package: Package) -> FetchResult:
    """Give a package without sources its turn: back to the end of the queue. Nothing is fetched, so it says no more."""
    package.next_due = timezone.now() + ledger.FRESH
    package.last_exception, package.last_exception_at, package.last_exception_count = "", None, 0
    values = {name: getattr(package, name) for name in FETCH_FIELDS}
    Package.objects.filter(pk=package.pk).update(**values, modified=timezone.now())  # it may be deleted by now
    return FetchResult("pypi", FetchOutcome.SKIPPED, error="has no PyPI name and no repository")


def tell_of_fallback(result: FetchResult) -> None:
    """Count that what is stored of this part has to serve, if that is so."""
    failed = result.outcome is FetchOutcome.LEFT_ALONE or not result.reached
    if failed and result.reason not in _NOT_ITS_FAULT and result.stored is not None:
        process.current().emit(FallbackServed(result.upstream, STORED))
