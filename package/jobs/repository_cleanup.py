"""Updates the addresses of repositories on GitHub that have moved, are gone, or are not in the usual form.

An address is changed only after GitHub has confirmed that the repository exists.
"""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from django.db import InterfaceError, OperationalError
from django.utils import timezone

from core.http import process
from core.http.django.batch_job_metrics import ItemOutcome
from core.http.wire import redaction
from package.jobs.base_summary import BaseSummary, printable
from package.jobs.sequential_loop import each
from package.jobs.stopper import Stopped, Stopper
from package.models import Package
from package.repos.address import NotARepository, split
from package.repos.github import WEB, GitHub
from package.sources.errors import AskError, Gone, LeftAlone, Unusable
from package.sources.fields import BadField, text_of
from package.sources.sessions import Sessions

logger = logging.getLogger(__name__)

_HOST = "github.com"


class CleanupOutcome(StrEnum):
    UNCHANGED = "unchanged"
    MOVED = "moved"
    REWRITTEN = "rewritten"
    """The repository has not moved, but its address was rewritten in the usual form."""
    GONE = "gone"
    FAILED = "failed"
    SKIPPED = "skipped"
    """The address is not the address of a repository, or was changed during the look-up."""


_ANSWERED = (CleanupOutcome.UNCHANGED, CleanupOutcome.MOVED, CleanupOutcome.REWRITTEN, CleanupOutcome.GONE)


@dataclass(frozen=True)
class Change:
    package: str
    """Slug of the package."""
    before: str
    """The old address, without secrets."""
    after: str


@dataclass
class CleanupSummary(BaseSummary):
    dry_run: bool = False
    outcomes: Counter[CleanupOutcome] = field(default_factory=Counter)
    changes: dict[CleanupOutcome, list[Change]] = field(
        default_factory=lambda: {CleanupOutcome.MOVED: [], CleanupOutcome.REWRITTEN: []}
    )
    gone: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    shared: dict[str, list[str]] = field(default_factory=dict)
    """Slugs of packages that have the same repository, by the address of the repository."""
    retry_at: datetime | None = None
    """If GitHub is down, limits our rate or refuses our token: when requests may be sent again; None: unknown."""

    @property
    def reached_nothing(self) -> bool:
        """Whether packages were looked up and GitHub sent no usable response."""
        failed = self.outcomes[CleanupOutcome.FAILED] or self.retry_at is not None
        return bool(failed) and not any(self.outcomes[outcome] for outcome in _ANSWERED)

    @property
    def items(self) -> Mapping[ItemOutcome, int]:
        """Number of packages by result, for the metrics of the job."""
        failed, skipped = self.outcomes[CleanupOutcome.FAILED], self.outcomes[CleanupOutcome.SKIPPED]
        return {"success": self.outcomes.total() - failed - skipped, "failure": failed, "skipped": skipped}

    def as_dict(self) -> dict[str, Any]:
        return {
            "dry_run": self.dry_run,
            "outcomes": {outcome.value: self.outcomes[outcome] for outcome in CleanupOutcome},
            **{
                outcome.value: [{"package": each.package, "from": each.before, "to": each.after} for each in changes]
                for outcome, changes in self.changes.items()
            },
            "gone": self.gone,
            "failed": self.failed,
            "shared": self.shared,
            "retry_at": self.retry_at and self.retry_at.isoformat(),
            **super().as_dict(),
        }


def on_github(slugs: Sequence[str] = ()) -> list[int]:
    """Return the primary keys of the packages whose repository is on GitHub.

    The order is random, because the time of the last look-up is not stored. So even if every run is stopped early,
    every package is looked up eventually.

    :param slugs: if given, only these packages are considered.
    """
    packages = Package.objects.filter(repo_url__icontains=_HOST).order_by("pk")  # filtered further below
    if slugs:
        packages = packages.filter(slug__in=slugs)
    found = [primary_key for primary_key, url in packages.values_list("pk", "repo_url") if is_on_github(url)]
    chance = process.current().runtime.random
    return sorted(found, key=lambda _: chance())


def is_on_github(url: str) -> bool:
    try:
        return split(url).below(WEB) is not None
    except NotARepository:
        return False


def cleanup(
    primary_keys: Sequence[int], stopper: Stopper, tell: Callable[[str, str], None], *, dry_run: bool = False
) -> CleanupSummary:
    """Look up the repositories of these packages, and save each result immediately.

    If GitHub is down, limits our rate or refuses our token, the run ends. If only the owner of a repository does not
    accept our token, the request is repeated once without the token.

    :param tell: called with each result: the package and its outcome, and a note.
    :param dry_run: whether to save nothing.
    """
    summary = CleanupSummary(dry_run=dry_run)
    with summary.measured(), closing(Sessions.made(wait=stopper.wait)) as through:
        cleaner = _Cleaner(through, summary)

        def visit(primary_key: int) -> None:
            package = Package.objects.filter(pk=primary_key).first()
            if package is None:
                outcome, note = CleanupOutcome.SKIPPED, "was changed meanwhile"
            else:
                try:
                    outcome, note = cleaner.clean(package)
                except LeftAlone as exc:
                    summary.retry_at = exc.retry_at
                    stopper.stop(str(exc))
                    raise Stopped(str(exc)) from exc
            summary.outcomes[outcome] += 1
            tell(f"{package.slug if package else primary_key}: {outcome}", note)

        each(primary_keys, stopper, summary, visit)
    if not summary.database_failed:
        summary.shared = _shared(cleaner.paths)
    return summary


