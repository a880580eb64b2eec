"""The command cleanup_github_projects."""

from __future__ import annotations

from functools import partial
from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from rich.console import Console
from rich.table import Table

from package.jobs.repository_cleanup import CleanupOutcome, CleanupSummary, cleanup, on_github
from package.management.long_command import add_options, conduct, refuse_unknown


class Command(BaseCommand):
    help = (
        "Look up the packages' repositories on GitHub, in random order. Store the new address of repositories that "
        "have moved, rewrite addresses in the usual form, and mark repositories that are gone. Exit status: 0 the work "
        "was done, even if some packages failed; 1 GitHub sent no usable response, or the database failed; 2 invalid "
        "arguments; 128 + n stopped by signal n. The first Ctrl-C (or SIGTERM) ends the run after the current attempt, "
        "the second one immediately."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("slug", nargs="*", help="look up these packages (default: all)")
        parser.add_argument("--dry-run", action="store_true", help="show what would change, but store nothing")
        add_options(parser, verb="look up", rows="packages")

    def handle(self, *_: Any, **options: Any) -> None:
        refuse_unknown(options["slug"])
        primary_keys = on_github(options["slug"])[: options["limit"]]
        work = partial(cleanup, primary_keys, dry_run=options["dry_run"])
        conduct(self, options, len(primary_keys), work, _show, row="package")


def _show(summary: CleanupSummary, console: Console) -> None:
    if not summary.tried and not summary.left:
        console.print("No package has a repository on GitHub.")
        return
    table = Table("outcome", "packages", title="cleanup_github_projects")
    for outcome in CleanupOutcome:
        table.add_row(outcome.value, str(summary.outcomes[outcome]))
    console.print(table)
    console.print(summary.cost("packages"))
    if summary.dry_run:
        console.print("Dry run: the following changes were not stored.")
    for outcome, changes in summary.changes.items():
        for change in changes:
            console.print(f"{change.package}: {outcome}: {change.before} -> {change.after}", soft_wrap=True)
    for url, slugs in summary.shared.items():
        console.print(f"{url} is the repository of several packages: {', '.join(slugs)}", soft_wrap=True)
    if summary.gone:
        console.print(f"Repository gone, package kept: {', '.join(summary.gone)}", soft_wrap=True)
    if summary.left:
        console.print(f"{summary.left} packages left for the next run: {summary.stopped}", soft_wrap=True)
    if summary.reached_nothing:
        console.print("GitHub gave no usable answer. No package was changed.")
