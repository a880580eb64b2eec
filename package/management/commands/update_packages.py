"""The command update_packages."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone
from rich.console import Console
from rich.table import Table

from package.jobs.due import due, in_order, stale
from package.jobs.refresh_summary import RefreshSummary
from package.jobs.run import PATIENCE, run
from package.jobs.stopper import Stopper
from package.management import long_command
from package.management.celery_dispatch import BrokerAway, Queued, enqueue
from package.models import Package
from package.sources.fetch_results import FetchOutcome, FetchResult

WORKERS = 32
"""Default number of threads. With more threads, most would wait, because the settings limit the requests per source."""


class Command(BaseCommand):
    help = (
        "Refresh the packages' data that is due, from PyPI and from the hosts of their repositories, starting with the "
        "package whose last refresh is oldest. Data that could not be fetched for a transient reason, or whose source "
        "is down, is put aside and fetched again before the run ends. Exit status: 0 the work was done, even if some "
        "packages failed; 1 nothing could be fetched, or the database (with --celery: or the broker) failed; 2 invalid "
        "arguments; 128 + n stopped by signal n. The first Ctrl-C (or SIGTERM) ends the run after the current "
        "attempts, the second one immediately."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("slug", nargs="*", help="refresh all data of these packages, due or not")
        parser.add_argument("--all", action="store_true", help="refresh all data of all packages, due or not")
        parser.add_argument(
            "--stale-hours",
            type=long_command.positive,
            metavar="H",
            help="refresh all data of packages not refreshed for H hours (default: refresh the data that is due)",
        )
        parser.add_argument(
            "--workers",
            type=long_command.count,
            metavar="N",
            help=f"send requests in N threads, within the limits of each source (default: {WORKERS})",
        )
        parser.add_argument("--celery", action="store_true", help="queue packages for Celery workers and show progress")
        parser.add_argument("--detach", action="store_true", help="with --celery: do not wait for the workers")
        patience = f"no limit, but at most {PATIENCE:g} s of waiting for data that was put aside"
        long_command.add_options(parser, verb="refresh", rows="packages", patience=patience)

    def handle(self, *_: Any, **options: Any) -> None:
        if options["detach"] and not options["celery"]:
            raise CommandError("--detach requires --celery", returncode=long_command.MISUSE)
        if options["celery"] and options["workers"] is not None:
            raise CommandError(
                "--workers cannot be used with --celery: start Celery's workers with --concurrency instead",
                returncode=long_command.MISUSE,
            )
        primary_keys, everything = _choose(options)
        if options["celery"]:
            self._enqueue(primary_keys, options, everything=everything)
            return

        def work(stopper: Stopper, tell: long_command.Tell) -> RefreshSummary:
            def progress(package: Package, results: list[FetchResult], again: bool) -> None:
                tell(f"{package.slug}: {_outcomes(results)}", _reasons(results), again=again)

            return run(primary_keys, stopper, progress, everything=everything, workers=options["workers"] or WORKERS)

        long_command.conduct(self, options, len(primary_keys), work, _show, row="package")

    def _enqueue(self, primary_keys: list[int], options: dict[str, Any], *, everything: bool) -> None:
        write = (self.stderr if options["json"] else self.stdout).write

        def work(stopper: Stopper) -> Queued:
            return enqueue(primary_keys, stopper, write, everything=everything, wait=not options["detach"])

        try:
            long_command.carry_out(self, options, work, _show_queued, row="package")
        except BrokerAway as exc:
            raise CommandError(
                f"The broker at CELERY_BROKER_URL cannot be reached: {exc}. Packages that are queued already will be "
                "sent later. `update_packages --workers N` works without a broker"
            ) from exc


def _choose(options: dict[str, Any]) -> tuple[list[int], bool]:
    """Return the primary keys of the packages to refresh, and whether to fetch all their parts, not only those due."""
    slugs, everything, hours = options["slug"], options["all"], options["stale_hours"]
    if sum((bool(slugs), everything, hours is not None)) > 1:
        raise CommandError("Give only one of: slugs, --all, --stale-hours", returncode=long_command.MISUSE)
    if slugs:
        packages = in_order(Package.objects.filter(slug__in=slugs))
        long_command.refuse_unknown(slugs)
    elif everything:
        packages = in_order(Package.objects.all())
    elif hours is not None:
        packages = stale(timezone.now() - timedelta(hours=hours))
    else:
        packages = due()
    chosen = list(packages.values_list("pk", flat=True)[: options["limit"]])
    return chosen, bool(slugs) or everything or hours is not None


def _outcomes(results: list[FetchResult]) -> str:
    """Return a short text with the outcomes of a package. Parts of one source with the same outcome are grouped."""
    told: dict[tuple[str, str], list[str]] = {}
    for result in results:
        told.setdefault((result.source, result.outcome), []).append(result.part)
    sources = Counter(source for source, _ in told)
    return ", ".join(
        f"{source} {outcome}" if sources[source] == 1 else f"{source} {'+'.join(parts)} {outcome}"
        for (source, outcome), parts in told.items()
    )


def _reasons(results: list[FetchResult]) -> str:
    reasons = dict.fromkeys(
        reason for result in results for reason in (result.error, *map(str, result.skipped)) if reason
    )
    return "; ".join(reasons)


def _show_queued(queued: Queued, console: Console) -> None:
    if not queued.packages:
        console.print("No package is due.")
        return
    console.print(f"{queued.packages} packages, {queued.queued} sources of packages queued")
    if queued.left:
        console.print(f"{queued.left} are left for the workers{queued.stopped and f': {queued.stopped}'}")
    elif queued.left_alone:
        console.print(f"Nothing is left for the workers after {queued.seconds:.1f} s")
    else:
        console.print(f"All done after {queued.seconds:.1f} s")
    for source, left in queued.left_alone.items():
        console.print(f"{source}: {left.parts} parts are not done: {left.why}", soft_wrap=True)


def _show(summary: RefreshSummary, console: Console) -> None:
    if not summary.outcomes and not summary.left:
        console.print("No package is due.")
        return
    shown = [outcome for outcome in FetchOutcome if any(counter[outcome] for counter in summary.outcomes.values())]
    table = Table("source", *(outcome.value for outcome in shown), title="update_packages")
    for source, counter in sorted(summary.outcomes.items()):
        table.add_row(source, *(str(counter[outcome]) for outcome in shown))
    console.print(table)
    console.print(
        f"{summary.tried} packages in {summary.seconds:.1f} s; {summary.attempts} attempts ({summary.unchanged} were "
        f"answered by 304: unchanged), {summary.retries} retries, {summary.backoff_seconds:.1f} s lost to backoff"
    )
    if summary.put_aside:
        console.print(f"{summary.put_aside} times a part was put aside for later in the run")
    for source, left in summary.left_alone.items():
        console.print(f"{source}: {left.parts} parts left for the next run: {left.why}", soft_wrap=True)
    if summary.left:
        console.print(f"{summary.left} packages left for the next run: {summary.stopped}")
    if summary.reached_nothing:
        console.print("Nothing could be fetched. All packages keep their data.")
