"""Stores the results of fetches. Fields of packages, source statuses and claims are changed in one transaction."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from django.db import InterfaceError, OperationalError, transaction
from django.utils import timezone

from package.jobs import claims, fetch_fields
from package.jobs.fetch_fields import FETCH_FIELDS
from package.jobs.fetching import Work
from package.jobs.refresh_schedule import FRESH, next_due
from package.models import Package, SourceStatus
from package.sources import package_parts
from package.sources.fetch_results import FetchOutcome, FetchResult
from package.sources.fields import Reading

logger = logging.getLogger(__name__)

_ADDRESSES = ("repo_url", "repo_host", "pypi_url")
_KEY = ("package", "source", "part")
_ROW = [
    field.name
    for field in SourceStatus._meta.concrete_fields  # noqa: SLF001 - documented as API
    if field.name not in {"id", *_KEY}
]
_REASON = "database"
"""The reason of a failure that the source did not cause: the data could not be stored."""
_SHOWN = 200
"""Maximum number of characters that are logged of a value that is emptied."""
Rows = dict[tuple[str, str], SourceStatus]


def store(works: Sequence[Work], owner: str = "", end: Callable[[Iterable[int]], None] = claims.release) -> None:
    """Save all results of `works` together. If the database refuses a value, the others are still stored.

    Results are not stored if another owner has taken over the claim, or if the address has changed since the fetch.

    :param owner: the owner of the claims of `works`.
    :param end: called with the primary keys of those claims, in the same transaction.
    :raises OperationalError, InterfaceError: if the database is unavailable. Usually, nothing was stored then. But
        after the database has refused a value, `works` are stored one at a time, so some may have been stored.
    """
    try:
        with transaction.atomic():
            _Batch(works, owner, end).store()
    except (OperationalError, InterfaceError):
        raise
    except Exception:  # noqa: BLE001 - logged for each work separately, below
        for work in works:
            _store_alone(work, owner, end)


def store_without_sources(package: Package) -> FetchResult:
    """Move a package without sources to the end of the queue, and clear its last error. Returns the result."""
    package.next_due = timezone.now() + FRESH
    package.last_exception, package.last_exception_at, package.last_exception_count = "", None, 0
    values = {name: getattr(package, name) for name in FETCH_FIELDS}
    Package.objects.filter(pk=package.pk).update(**values, modified=timezone.now())  # it may have been deleted
    return FetchResult("pypi", FetchOutcome.SKIPPED, error="has no PyPI name and no repository")


def _store_alone(work: Work, owner: str, end: Callable[[Iterable[int]], None]) -> None:
    """Save the results of `work` that can be saved, and end its claim in any case."""
    try:
        with transaction.atomic():
            _Batch([work], owner, end, careful=True).store()
    except (OperationalError, InterfaceError):
        raise
    except Exception as exc:
        logger.exception("%s: none of the fetched data could be stored", work.package.slug)
        error = _not_stored(exc)
        work.results[:] = [
            replace(result, outcome=FetchOutcome.FAILED, error=error, reason=_REASON, again=False, updated=())
            for result in work.results
        ]
        with transaction.atomic():
            end(claims.still_ours(owner, [work.claim] if work.claim is not None else []))


class _Batch:
    """Works that are stored in one transaction, which the caller has opened."""

    def __init__(
        self, works: Sequence[Work], owner: str, end: Callable[[Iterable[int]], None], *, careful: bool = False
    ) -> None:
        """Lock the claims and the packages, and load what `store` needs.

        :param careful: whether to save each reading in its own savepoint.
        """
        self._works = works
        self._owner = owner
        self._end = end
        self._careful = careful
        keys = {work.package.pk for work in works}
        # To avoid deadlocks, claims are locked first and then packages, each in the order of their keys.
        self._held = claims.still_ours(owner, [work.claim for work in works if work.claim is not None])
        there = Package.objects.select_for_update().filter(pk__in=keys).order_by("pk")
        withdrawn = {name for work in works for _, reading in work.readings for name in reading.withdrawn()}
        self._packages = {package.pk: package for package in there.only("slug", *_ADDRESSES, *FETCH_FIELDS, *withdrawn)}
        self._rows: dict[int, Rows] = defaultdict(dict)
        known = SourceStatus.objects.filter(package_id__in=keys)
        for row in known.only("package_id", "source", "part", "outcome", "error", "failures", "next_due"):
            self._rows[row.package_id][row.source, row.part] = row

    def store(self) -> None:
        kept: list[SourceStatus] = []
        for work in self._works:
            package = self._packages.get(work.package.pk)
            if package is None:
                _put_off(work, "was deleted meanwhile")
            elif work.claim is not None and work.claim not in self._held:
                _put_off(work, "another run took it over")
            elif any(package_parts.address_of(package, source) != before for source, before in work.addresses.items()):
                _put_off(work, "its address was changed meanwhile")
            else:
                kept += self._store(work, package)
        for row in kept:
            row.pk = None  # so that a row can conflict only in `_KEY`, and not also in its primary key
        SourceStatus.objects.bulk_create(kept, update_conflicts=True, unique_fields=_KEY, update_fields=_ROW)
        self._end(self._held)

    def _store(self, work: Work, package: Package) -> list[SourceStatus]:
        """Save the package. Returns the source statuses that the caller must save."""
        names: set[str] = set()
        for index, reading in work.readings:
            saved = self._save_carefully(work, index, reading) if self._careful else reading.save(work.package)
            names.update(saved)
            for name in reading.withdrawn().keys() & saved:
                _tell_withdrawn(package, work.results[index].source, name)
        for name in work.changed & set(_ADDRESSES):
            setattr(package, name, getattr(work.package, name))
        rows = self._rows[package.pk]
        rows.update({key: work.rows[key] for key in work.touched})
        expected = [(part.source, part.name) for part in package_parts.parts_of(package)]
        if stale := [rows.pop(key).pk for key in rows.keys() - set(expected)]:  # rows of a previous address
            SourceStatus.objects.filter(pk__in=stale).delete()
        for name, value in fetch_fields.after(
            package, work.results, [rows.get(key) for key in expected], work.now
        ).items():
            setattr(package, name, value)
            setattr(work.package, name, value)
        changed = {name: getattr(work.package, name) for name in (*names, *work.changed, *FETCH_FIELDS)}
        Package.objects.filter(pk=package.pk).update(**changed, modified=timezone.now())
        return [rows[key] for key in work.touched & rows.keys()]

    def _save_carefully(self, work: Work, index: int, reading: Reading) -> list[str]:
        try:
            with transaction.atomic():
                names = reading.save(work.package)
                work.package.save(update_fields=names)
        except (OperationalError, InterfaceError):
            raise
        except Exception as exc:
            result = work.results[index]
            logger.exception("%s: the data from %s could not be stored", work.package.slug, result.source)
            _refused(work, index, _not_stored(exc))
            return []
        return names


def _tell_withdrawn(stored: Package, source: str, name: str) -> None:
    """Log that a field is emptied, unless it was empty before."""
    if before := getattr(stored, name):
        logger.warning("%s: %s emptied, as %s no longer has it: %s", stored.slug, name, source, repr(before)[:_SHOWN])


def _put_off(work: Work, why: str) -> None:
    """Change the results of `work` to skipped. Nothing was stored, but this is not a failure."""
    work.results[:] = [
        FetchResult(result.source, FetchOutcome.SKIPPED, result.part, error=why) for result in work.results
    ]


def _not_stored(error: Exception) -> str:
    return f"could not be stored: {type(error).__name__}; see the log"


def _refused(work: Work, index: int, error: str) -> None:
    """Change a result and its row from a success into a failure, because the data could not be stored."""
    result = work.results[index]
    work.results[index] = replace(result, outcome=FetchOutcome.FAILED, error=error, reason=_REASON, updated=())
    row = work.rows[result.source, result.part]
    row.outcome, row.error, row.reason = FetchOutcome.FAILED.value, error, _REASON
    row.validators, row.memory, row.last_success = {}, {}, result.stored
    row.failures = work.failures.get((result.source, result.part), 0) + 1
    row.next_due = next_due(FetchOutcome.FAILED, row.failures, work.now)
