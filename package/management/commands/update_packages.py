"""The command update_packages."""

from __future__ import annotations

import argparse
import json
import logging
import math
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from types import FrameType
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as ProgressBar
from rich.table import Table

from package.models import Package
from package.results import FetchOutcome, FetchResult
from package.updater import Progress, Stopper, Summary, due, run

STALE_HOURS = 20.0
"""A daily job finds yesterday's packages due again, though it began some hours earlier today."""
_NOTHING_REACHED = 1
_MISUSE = 2
_MOST = 1_000_000
"""Packages, hours or seconds: more is a slip of the pen."""


class Command(BaseCommand):
    help = (
        "Refresh packages from PyPI, those tried longest ago first. Exit status: 0 the work was done, even if some "
        "packages failed; 1 no package could be fetched; 2 misuse; 128 + n stopped by signal n. "
        "The first Ctrl-C (or SIGTERM) ends the run in good order, the second one at once."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("slug", nargs="*", help="refresh these packages, whether they are stale or not")
        parser.add_argument("--all", action="store_true", help="refresh every package, stale or not")
        parser.add_argument("--limit", type=_count, metavar="N", help="refresh at most N packages")
        parser.add_argument(
            "--stale-hours",
            type=_positive,
            metavar="H",
            help=f"refresh packages not refreshed for H hours (default: {STALE_HOURS:g})",
        )
        parser.add_argument(
            "--time-budget", type=_positive, metavar="S", help="begin nothing new, and wait no more, after S seconds"
        )
        parser.add_argument("--json", action="store_true", help="print the summary as JSON; all else goes to stderr")

    def handle(self, *_: Any, **options: Any) -> None:
        primary_keys = _choose(options)
        stopper = Stopper(options["time_budget"])
        received: list[int] = []
        plain = self.stderr if options["json"] else self.stdout
        try:
            with _signals(stopper, received), _progress(len(primary_keys), plain.write) as tell:
                summary = run(primary_keys, stopper, tell)
        except KeyboardInterrupt:
            self.stderr.write("Aborted: the package in hand was not saved.")
            raise SystemExit(128 + (received[-1] if received else signal.SIGINT)) from None
        if options["json"]:
            self.stdout.write(json.dumps(summary.as_dict()))
        else:
            _print_summary(summary, Console(file=self.stdout))  # type: ignore[arg-type]  # it writes like a file
        if received:
            raise SystemExit(128 + received[0])
        if summary.reached_nothing or summary.database_failed:
            raise SystemExit(_NOTHING_REACHED)


def _choose(options: dict[str, Any]) -> list[int]:
    slugs, everything, hours = options["slug"], options["all"], options["stale_hours"]
    if sum((bool(slugs), everything, hours is not None)) > 1:
        raise CommandError("Give slugs, --all or --stale-hours: one of them", returncode=_MISUSE)
    if slugs:
        known = set(Package.objects.filter(slug__in=slugs).values_list("slug", flat=True))
        if unknown := [slug for slug in slugs if slug not in known]:
            raise CommandError(f"No such package: {', '.join(unknown)}", returncode=_MISUSE)
    stale_before = timezone.now() - timedelta(hours=STALE_HOURS if hours is None else hours)
    packages = due(None if slugs or everything else stale_before)
    if slugs:
        packages = packages.filter(slug__in=slugs)
    return list(packages.values_list("pk", flat=True)[: options["limit"]])


@contextmanager
def _signals(stopper: Stopper, received: list[int]) -> Iterator[None]:
    """Let the first SIGINT or SIGTERM stop the run in good order and the second one abort it."""

    def on_signal(number: int, _: FrameType | None) -> None:
        received.append(number)
        if len(received) > 1:
            raise KeyboardInterrupt
        stopper.stop(f"{signal.Signals(number).name} received")
        os.write(2, b"Stopping after the attempt in hand; once more to abort.\n")  # print() may be interrupted itself

    if threading.current_thread() is not threading.main_thread():  # signals are the main thread's
        yield
        return
    previous = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


@contextmanager
def _progress(total: int, write: Callable[[str], object]) -> Iterator[Progress]:
    """Show how the run goes on: as a bar on a terminal; elsewhere, `write` a line for each package."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _lines(total, write)
        return
    columns = (TextColumn("{task.description:<48.48}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with ProgressBar(*columns, console=console) as bar, _logging_above_the_bar():
        task = bar.add_task("", total=total)

        def advance(package: Package, results: list[FetchResult]) -> None:
            bar.update(task, advance=1, description=f"{package.slug}: {_outcomes(results)}")

        yield advance


def _lines(total: int, write: Callable[[str], object]) -> Progress:
    done = 0

    def advance(package: Package, results: list[FetchResult]) -> None:
        nonlocal done
        done += 1
        write(f"[{done}/{total}] {package.slug}: {_outcomes(results)}{_reasons(results)}")

    return advance


def _outcomes(results: list[FetchResult]) -> str:
    return ", ".join(f"{result.source} {result.outcome}" for result in results)


def _reasons(results: list[FetchResult]) -> str:
    reasons = [reason for result in results for reason in (result.error, *map(str, result.skipped)) if reason]
    return f" ({'; '.join(reasons)})" if reasons else ""


@contextmanager
def _logging_above_the_bar() -> Iterator[None]:
    """Write log lines to sys.stderr as it is now: rich's, which knows where the bar is."""
    handlers = [h for h in logging.getLogger().handlers if type(h) is logging.StreamHandler]
    streams = [handler.setStream(sys.stderr) for handler in handlers]
    try:
        yield
    finally:
        for handler, stream in zip(handlers, streams, strict=True):
            if stream is not None:
                handler.setStream(stream)


def _print_summary(summary: Summary, console: Console) -> None:
    if not summary.tried and not summary.left:
        console.print("No package is due.")
        return
    table = Table("source", *(outcome.value for outcome in FetchOutcome), title="update_packages")
    for source, counter in sorted(summary.outcomes.items()):
        table.add_row(source, *(str(counter[outcome]) for outcome in FetchOutcome))
    console.print(table)
    console.print(
        f"{summary.tried} packages in {summary.seconds:.1f} s; {summary.attempts} attempts, "
        f"{summary.retries} retries, {summary.backoff_seconds:.1f} s lost to backoff"
    )
    for source, why in summary.left_alone.items():
        left = summary.outcomes[source][FetchOutcome.LEFT_ALONE]
        console.print(f"{source} was left alone for {left} packages: {why}")
    if summary.left:
        console.print(f"{summary.left} packages left for the next run: {summary.stopped}")
    if summary.reached_nothing:
        console.print("No package could be fetched; each keeps the data it had.")


def _count(text: str) -> int:
    try:
        value = int(text)
    except ValueError:
        value = 0
    if not 1 <= value <= _MOST:
        raise argparse.ArgumentTypeError(f"{text!r}: must be a whole number from 1 to {_MOST}")
    return value


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value <= _MOST:
        raise argparse.ArgumentTypeError(f"{text!r}: must be a number above 0, up to {_MOST}")
    return value
