"""Refreshes one package immediately, in the calling thread."""

from __future__ import annotations

from collections.abc import Sequence

from package.jobs.fetching import Work
from package.jobs.storing import store, store_without_sources
from package.models import Package
from package.sources import package_parts
from package.sources.fetch_results import FetchResult
from package.sources.package_parts import Part
from package.sources.sessions import Sessions, sessions


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
    wanted = package_parts.parts_of(package) if parts is None else parts
    if not wanted:
        return [store_without_sources(package)]
    work = Work(package, wanted, again=again)
    work.do(through or sessions())
    store([work])
    if work.stopped is not None:
        raise work.stopped
    return work.results
