"""Fetches that killed the process of their worker: when they are tried again, and when they are put off.

The process may run out of memory, or be killed for the memory it takes; then the next worker would die of the same
package. `Claim.deaths` counts how often in a row that happened (see `claims.claim`). A run that is stopped or aborted
gives its claims back, and a soft time limit makes a task do so: neither is a death.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum

from package.jobs.fetching import Work
from package.models import SourceStatus
from package.sources.sessions import Sessions

TOO_MANY = 2
"""Deaths in a row after which a source of a package is put off."""
REASON = "worker_died"
"""The reason of the failure in the ledger. It stays there until the source is fetched without a death."""
_WHY = "was not asked: in the last fetches of this package the worker process died (killed, or out of memory)"


class Danger(IntEnum):
    """What is to be done about the deaths of a source of a package."""

    NONE = 0
    RISKY = 1
    """Its fetch may have killed the process: fetch it after all else, and alone, so that the next death tells."""
    DEADLY = 2
    """It died too often. Do not fetch it for now."""


def danger(deaths: int, rows: Iterable[SourceStatus]) -> Danger:
    """Return how dangerous a fetch is. Where the ledger tells of deaths already, one more is one too many.

    :param deaths: of its claim.
    :param rows: what the ledger has of its parts.
    """
    is_known = any(row.reason == REASON for row in rows)
    if deaths >= (1 if is_known else TOO_MANY):
        return Danger.DEADLY
    return Danger.RISKY if deaths or is_known else Danger.NONE


def put_off(work: Work, through: Sessions) -> None:
    """Let `work` fail without asking: stored, that moves the package to the end of the queue, with the reason."""
    work.give_up(_WHY, REASON, through)
