"""The common behavior of commands that process many rows: options, progress, signals, exit statuses.

Exit status: 0 the work was done, even if some of it failed; 1 nothing could be reached, or the database failed; 2
invalid arguments; 128 + n stopped by signal n.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Any, Protocol, TypeVar

from django.core.management.base import BaseCommand, CommandError, CommandParser
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as ProgressBar

from core.http.django import batch_job_metrics
from core.http.django.batch_job_metrics import ItemOutcome
from package.jobs.stopper import Stopper
from package.models import Package

NOTHING_REACHED = 1
MISUSE = 2
MOST = 1_000_000
"""The largest accepted number of rows, hours or seconds. A larger number is a typing error."""
JSON_VERSION = 1
"""Version of the output of --json. Raise it if a key is renamed, removed or changes its meaning; not for new keys."""


class Tell(Protocol):
    """Reports the result of a row: a short line, and more details, which a progress bar does not show."""

    def __call__(self, line: str, more: str, *, again: bool = False) -> None:
        """Report a result. `again`: whether the row was reported before."""


class Summary(Protocol):
    """The results of a run."""

    database_failed: bool

    @property
    def items(self) -> Mapping[ItemOutcome, int]:
        """Number of processed items by result, for the metrics of the job."""

    @property
    def reached_nothing(self) -> bool: ...

    def as_dict(self) -> dict[str, Any]: ...


S = TypeVar("S", bound=Summary)


def add_options(parser: CommandParser, *, verb: str, rows: str, patience: str = "") -> None:
    """Add the options --limit, --time-budget and --json.

    :param verb: for the help text: the action, for example "refresh".
    :param rows: for the help text: the name of the rows, for example "packages".
    :param patience: for the help text: how long the run waits without a time budget.
    """
    parser.add_argument("--limit", type=count, metavar="N", help=f"{verb} at most N {rows}")
    text = f"after S seconds, start nothing new and stop waiting{patience and f' (default: {patience})'}"
    parser.add_argument("--time-budget", type=positive, metavar="S", help=text)
    parser.add_argument(
        "--json",
        action="store_true",
        help="print the summary as one JSON object (docs/operations.md), and everything else to stderr",
    )


def conduct(
    command: BaseCommand,
    options: dict[str, Any],
    total: int,
    work: Callable[[Stopper, Tell], S],
    show: Callable[[S, Console], None],
    *,
    row: str,
) -> None:
    """Do the same as `carry_out`, and show the progress of `work` over `total` rows."""
    plain = command.stderr if options["json"] else command.stdout

    def with_progress(stopper: Stopper) -> S:
        with progress_bar(total, plain.write) as tell:
            return work(stopper, tell)

    carry_out(command, options, with_progress, show, row=row)


def carry_out(
    command: BaseCommand,
    options: dict[str, Any],
    work: Callable[[Stopper], S],
    show: Callable[[S, Console], None],
    *,
    row: str,
) -> None:
    """Do `work`, print its summary with `show` or as JSON, and record the metrics of the job.

    :param row: the name of a row, for messages, for example "package".
    :raises SystemExit: if the exit status is not 0.
    """
    with batch_job_metrics.jobs().run(command.__module__.rpartition(".")[2]) as job:
        stopper = Stopper(options["time_budget"])
        received: list[int] = []
        try:
            with signals(stopper, received):
                summary = work(stopper)
        except KeyboardInterrupt:
            command.stderr.write(f"Aborted: the current {row} was not saved.")
            raise SystemExit(128 + (received[-1] if received else signal.SIGINT)) from None
        job.items(summary.items)
        if options["json"]:
            command.stdout.write(json.dumps({"version": JSON_VERSION, **summary.as_dict()}))
        else:
            show(summary, Console(file=command.stdout, markup=False, highlight=False))  # type: ignore[arg-type]  # stdout has the methods of a file
        if received:
            raise SystemExit(128 + received[0])
        if summary.reached_nothing or summary.database_failed:
            raise SystemExit(NOTHING_REACHED)


def refuse_unknown(slugs: list[str]) -> None:
    """Raise `CommandError` unless a package exists for each of `slugs`."""
    known = set(Package.objects.filter(slug__in=slugs).values_list("slug", flat=True))
    if unknown := [slug for slug in slugs if slug not in known]:
        raise CommandError(f"No such package: {', '.join(unknown)}", returncode=MISUSE)


@contextmanager
def signals(stopper: Stopper, received: list[int]) -> Iterator[None]:
    """During the block, the first SIGINT or SIGTERM stops the run after the current attempts, and the second aborts it.

    :param received: the numbers of the received signals are appended to this list.
    """

    def on_signal(number: int, _: FrameType | None) -> None:
        received.append(number)
        if len(received) > 1:
            raise KeyboardInterrupt
        stopper.stop(f"{signal.Signals(number).name} received")
        # Not print(), because it is not reentrant, and the signal may have interrupted a print().
        os.write(2, b"Stopping after the current attempt. Repeat the signal to abort.\n")

    if threading.current_thread() is not threading.main_thread():  # only the main thread may set handlers
        yield
        return
    previous = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


@contextmanager
def progress_bar(total: int, write: Callable[[str], object]) -> Iterator[Tell]:
    """Show the progress of the run: a bar on a terminal, otherwise a line for each row, which is passed to `write`."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _lines(total, write)
        return
    what = TextColumn("{task.description:<48.48}", markup=False)
    with ProgressBar(what, BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), console=console) as bar:
        task = bar.add_task("", total=total)

        def advance(line: str, more: str, *, again: bool = False) -> None:  # noqa: ARG001 - a bar has no room for `more`
            bar.update(task, advance=not again, description=line)

        with _logging_above_the_bar():
            yield advance


def _lines(total: int, write: Callable[[str], object]) -> Tell:
    done = 0

    def advance(line: str, more: str, *, again: bool = False) -> None:
        nonlocal done
        done += not again
        write(f"[{'again' if again else f'{done}/{total}'}] {line}{f' ({more})' if more else ''}")

    return advance


@contextmanager
def _logging_above_the_bar() -> Iterator[None]:
    """Write log lines to the current sys.stderr, which rich has replaced, and which writes them above the bar."""
    handlers = [h for h in logging.getLogger().handlers if type(h) is logging.StreamHandler]
    streams = [handler.setStream(sys.stderr) for handler in handlers]
    try:
        yield
    finally:
        for handler, stream in zip(handlers, streams, strict=True):
            if stream is not None:
                handler.setStream(stream)


def count(text: str) -> int:
    """Parse a number of rows, from 1 to `MOST`."""
    try:
        value = int(text)
    except ValueError:
        value = 0
    if not 1 <= value <= MOST:
        raise argparse.ArgumentTypeError(f"{text!r}: must be a whole number from 1 to {MOST}")
    return value


def positive(text: str) -> float:
    """Parse a number of seconds or hours, above 0, up to `MOST`."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value <= MOST:
        raise argparse.ArgumentTypeError(f"{text!r}: must be a number above 0, up to {MOST}")
    return value
