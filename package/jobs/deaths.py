"""Fetches that killed their worker process: decides when they are tried again, and when they are postponed.

The process may run out of memory, or be killed because of the memory it uses. The same package would then kill the next
worker too. `Claim.deaths` counts how often in a row this has happened (see `claims.claim`). A run that is stopped or
aborted returns its claims, and so does a task at its soft time limit. Neither counts as a death.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum

from package.jobs.fetching import Work
from package.models import SourceStatus
from package.sources.sessions import Sessions

TOO_MANY = 2
"""Deaths in a row after which the source of a package is postponed."""
REASON = "worker_died"
"""The reason of the failure in the ledger. It stays until a fetch of the source ends without a death."""
_WHY = "was not asked: in the last fetches of this package the worker process died (killed, or out of memory)"


class Danger(IntEnum):
    """How to treat a source of a package, given its deaths."""

    NONE = 0
    RISKY = 1
    """Its fetch may have killed the process. Fetch it last and alone, so that another death shows that it did."""
    DEADLY = 2
    """Its fetch killed the process too often. Do not fetch it for now."""


def danger(deaths: int, rows: Iterable[SourceStatus]) -> Danger:
    """Return how dangerous a fetch is. If the ledger already records deaths, one further death makes it deadly.

    :param deaths: the deaths of its claim.
    :param rows: the rows of its parts in the ledger.
    """
    is_known = any(row.reason == REASON for row in rows)
    if deaths >= (1 if is_known else TOO_MANY):
        return Danger.DEADLY
    return Danger.RISKY if deaths or is_known else Danger.NONE


def put_off(work: Work, through: Sessions) -> None:
    """Mark `work` as failed without a request. When this is stored, the package moves to the end of the queue."""
    work.give_up(_WHY, REASON, through)
