"""Keeping the addresses of repositories on GitHub true: those that have moved, are gone, or are written oddly.

An address changes only after GitHub has confirmed that there is a repository behind it.
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
from package.jobs.batch import RunSummary, each, printable
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
    """The same repository, its address now in the usual form."""
    GONE = "gone"
    FAILED = "failed"
    SKIPPED = "skipped"
    """Its address is that of no repository, or was changed meanwhile."""


_ANSWERED = (CleanupOutcome.UNCHANGED, CleanupOutcome.MOVED, CleanupOutcome.REWRITTEN, CleanupOutcome.GONE)


@dataclass(frozen=True)
class Change:
    package: str
    """Its slug."""
    before: str
    """Without secrets."""
    after: str


@dataclass
class CleanupSummary(RunSummary):
    dry_run: bool = False
    outcomes: Counter[CleanupOutcome] = field(default_factory=Counter)
    changes: dict[CleanupOutcome, list[Change]] = field(
        default_factory=lambda: {CleanupOutcome.MOVED: [], CleanupOutcome.REWRITTEN: []}
    )
    gone: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    shared: dict[str, list[str]] = field(default_factory=dict)
    """Repositories that several packages have, and which."""
    retry_at: datetime | None = None
    """When GitHub may be asked again, which is down, limits our rate or refuses our token."""

    @property
    def reached_nothing(self) -> bool:
        """GitHub was to be asked, and gave no usable answer."""
        failed = self.outcomes[CleanupOutcome.FAILED] or self.retry_at is not None
        return bool(failed) and not any(self.outcomes[outcome] for outcome in _ANSWERED)

    @property
    def items(self) -> Mapping[ItemOutcome, int]:
        """Packages, by what came of them."""
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
    """Return the packages (or those of these `slugs`) whose repository is on GitHub.

    In random order: nothing tells when one was last looked at, and runs that are cut short get round to each in time.
    """
    packages = Package.objects.filter(repo_url__icontains=_HOST).order_by("pk")  # more of them than are meant
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
    """Look these packages' repositories up, each saved on its own, and tell `tell` of each.

    Once GitHub is down, limits our rate or refuses our token, nothing more is asked. What only the owner of a
    repository refuses to our token is asked once more without it.
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
        """Of the repositories that are known to exist, by the package's primary key."""
        self._through = through
        self._summary = summary

    def clean(self, package: Package) -> tuple[CleanupOutcome, str]:
        """Look `package` up. Raises `LeftAlone`, and what a database raises that is gone."""
        try:
            return self._clean(package)
        except (LeftAlone, Stopped, OperationalError, InterfaceError):
            raise
        except NotARepository as exc:
            logger.warning("%s: %s", package.slug, exc)
            return CleanupOutcome.SKIPPED, str(exc)
        except AskError as exc:
            note = str(exc)
            if exc.reached:  # core.http tells of those that were not
                logger.warning("%s: look-up failed: %s", package.slug, note)
        except Exception as exc:  # whatever it is, the others get their turn
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
        url = moved_to or (repository.url if is_page else package.repo_url)  # a folder in it may be what is meant
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
        """Ask GitHub for the repository's name; where it has moved, its API redirects to where it is now."""
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
        """Store `fields`, unless somebody has changed the address or deleted the package meanwhile."""
        changed = {name for name, value in fields.items() if getattr(package, name) != value}
        if self._summary.dry_run or not changed:
            return True
        same = Package.objects.filter(pk=package.pk, repo_url=package.repo_url)
        return bool(same.update(modified=timezone.now(), **fields))


def shown(url: str) -> str:
    """Return an address as it may be told: without secrets."""
    return printable(redaction.url(url))


def _shared(paths: dict[int, str]) -> dict[str, list[str]]:
    """Find the repositories among these that several packages have, whether these are among them or not."""
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
