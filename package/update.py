"""Refreshing one package: each part from its source, saved together with the ledger."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from functools import cache

from django.db import DataError, IntegrityError, transaction
from django.utils import timezone

from core.http import registry
from core.http.events import FallbackServed
from package import ledger
from package.asking import Client
from package.errors import NO_TIME, AskError, Gone, LeftAlone, NotModified, NotReady
from package.models import Package, SourceStatus
from package.reading import Reading
from package.repos import NotARepository, get_repo_for_repo_url
from package.repos.address import shown
from package.results import GOOD, FetchOutcome, FetchResult
from package.sources import Part, Sessions, parts_of
from package.stopping import Stopped

logger = logging.getLogger(__name__)

STORED = "database"
"""What serves while a source cannot be reached, as `outbound_http_fallbacks_total` names it."""
_KEY = ("package", "source", "part")
_ROW = [
    field.name
    for field in SourceStatus._meta.concrete_fields  # noqa: SLF001 - documented as API
    if field.name not in {"id", *_KEY}
]
_FETCH_FIELDS = ("next_due", "last_fetched", "last_exception", "last_exception_at", "last_exception_count", "modified")

sessions = cache(Sessions)
"""The process's own, made on first use."""


def update_package(
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
    wanted = parts_of(package) if parts is None else parts
    if not wanted:
        return [_nothing_to_ask(package)]
    work = _Work(package, through or sessions(), again=again)
    try:
        for part in wanted:
            work.fetch(part)
    except Stopped:
        work.save()
        raise
    work.save()
    return work.results


def tell_of_fallback(result: FetchResult) -> None:
    """Count that what is stored of this part has to serve, if that is so."""
    failed = result.outcome is FetchOutcome.LEFT_ALONE or not result.reached
    if failed and result.reason not in _NOT_ITS_FAULT and result.stored is not None:
        registry.current().emit(FallbackServed(result.upstream, STORED))


class _Work:
    """One package in hand."""

    def __init__(self, package: Package, through: Sessions, *, again: bool) -> None:
        self.results: list[FetchResult] = []
        self._package = package
        self._sessions = through
        self._again = again
        self._now = timezone.now()
        self._rows = {(row.source, row.part): row for row in package.sources.all()}
        self._readings: list[tuple[int, Reading]] = []
        """With the index of their result."""
        self._gone: set[str] = set()
        self._silent: dict[str, FetchResult] = {}
        """Sources that gave no answer at all: each further question would take as long."""
        self._touched: set[tuple[str, str]] = set()
        self._failures = package.last_exception_count
        self._failures_of = {key: row.failures for key, row in self._rows.items()}
        self._fields: set[str] = set()
        self._addresses = (package.repo_url, package.repo_host, package.pypi_url)

    def fetch(self, part: Part) -> None:
        """Fetch one part, and note what came of it."""
        row = self._rows.get((part.source, part.name))
        if row is None:
            row = SourceStatus(package=self._package, source=part.source, part=part.name)
            self._rows[part.source, part.name] = row
        self._touched.add((part.source, part.name))
        session = self._sessions.untrusted if part.untrusted else self._sessions.trusted
        client = Client(session, part.server, row.validators, row.memory, self._sessions.before)
        upstream, stored = part.upstream, row.last_success
        result = FetchResult(part.source, FetchOutcome.FAILED, part.name, upstream=upstream, stored=stored)
        if part.source in self._gone:
            ledger.record(row, replace(result, outcome=FetchOutcome.NOT_FOUND), client, self._now, again=self._again)
            return
        if part.source in self._silent:  # nor would it answer this
            self._note(part, row, client, replace(self._silent[part.source], part=part.name, stored=stored), again=True)
            return
        try:
            result = self._ask(part, client, result)
        except Stopped as exc:
            error = f"the run ended before an attempt succeeded: {exc}"
            result = replace(result, error=error, reason=ledger.STOPPED, reached=False)
            self._note(part, row, client, result, again=True)
            row.next_due = self._now
            raise
        except Exception as exc:
            logger.exception("%s: %s of %s", self._package.slug, part.name or "what there is", part.source)
            result = replace(result, error=f"unexpected {type(exc).__name__}; see the log", reason="unexpected")
        if result.again and client.status is None:
            self._silent[part.source] = result
        self._note(part, row, client, result, again=self._again)

    def save(self) -> None:
        """Store everything that came, and the ledger, at once; values that the database refuses on their own."""
        package = self._package
        try:
            with transaction.atomic():
                if self._was_moved():
                    return
                names = [name for _, reading in self._readings for name in reading.save(package)]
                self._save_package(names)
        except (DataError, IntegrityError):
            with transaction.atomic():
                if self._was_moved():
                    return
                for index, reading in self._readings:
                    self._save_alone(index, reading)
                self._save_package([])

    def _was_moved(self) -> bool:
        """Say whether somebody changed an address meanwhile: what came belongs to the one before, and it stays due."""
        there = Package.objects.select_for_update().filter(pk=self._package.pk)
        now = there.values_list("repo_url", "repo_host", "pypi_url").first()
        if now is None:
            raise Package.DoesNotExist
        return now != self._addresses

    def _ask(self, part: Part, client: Client, result: FetchResult) -> FetchResult:
        try:
            reading = part.fetch(client)
        except NotModified:
            return replace(result, outcome=FetchOutcome.UNCHANGED)
        except AskError as exc:
            outcome = next((outcome for kind, outcome in _OUTCOMES.items() if isinstance(exc, kind)), result.outcome)
            result = replace(result, outcome=outcome, error=str(exc), reason=exc.reason)
            retry_at = exc.retry_at if isinstance(exc, LeftAlone) else None
            return replace(result, reached=exc.reached, again=exc.again, retry_at=retry_at)
        self._readings.append((len(self.results), reading))
        slug, server = self._package.slug, part.server.name
        for skipped in reading.skipped:
            logger.warning("%s: %s's %s skipped: %s", slug, server, skipped.field, skipped.reason)
        outcome = FetchOutcome.PARTLY if reading.skipped else FetchOutcome.UPDATED
        self._move(reading.moved_to)
        return replace(result, outcome=outcome, updated=reading.updated, skipped=tuple(reading.skipped))

    def _note(self, part: Part, row: SourceStatus, client: Client, result: FetchResult, *, again: bool) -> None:
        self.results.append(result)
        ledger.record(row, result, client, self._now, again=again)
        if result.outcome is FetchOutcome.NOT_FOUND and part.missing_since:
            self._gone.add(part.source)
            if getattr(self._package, part.missing_since) is None:
                logger.warning("%s: %s", self._package.slug, result.error)
                self._set(part.missing_since, self._now)
        elif result.outcome in GOOD and part.missing_since:
            if getattr(self._package, part.missing_since) is not None:
                self._ask_the_others_soon(part)
            self._set(part.missing_since, None)
        elif result.outcome is FetchOutcome.FAILED and result.reached:  # core.http tells of those that were not reached
            logger.warning("%s: not updated: %s", self._package.slug, result.error)

    def _ask_the_others_soon(self, part: Part) -> None:
        """Make the other parts of what was gone, and is back, due: they were not asked for in all that time."""
        for (source, name), row in self._rows.items():
            if source == part.source and name != part.name:
                row.next_due = None
                self._touched.add((source, name))

    def _move(self, address: str) -> None:
        package = self._package
        if not address:
            return
        try:
            get_repo_for_repo_url(address, package.repo_host)
        except NotARepository as exc:
            logger.warning("%s: %s has moved, but %s", package.slug, shown(package.repo_url), exc)
            return
        logger.warning("%s: %s has moved to %s", package.slug, shown(package.repo_url), address)
        self._set("repo_url", address)

    def _set(self, name: str, value: object) -> None:
        setattr(self._package, name, value)
        self._fields.add(name)

    def _save_alone(self, index: int, reading: Reading) -> None:
        result = self.results[index]
        try:
            with transaction.atomic():
                self._package.save(update_fields=reading.save(self._package))
        except (DataError, IntegrityError) as exc:
            logger.exception("%s: what %s says could not be stored", self._package.slug, result.source)
            outcome, error = FetchOutcome.FAILED, f"could not be stored: {type(exc).__name__}; see the log"
            self.results[index] = replace(result, outcome=outcome, error=error, reason="database", updated=())
            row = self._rows[result.source, result.part]
            row.outcome, row.error, row.reason = outcome.value, error, "database"
            row.validators, row.memory, row.last_success = {}, {}, result.stored
            row.failures = self._failures_of.get((result.source, result.part), 0) + 1
            row.next_due = ledger.next_due(outcome, row.failures, self._now)

    def _save_package(self, names: list[str]) -> None:
        package, rows = self._package, self._rows
        expected = {(part.source, part.name) for part in parts_of(package)}
        if stale := [row.pk for key, row in rows.items() if key not in expected and row.pk]:
            package.sources.filter(pk__in=stale).delete()  # of an address that the package had before
        now = [row for key, row in rows.items() if key in expected]
        failing = {row.error: None for row in now if row.outcome == FetchOutcome.FAILED}
        if any(result.outcome in _ANSWERED for result in self.results):
            package.last_fetched = self._now
        if failing:
            package.last_exception = "; ".join(failing)
        elif not any(row.outcome == FetchOutcome.LEFT_ALONE and row.failures for row in now):
            package.last_exception, package.last_exception_at, package.last_exception_count = "", None, 0
        if any(result.outcome is FetchOutcome.FAILED for result in self.results):
            more = any(row.failures > self._failures_of.get(key, 0) for key, row in rows.items())
            package.last_exception_at = self._now
            package.last_exception_count = self._failures + more
        dues = [rows[key].next_due if key in rows else None for key in expected]
        package.next_due = None if None in dues else min(filter(None, dues), default=None)
        package.save(update_fields={*names, *self._fields, *_FETCH_FIELDS})
        kept = [rows[key] for key in self._touched & expected]
        for row in kept:
            row.pk = None  # the constraint tells which row it is; with a key, SQLite would see two conflicts
        SourceStatus.objects.bulk_create(kept, update_conflicts=True, unique_fields=_KEY, update_fields=_ROW)


def _nothing_to_ask(package: Package) -> FetchResult:
    """Give a package without sources its turn: back to the end of the queue."""
    package.last_fetched = timezone.now()
    package.next_due = package.last_fetched + ledger.FRESH
    package.last_exception, package.last_exception_at, package.last_exception_count = "", None, 0
    package.save(update_fields=_FETCH_FIELDS)
    return FetchResult("pypi", FetchOutcome.SKIPPED, error="has no PyPI name and no repository")


_ANSWERED = GOOD | {FetchOutcome.NOT_FOUND}
_NOT_ITS_FAULT = frozenset({NO_TIME, ledger.STOPPED})
_OUTCOMES: dict[type[AskError], FetchOutcome] = {
    Gone: FetchOutcome.NOT_FOUND,
    LeftAlone: FetchOutcome.LEFT_ALONE,
    NotReady: FetchOutcome.NOT_READY,
}
