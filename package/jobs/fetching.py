"""Fetches the parts of one package, one after the other, and keeps the results until they are stored."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

from django.utils import timezone

from core.http.outcome import Rejection
from package.jobs import source_status
from package.jobs.stopper import Stopped
from package.models import Package, SourceStatus
from package.repos import NotARepository, get_repo_for_repo_url
from package.repos.address import shown
from package.sources.client import Client
from package.sources.errors import AskError, Gone, LeftAlone, NotModified, NotOffered, NotReady
from package.sources.fetch_results import GOOD, FetchOutcome, FetchResult
from package.sources.fields import Reading
from package.sources.package_parts import Part, address_of
from package.sources.sessions import Sessions

logger = logging.getLogger(__name__)

LONGEST = 120.0
"""Maximum seconds for one fetch of one source of a package, so that no server can keep a run busy."""


_PATIENCE = 10.0
"""Maximum seconds that a call may wait until requests to its source are allowed again."""


class Work:
    """Fetches parts of one package. After its creation it does not use the database, so it can run in any thread."""

    def __init__(
        self,
        package: Package,
        parts: Sequence[Part],
        *,
        again: bool = False,
        claim: int | None = None,
    ) -> None:
        """Prepare to fetch `parts` of `package`.

        :param again: whether the parts failed a short time ago, so that another failure does not increase the number
            of failures in a row.
        :param claim: the primary key of the claim for this work; None: there is no claim.
        """
        self.package = package
        self.claim = claim
        self.results: list[FetchResult] = []
        self.stopped: Stopped | None = None
        """The exception with which the run ended before all parts were fetched; None: all were fetched."""
        self.now = timezone.now()
        self.rows = {(row.source, row.part): row for row in package.sources.all()}
        self.failures = {key: row.failures for key, row in self.rows.items()}
        """Number of failures in a row before this fetch, by source and part."""
        self.touched: set[tuple[str, str]] = set()
        """Sources and parts whose rows in `rows` have changed."""
        self.readings: list[tuple[int, Reading]] = []
        """The values that were read, each with the index of its result in `results`."""
        self.changed: set[str] = set()
        """Names of the package's fields that this object has set."""
        self.addresses = {part.source: address_of(package, part.source) for part in parts}
        self._parts = parts
        self._again = again
        self._gone: set[str] = set()
        self._silent: dict[str, FetchResult] = {}
        """Results of sources that sent no response. Their other parts are not requested and get the same result."""
        self._alone: dict[str, FetchResult] = {}
        """Results of sources that are paused. Another request would be refused, or wait for the end of the pause."""

    def do(self, through: Sessions) -> None:
        """Fetch every part. If a part fails, the others are still fetched."""
        for part in self._parts:
            try:
                self._fetch(part, self._row(part), through)
            except Stopped as exc:
                self.stopped = exc
                return
            except Exception as exc:  # noqa: BLE001 - it is logged, and recorded for its part
                row, client = self._row(part), through.client(part.server)
                row.validators = {}  # the cause may be a stored value
                self._note(part, row, client, self._unexpected(part, exc), again=self._again)

    def give_up(self, why: str, reason: str, through: Sessions) -> None:
        """Record every part as failed, without a request.

        :param why: the text of the error after the name of the server.
        """
        for part in self._parts:
            row = self._row(part)
            result = FetchResult(
                part.source,
                FetchOutcome.FAILED,
                part.name,
                error=f"{part.server.name} {why}",
                reason=reason,
                upstream=part.upstream,
                stored=row.last_success,
            )
            self._note(part, row, through.client(part.server, row), result, again=self._again)

    def _row(self, part: Part) -> SourceStatus:
        key = part.source, part.name
        self.touched.add(key)
        if key not in self.rows:
            self.rows[key] = SourceStatus(package=self.package, source=part.source, part=part.name)
        return self.rows[key]

    def _unexpected(self, part: Part, error: Exception) -> FetchResult:
        what = part.name or "data"
        logger.error("%s: unexpected error fetching %s from %s", self.package.slug, what, part.source, exc_info=error)
        error_text = f"unexpected {type(error).__name__}; see the log"
        result = FetchResult(part.source, FetchOutcome.FAILED, part.name, error=error_text, reason="unexpected")
        return replace(result, upstream=part.upstream, stored=self._row(part).last_success)

    def _fetch(self, part: Part, row: SourceStatus, through: Sessions) -> None:
        client = through.client(part.server, row, untrusted=part.untrusted)
        upstream, stored = part.upstream, row.last_success
        result = FetchResult(part.source, FetchOutcome.FAILED, part.name, upstream=upstream, stored=stored)
        if part.source in self._gone:
            result = replace(result, outcome=FetchOutcome.NOT_FOUND)
            source_status.record(row, result, client, self.now, again=self._again, asked=False)
            return
        known = self._silent.get(part.source)  # the source would not respond to this request either
        if known is None and part.source in self._alone and _is_left_alone(self._alone[part.source]):
            known = self._alone[part.source]
        if known is not None:
            self._note(part, row, client, replace(known, part=part.name, stored=stored), again=True, asked=False)
            return
        try:
            result = self._ask(part, client, result)
        except Stopped as exc:
            if not client.asked:
                self.touched.discard((part.source, part.name))
                raise
            error = f"the run ended before an attempt succeeded: {exc}"
            result = replace(result, error=error, reason=source_status.STOPPED, reached=False)
            self._note(part, row, client, result, again=True)
            row.next_due = self.now
            raise
        except Exception as exc:  # noqa: BLE001 - it is logged, and recorded for its part
            result = self._unexpected(part, exc)
        if result.again and client.status is None:
            self._silent[part.source] = result
        elif result.outcome is FetchOutcome.LEFT_ALONE:
            reason = result.reason if result.reason == Rejection.BREAKER_OPEN else Rejection.RATE_LIMITED.value
            self._alone[part.source] = replace(result, reason=reason)  # of the parts that are not requested
        self._note(part, row, client, result, again=self._again)

    def _ask(self, part: Part, client: Client, result: FetchResult) -> FetchResult:
        try:
            _heed(part)
            reading = part.fetch(client)
        except NotModified:
            return replace(result, outcome=FetchOutcome.UNCHANGED)
        except AskError as exc:
            outcome = next((outcome for kind, outcome in _OUTCOMES.items() if isinstance(exc, kind)), result.outcome)
            if isinstance(exc, NotOffered) and part.missing_since:  # without this part, no other part can be fetched
                outcome = FetchOutcome.FAILED
            result = replace(result, outcome=outcome, error=str(exc), reason=exc.reason)
            retry_at = exc.retry_at if isinstance(exc, LeftAlone) else None
            return replace(result, reached=exc.reached, again=exc.again, retry_at=retry_at)
        self.readings.append((len(self.results), reading))
        slug, server = self.package.slug, part.server.name
        for skipped in reading.skipped:
            logger.warning("%s: %s's %s skipped: %s", slug, server, skipped.field, skipped.reason)
        outcome = FetchOutcome.PARTLY if reading.skipped else FetchOutcome.UPDATED
        self._move(reading.moved_to)
        return replace(result, outcome=outcome, updated=reading.updated, skipped=tuple(reading.skipped))

    def _note(
        self, part: Part, row: SourceStatus, client: Client, result: FetchResult, *, again: bool, asked: bool = True
    ) -> None:
        self.results.append(result)
        source_status.record(row, result, client, self.now, again=again, asked=asked)
        if result.outcome is FetchOutcome.NOT_FOUND and part.missing_since:
            self._gone.add(part.source)
            if getattr(self.package, part.missing_since) is None:
                logger.warning("%s: %s", self.package.slug, result.error)
                self._set(part.missing_since, self.now)
        elif result.outcome in GOOD and part.missing_since:
            if getattr(self.package, part.missing_since) is not None:
                self._ask_the_others_soon(part)
            self._set(part.missing_since, None)
        elif result.outcome is FetchOutcome.FAILED and result.reached:  # otherwise core.http has logged it
            logger.warning("%s: not updated: %s", self.package.slug, result.error)

    def _ask_the_others_soon(self, part: Part) -> None:
        """Make the other parts due, because the source knows the package again.

        While the source did not know the package, these parts were not fetched.
        """
        for (source, name), row in self.rows.items():
            if source == part.source and name != part.name:
                row.next_due = None
                self.touched.add((source, name))

    def _move(self, address: str) -> None:
        package = self.package
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
        setattr(self.package, name, value)
        self.changed.add(name)


def _heed(part: Part) -> None:
    """Raise `LeftAlone` if the source is paused for longer than `_PATIENCE`, so that no thread waits in a call.

    This checks the process-wide upstream, even if the call will use a session that has its own state.
    """
    refusal = part.refusal()
    if refusal is not None and refusal[0] > _PATIENCE:
        raise refusal[1]


def _is_left_alone(result: FetchResult) -> bool:
    return result.retry_at is not None and result.retry_at > timezone.now()


_OUTCOMES: dict[type[AskError], FetchOutcome] = {
    Gone: FetchOutcome.NOT_FOUND,
    LeftAlone: FetchOutcome.LEFT_ALONE,
    NotOffered: FetchOutcome.SKIPPED,
    NotReady: FetchOutcome.NOT_READY,
}
