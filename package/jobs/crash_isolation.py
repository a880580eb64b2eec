"""Decides whether a fetch that may have killed its worker process is tried again or postponed.

The process may run out of memory, or be killed because of the memory that it uses. Then the same package would kill the
next worker too. `Claim.deaths` counts how often in a row this has happened (see `claims.claim`). A run that is stopped
or aborted returns its claims, and so does a task at its soft time limit, so neither counts as a death.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum

from package.jobs.fetching import Work
from package.models import SourceStatus
from package.sources.sessions import Sessions

TOO_MANY = 2
"""Number of killed processes in a row after which the source of a package is postponed."""
REASON = "worker_died"
"""The reason in the source status. It stays until a fetch of the source does not kill its process."""
_WHY = "was not asked: in the last fetches of this package the worker process died (killed, or out of memory)"


class Treatment(IntEnum):
    """How to treat a source of a package, given how often its fetch has killed the process. Greater means later."""

    NORMAL = 0
    ALONE = 1
    """The fetch may have killed the process. Fetch the source last and alone: if the process is killed again, the fetch
    was the cause."""
    POSTPONED = 2
    """The fetch has killed the process too often. Do not fetch the source for now."""


def treatment(deaths: int, rows: Iterable[SourceStatus]) -> Treatment:
    """Return how to treat a fetch that may kill its process.

    If the source was postponed before, one more killed process is enough to postpone it again.

    :param deaths: `Claim.deaths` of the claim.
    :param rows: the source statuses of the parts to fetch.
    """
    is_known = any(row.reason == REASON for row in rows)
    if deaths >= (1 if is_known else TOO_MANY):
        return Treatment.POSTPONED
    return Treatment.ALONE if deaths or is_known else Treatment.NORMAL


def put_off(work: Work, through: Sessions) -> None:
    """Record `work` as failed, without a request. When this is stored, the package moves to the end of the queue."""
    work.give_up(_WHY, REASON, through)