class _Cleaner:
    def __init__(self, through: Sessions, summary: CleanupSummary) -> None:
        self.paths: dict[int, str] = {}
        """Paths of the repositories that exist, by the primary key of the package."""
        self._through = through
        self._summary = summary

    def clean(self, package: Package) -> tuple[CleanupOutcome, str]:
        """Look up the repository of `package`. Returns the outcome and a note.

        :raises LeftAlone: if requests to GitHub are paused.
        :raises Stopped: if the run must end.
        :raises OperationalError, InterfaceError: if the database is unavailable.
        """
        try:
            return self._clean(package)
        except (LeftAlone, Stopped, OperationalError, InterfaceError):
            raise
        except NotARepository as exc:
            logger.warning("%s: %s", package.slug, exc)
            return CleanupOutcome.SKIPPED, str(exc)
        except AskError as exc:
            note = str(exc)
            if exc.reached:  # otherwise core.http has logged it
                logger.warning("%s: look-up failed: %s", package.slug, note)
        except Exception as exc:  # an unexpected error must not prevent the look-up of the other packages
            redaction.error(exc, redaction.secrets_of(package.repo_url))
            logger.exception("%s: look-up failed with an unexpected error", package.slug)
            note = f"unexpected {type(exc).__name__}; see the log"
        self._summary.failed[package.slug] = note
        return CleanupOutcome.FAILED, note

    def _clean(self, package: Package) -> tuple[CleanupOutcome, str]:
        address = split(package.repo_url)
        repository = GitHub.find(address)
        if repository is None:
            return CleanupOutcome.SKIPPED, "was changed meanwhile"
        try:
            full_name = self._full_name(repository)
        except Gone as exc:
            return self._is_gone(package, str(exc))
        moved_to = repository.moved_to(full_name)
        is_page = len(address.names) == len(repository.path.split("/"))
        url = moved_to or (repository.url if is_page else package.repo_url)  # a longer address leads to a folder
        if not self._store(package, repo_url=url, repo_missing_since=None):
            return CleanupOutcome.SKIPPED, "was changed meanwhile"
        self.paths[package.pk] = full_name
        if url == package.repo_url:
            return CleanupOutcome.UNCHANGED, ""
        outcome = CleanupOutcome.MOVED if moved_to else CleanupOutcome.REWRITTEN
        change = Change(package.slug, shown(package.repo_url), url)
        self._summary.changes[outcome].append(change)
        level = logging.WARNING if moved_to else logging.INFO
        logger.log(level, "%s: %s %s to %s", package.slug, change.before, outcome, change.after)
        return outcome, f"{change.before} -> {change.after}"

    def _full_name(self, repository: GitHub) -> str:
        """Return the current name of the repository, "owner/name". GitHub redirects if the repository has moved."""
        answer = self._through.client(repository.server).get(f"repos/{repository.path}", conditional=False)
        try:
            full_name = text_of(answer.data or {}, "full_name") or ""
        except BadField as exc:
            raise Unusable(f"GitHub's answer cannot be used: full_name: {exc}", "other") from exc
        if not full_name or repository.path_in(full_name.split("/")) != full_name:
            raise Unusable("GitHub's answer cannot be used: full_name: is not the name of a repository", "other")
        return full_name

    def _is_gone(self, package: Package, why: str) -> tuple[CleanupOutcome, str]:
        self._summary.gone.append(package.slug)
        if package.repo_missing_since is None:
            logger.warning("%s: %s: %s", package.slug, shown(package.repo_url), why)
            self._store(package, repo_missing_since=timezone.now())
        return CleanupOutcome.GONE, why

    def _store(self, package: Package, **fields: Any) -> bool:
        """Store `fields`. Returns False if the address was changed or the package deleted during the look-up."""
        changed = {name for name, value in fields.items() if getattr(package, name) != value}
        if self._summary.dry_run or not changed:
            return True
        same = Package.objects.filter(pk=package.pk, repo_url=package.repo_url)
        return bool(same.update(modified=timezone.now(), **fields))


def shown(url: str) -> str:
    """Return an address for logs and output, without secrets and control characters."""
    return printable(redaction.url(url))


def _shared(paths: dict[int, str]) -> dict[str, list[str]]:
    """Return the repositories among `paths` that several packages have: the slugs of the packages, by address.

    Packages that were not looked up are considered too.
    """
    slugs: defaultdict[str, list[str]] = defaultdict(list)
    pages = {}
    packages = Package.objects.filter(repo_url__icontains=_HOST).order_by("slug")
    for primary_key, slug, url in packages.values_list("pk", "slug", "repo_url"):
        path = paths.get(primary_key) or _path(url)
        slugs[path.casefold()].append(slug)
        pages[path.casefold()] = f"{WEB}/{path}"
    asked = {path.casefold() for path in paths.values()}
    return {pages[path]: found for path, found in slugs.items() if path in asked and len(found) > 1}


def _path(url: str) -> str:
    try:
        repository = GitHub.find(split(url))
    except NotARepository:
        return ""
    return repository.path if repository else ""
