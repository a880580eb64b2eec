"""What an attempt says about the health of its upstream: the circuit breaker counts this."""

from __future__ import annotations

from enum import StrEnum

from ..outcome import Outcome, Reason


class Health(StrEnum):
    """What an attempt says about the health of the upstream."""

    SUCCESS = "success"
    FAILURE = "failure"
    NEITHER = "neither"


def health_of(outcome: Outcome, *, any_host: bool) -> Health:
    """Return what `outcome` says; `any_host`: of an upstream that the configuration does not name."""
    reason = outcome.reason
    if reason is None:
        return Health.SUCCESS
    if reason in _SAYS_NOTHING or outcome.status == 425 or outcome.stale:
        return Health.NEITHER
    if reason is Reason.OTHER and outcome.status is not None:  # a status that HTTP does not know: an answer
        return Health.SUCCESS
    if reason is Reason.OTHER and not outcome.sent:  # a URL that leads nowhere, a machine without descriptors
        return Health.NEITHER
    if reason is Reason.DNS and any_host and not outcome.transient:  # a name that does not exist: often a slip
        return Health.NEITHER
    return Health.FAILURE


def cut_short_after(outcome: Outcome, *, granted: float, attempt_timeout: float) -> float | None:
    """Return the seconds after which an attempt was given up, where the policy's `attempt_timeout` is longer.

    None: it did not run out of time, or had all the time of the policy.
    """
    if outcome.reason is not Reason.TIMEOUT or outcome.status is not None:
        return None
    seconds = granted if outcome.patience is None else min(granted, outcome.patience)
    return seconds if seconds < attempt_timeout else None


_SAYS_NOTHING = frozenset({Reason.HTTP_429, Reason.BLOCKED, Reason.TOO_LARGE})
