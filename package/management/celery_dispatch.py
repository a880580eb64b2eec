"""Queues packages for Celery workers and shows their progress, for `update_packages --celery`."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.db import InterfaceError
from django.db import OperationalError as DatabaseAway
from django.utils import timezone
from kombu.exceptions import OperationalError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from core.http import process
from core.http.django.batch_job_metrics import ItemOutcome
from package.jobs import dispatch
from package.jobs.refresh_summary import Left
from package.jobs.stopper import Stopped, Stopper
from package.models import SourceStatus
from package.sources.fetch_results import FetchOutcome

logger = logging.getLogger(__name__)
LOOK = 1.0
"""Seconds between two checks of the number of tickets that are left."""
TELL = 30.0
"""Seconds between two progress lines if there is no progress bar. After as many seconds without progress, a hint is
shown."""

_CHUNK = 200
"""Number of packages per query of source statuses."""

Show = Callable[[int, int], None]
"""A function that is called with the number of tickets that are left, and the total."""


class BrokerAway(Exception):  # noqa: N818 - named after the state
    """The broker cannot be reached, so nothing more could be queued."""


@dataclass
class Queued:
    """The summary of the packages that were queued, and of the work that workers did for them."""

    packages: int = 0
    queued: int = 0
    """Number of tickets. There is one for each source of a package."""
    left: int = 0
    """Number of tickets that are not done."""
    left_alone: dict[str, Left] = field(default_factory=dict)
    """Parts whose tickets the workers gave up, by source, because the source is paused for longer than tickets are
    kept."""
    stopped: str = ""
    seconds: float = 0.0
    database_failed: bool = False
    reached_nothing: bool = False

    @property
    def items(self) -> Mapping[ItemOutcome, int]:
        return {"success": self.packages}

    def as_dict(self) -> dict[str, Any]:
        return {
            "packages": self.packages,
            "queued": self.queued,
            "left": self.left,
            "left_alone": {source: left.as_dict() for source, left in self.left_alone.items()},
            "stopped": self.stopped,
            "seconds": round(self.seconds, 3),
        }


def enqueue(
    primary_keys: Sequence[int],
    stopper: Stopper,
    write: Callable[[str], object],
    *,
    everything: bool,
    wait: bool,
) -> Queued:
    """Queue these packages, and return a summary.

    :param write: writes lines that show the progress, if there is no terminal for a progress bar.
    :param everything: whether to queue all parts of the packages, not only those that are due.
    :param wait: whether to wait until the workers have done the work.
    :raises BrokerAway: if the broker cannot be reached.
    """
    clock = process.current().runtime.clock
    started, done = clock(), Queued()
    try:
        _queue(done, primary_keys, stopper, everything=everything)
        queued_by = timezone.now()
        done.queued = done.left = dispatch.left(queued_by)
        if wait:
            _watch(done, queued_by, stopper, write)
            _note_what_was_left_alone(done, primary_keys)
    except Stopped as exc:
        done.stopped = str(exc)
    except (DatabaseAway, InterfaceError) as exc:
        logger.exception("The database failed; queued packages stay queued")
        done.stopped, done.database_failed = f"the database failed: {type(exc).__name__}", True
    done.seconds = clock() - started
    return done


def _note_what_was_left_alone(done: Queued, primary_keys: Sequence[int]) -> None:
    """Add to the summary the parts that were not fetched although their tickets no longer exist."""
    for start in range(0, len(primary_keys), _CHUNK):
        rows = SourceStatus.objects.filter(
            package_id__in=primary_keys[start : start + _CHUNK], outcome=FetchOutcome.LEFT_ALONE
        )
        for source, error in rows.order_by("pk").values_list("source", "error"):
            done.left_alone.setdefault(source, Left(why=error)).parts += 1


def _queue(done: Queued, primary_keys: Sequence[int], stopper: Stopper, *, everything: bool) -> None:
    from package.tasks import send  # noqa: PLC0415 - Celery has to be set up first

    try:
        for packages in dispatch.enqueue(primary_keys, send, everything=everything):
            done.packages += packages
            if stopper.reason:
                done.stopped = stopper.reason
                return
        dispatch.send_again(send)
    except OperationalError as exc:
        raise BrokerAway(str(exc)) from exc


def _watch(done: Queued, queued_by: datetime, stopper: Stopper, write: Callable[[str], object]) -> None:
    clock = process.current().runtime.clock
    progressed = clock()
    with _progress(done.queued, write) as show:
        while done.left:
            stopper.wait(LOOK)
            left = dispatch.left(queued_by)
            if left != done.left:
                done.left, progressed = left, clock()
            elif clock() - progressed >= TELL:
                progressed = clock()
                write(f"No progress for {TELL:g} s. Is a worker running? celery --app config worker --queues …")
            show(done.left, done.queued)


@contextmanager
def _progress(total: int, write: Callable[[str], object]) -> Iterator[Show]:
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _lines(write)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("sources of packages", total=total)
        yield lambda left, total: bar.update(task, completed=total - left)


def _lines(write: Callable[[str], object]) -> Show:
    clock = process.current().runtime.clock
    told = clock()

    def show(left: int, total: int) -> None:
        nonlocal told
        if not left or clock() - told >= TELL:
            told = clock()
            write(f"[{total - left}/{total}] sources of packages are done")

    return show
