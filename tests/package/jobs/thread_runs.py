"""Runs with several threads."""

from __future__ import annotations

import threading
from typing import Any

from package.jobs.refresh_summary import RefreshSummary
from package.jobs.run import run
from package.jobs.stopper import Stopper
from package.models import Package
from package.sources.fetch_results import FetchOutcome

UPDATED, SKIPPED, LEFT_ALONE = FetchOutcome.UPDATED, FetchOutcome.SKIPPED, FetchOutcome.LEFT_ALONE
WORKERS = 4


def refresh(packages: list[Package], *, stopper: Stopper | None = None, **how: Any) -> RefreshSummary:
    """Run over these packages with several threads."""
    keys = [package.pk for package in packages]
    return run(keys, stopper or Stopper(), lambda *_: None, **{"workers": WORKERS, **how})


def pool_threads() -> list[threading.Thread]:
    """Return the threads of runs that have not ended."""
    return [thread for thread in threading.enumerate() if thread.name.startswith("worker-")]
