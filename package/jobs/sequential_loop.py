"""The loop of runs without threads, which process one row after the other."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from django.db import InterfaceError, OperationalError

from package.jobs.base_summary import BaseSummary
from package.jobs.stopper import Stopped, Stopper

logger = logging.getLogger(__name__)


def each(primary_keys: Sequence[int], stopper: Stopper, summary: BaseSummary, visit: Callable[[int], None]) -> None:
    """Call `visit` for each of these rows until the run must end. If `visit` raises `Stopped`, its row is left."""
    for position, primary_key in enumerate(primary_keys):
        summary.left = len(primary_keys) - position
        if stopper.reason:
            break
        try:
            visit(primary_key)
        except Stopped:
            break
        except (OperationalError, InterfaceError) as exc:  # the results of the other rows could not be saved either
            logger.exception("The database failed; the run ends here")
            stopper.stop(f"the database failed: {type(exc).__name__}")
            summary.database_failed = True
            break
        summary.tried += 1
    else:
        summary.left = 0
    summary.stopped = stopper.reason if summary.left else ""
