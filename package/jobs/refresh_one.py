"""Refreshes one package immediately, in the calling thread."""

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
"""The value of a label of `outbound_http_fallbacks_total`: where the data comes from while a source is unreachable."""
_NOT_ITS_FAULT = frozenset({NO_TIME, ledger.STOPPED})

sessions = cache(Sessions)
"""Returns the sessions of the process. The first call creates them."""


def refresh_one(
    package: Package,
    through: Sessions | None = None,
    *,
    parts: Sequence[Part] | None = None,
    again: bool = False,
) -> list[FetchResult]:
    """Refresh `package`, save the results and return them. If a part fails, the others are still refreshed.

    :param through: the sessions to use; default: those of the process.
    :param parts: the parts to refresh; default: all.
    :param again: whether the parts failed a short time ago, so that another failure does not increase the number of
        failures in a row.
    :raises Stopped: if the run had to end. The results until then are saved.
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
    """Move a package without sources to the end of the queue, and clear its last error. Returns the result."""
    package.next_due = timezone.now() + ledger.FRESH
    package.last_exception, package.last_exception_at, package.last_exception_count = "", None, 0
    values = {name: getattr(package, name) for name in FETCH_FIELDS}
    Package.objects.filter(pk=package.pk).update(**values, modified=timezone.now())  # it may have been deleted
    return FetchResult("pypi", FetchOutcome.SKIPPED, error="has no PyPI name and no repository")


def tell_of_fallback(result: FetchResult) -> None:
    """Count a fallback if stored data is shown for this part because its source was down or could not be reached."""
    failed = result.outcome is FetchOutcome.LEFT_ALONE or not result.reached
    if failed and result.reason not in _NOT_ITS_FAULT and result.stored is not None:
        process.current().emit(FallbackServed(result.upstream, STORED))
