"""Checks whether the example pages that users submitted still exist. An example whose page is gone becomes inactive.

Only a response that says that the page is gone counts. If the server is down, limits our rate or cannot be reached, the
page may still exist.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

import requests
from django.db import InterfaceError, OperationalError
from django.db.models import BooleanField, ExpressionWrapper, F, Q, QuerySet
from django.utils import timezone

from core.http import BlockedAddress, CircuitOpen, RateLimited, ResilientSession
from core.http.django.batch_job_metrics import ItemOutcome
from core.http.origin import origin_of
from core.http.wire import redaction
from package.jobs.base_summary import BaseSummary, printable
from package.jobs.sequential_loop import each
from package.jobs.stopper import Stopped, Stopper
from package.models import PackageExample

logger = logging.getLogger(__name__)

PERMANENT = frozenset({404, 410, 451})
"""Statuses that say that a page is gone. 401 and 403 do not: a page behind a login or a bot check still exists."""
PERMANENT_IN_A_ROW = 3
"""Number of responses in a row that say that the page is gone, after which an example becomes inactive."""
APART = timedelta(hours=6)
"""Minimum time between two such responses that count, so that the owners of a page can notice and repair a bad
deployment."""
_LEADS_NOWHERE = (
    BlockedAddress,
    requests.exceptions.InvalidSchema,
    requests.exceptions.InvalidURL,
    requests.exceptions.MissingSchema,
)


class CheckOutcome(StrEnum):
    ANSWERS = "answers"
    GONE = "gone"
    UNCLEAR = "unclear"
    """The response says neither that the page exists nor that it is gone."""
    UNREACHABLE = "unreachable"
    LEFT_ALONE = "left alone"
    """Nothing was sent, because the server is down or has asked for a pause."""
    REFUSED = "refused"
    """The address of the page is not allowed, so nothing was sent. A person has to correct it."""
    FAILED = "failed"
    SKIPPED = "skipped"
    """The example was changed or deleted during the check."""


_REACHED = (CheckOutcome.ANSWERS, CheckOutcome.GONE, CheckOutcome.UNCLEAR)
_NOT_REACHED = (CheckOutcome.UNREACHABLE, CheckOutcome.LEFT_ALONE, CheckOutcome.FAILED)


@dataclass
class ExamplesSummary(BaseSummary):
    outcomes: Counter[CheckOutcome] = field(default_factory=Counter)
    deactivated: list[str] = field(default_factory=list)
    activated: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    """Examples whose address is not allowed and has to be corrected."""

    @property
    def reached_nothing(self) -> bool:
        """Whether examples were checked and no server sent a response."""
        return self._count(_NOT_REACHED) > 0 == self._count(_REACHED)

    @property
    def items(self) -> Mapping[ItemOutcome, int]:
        """Number of examples by result, for the metrics of the job."""
        skipped = self._count((CheckOutcome.SKIPPED, CheckOutcome.LEFT_ALONE))
        failed = self.outcomes[CheckOutcome.FAILED]
        return {"success": self.outcomes.total() - failed - skipped, "failure": failed, "skipped": skipped}

    def as_dict(self) -> dict[str, Any]:
        return {
            "outcomes": {outcome.value.replace(" ", "_"): self.outcomes[outcome] for outcome in CheckOutcome},
            "deactivated": self.deactivated,
            "activated": self.activated,
            "refused": self.refused,
            **super().as_dict(),
        }

    def _count(self, outcomes: Sequence[CheckOutcome]) -> int:
        return sum(self.outcomes[outcome] for outcome in outcomes)


def to_check(slugs: Sequence[str] = (), *, inactive: bool = False) -> QuerySet[PackageExample]:
    """Return the examples to check, in order.

    Examples with a recent response that the page is gone come last, because another such response would not count yet
    (see `APART`). Otherwise, the example whose last check is oldest comes first.

    :param slugs: if given, only the examples of these packages are returned.
    :param inactive: whether to include examples that checks have made inactive. Examples that a person has hidden are
        never included.
    """
    wanted = Q(active=True)
    if inactive:
        wanted |= Q(failures__gte=PERMANENT_IN_A_ROW)
    examples = PackageExample.objects.filter(wanted)
    if slugs:
        examples = examples.filter(package__slug__in=slugs)
    counts = ~Q(failures__range=(1, PERMANENT_IN_A_ROW - 1)) | Q(last_checked=None)
    counts |= Q(last_checked__lte=timezone.now() - APART)
    examples = examples.annotate(counts=ExpressionWrapper(counts, BooleanField()))
    return examples.order_by(F("counts").desc(), F("last_checked").asc(nulls_first=True), F("pk"))


def check(primary_keys: Sequence[int], stopper: Stopper, tell: Callable[[str, str], None]) -> ExamplesSummary:
    """Check these examples one after the other, and save each result immediately.

    :param tell: called with each result: the example and its outcome, and a note.
    """
    summary = ExamplesSummary()
    with summary.measured(), ResilientSession(untrusted=True, wait=stopper.wait) as session:

        def visit(primary_key: int) -> None:
            example = PackageExample.objects.select_related("package").filter(pk=primary_key).first()
            if example is None or not (example.active or example.failures >= PERMANENT_IN_A_ROW):
                outcome, line, note = CheckOutcome.SKIPPED, f"example {primary_key}", "was deleted or hidden meanwhile"
            else:
                line = describe(example)
                outcome, note = _check(example, session, summary)
            summary.outcomes[outcome] += 1
            tell(f"{line}: {outcome}", note)

        each(primary_keys, stopper, summary, visit)
    return summary


def consequences(example: PackageExample, outcome: CheckOutcome, now: datetime) -> dict[str, Any]:
    """Return the fields of `example` that `outcome` changes, with their new values."""
    if outcome is CheckOutcome.ANSWERS:
        return {"failures": 0, "active": True, "last_checked": now}
    if outcome is CheckOutcome.LEFT_ALONE:  # nothing was sent
        return {}
    if outcome is not CheckOutcome.GONE or not example.active:
        return {"last_checked": now}
    # If an active example has enough failures to be inactive, a person has activated it. The count starts again at 0.
    failures = example.failures if example.failures < PERMANENT_IN_A_ROW else 0
    if failures and example.last_checked and now - example.last_checked < APART:
        return {}  # last_checked stays: if hourly runs changed it, it would never be as old as APART
    return {"failures": failures + 1, "active": failures + 1 < PERMANENT_IN_A_ROW, "last_checked": now}


def describe(example: PackageExample) -> str:
    """Return a name of `example` for logs. It contains only the host of the address; the rest may contain secrets."""
    try:
        host = origin_of(example.url).host
    except ValueError:
        host = "no host"
    return f"{example.package.slug}: example {example.pk} ({printable(host)})"


def _check(example: PackageExample, session: requests.Session, summary: ExamplesSummary) -> tuple[CheckOutcome, str]:
    name = describe(example)
    try:
        outcome, note = _ask(example.url, session)
        changes = consequences(example, outcome, timezone.now())
        if outcome is CheckOutcome.GONE and not changes:
            note += ", too soon after the last one to count"
        if not _save(example, note, changes):
            return CheckOutcome.SKIPPED, "was changed meanwhile"
    except Stopped as exc:  # counts as checked, because short runs would otherwise start with this example every time
        _save(example, f"no answer: {exc}", {"last_checked": timezone.now()})
        raise
    except (OperationalError, InterfaceError):
        raise
    except Exception as exc:  # an unexpected error must not prevent the check of the other examples
        redaction.error(exc, redaction.secrets_of(example.url))
        logger.exception("%s: check failed with an unexpected error", name)
        return CheckOutcome.FAILED, f"unexpected {type(exc).__name__}; see the log"
    if outcome is CheckOutcome.REFUSED:
        logger.warning("%s: %s", name, note)
        summary.refused.append(name)
    if example.active and not changes.get("active", True):
        logger.warning("%s becomes inactive: %s, %d times in a row", name, note, PERMANENT_IN_A_ROW)
        summary.deactivated.append(name)
    elif not example.active and changes.get("active"):
        logger.info("%s is active again: %s", name, note)
        summary.activated.append(name)
    return outcome, note


def _ask(url: str, session: requests.Session) -> tuple[CheckOutcome, str]:
    """Request `url` with a GET whose body is not read, because many servers refuse HEAD.

    Returns the outcome and a note.
    """
    try:
        with session.get(url, stream=True) as response:
            status = response.status_code
    except (CircuitOpen, RateLimited) as exc:
        why = "is down" if isinstance(exc, CircuitOpen) else "limits our rate"
        return CheckOutcome.LEFT_ALONE, f"its server {why}; nothing is sent before {exc.retry_at:%H:%M:%S} UTC"
    except _LEADS_NOWHERE as exc:
        return CheckOutcome.REFUSED, f"its address is not allowed: {type(exc).__name__}"
    except requests.TooManyRedirects:
        return CheckOutcome.UNCLEAR, "too many redirects"
    except requests.RequestException as exc:
        return CheckOutcome.UNREACHABLE, f"could not be reached: {type(exc).__name__}"
    if 200 <= status < 300:
        return CheckOutcome.ANSWERS, f"HTTP {status}"
    return (CheckOutcome.GONE if status in PERMANENT else CheckOutcome.UNCLEAR), f"HTTP {status}"


def _save(example: PackageExample, note: str, changes: dict[str, Any]) -> bool:
    """Store `note` and `changes`. Returns False if the example was changed or deleted during the check."""
    same = PackageExample.objects.filter(pk=example.pk, url=example.url, active=example.active)
    return bool(same.update(last_result=note[:200], **changes))
