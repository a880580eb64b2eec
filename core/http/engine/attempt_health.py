"""Classifies the outcome of an attempt, for the circuit breaker: success or failure of the upstream, or neither."""

from __future__ import annotations

from enum import StrEnum

from ..outcome import Outcome, Reason


class Health(StrEnum):
    """Whether an attempt shows that the upstream works, that it fails, or neither."""

    SUCCESS = "success"
    FAILURE = "failure"
    NEITHER = "neither"


def health_of(outcome: Outcome, *, any_host: bool) -> Health:
    """Return what `outcome` shows about the health of the upstream.

    :param any_host: whether the host is not configured, so that its name may be mistyped.
    """
    reason = outcome.reason
    if reason is None:
        return Health.SUCCESS
    if reason in _SAYS_NOTHING or outcome.status == 425 or outcome.stale:
        return Health.NEITHER
    # A status outside 100 to 599, or one that only `classify` judged a failure: the server responds, so it works.
    if reason is Reason.OTHER and outcome.status is not None:
        return Health.SUCCESS
    if reason is Reason.OTHER and not outcome.sent:  # an invalid URL, or no file descriptors: not the upstream's fault
        return Health.NEITHER
    if reason is Reason.DNS and any_host and not outcome.transient:  # the name does not exist, often a typing error
        return Health.NEITHER
    return Health.FAILURE


def cut_short_after(outcome: Outcome, *, granted: float, attempt_timeout: float) -> float | None:
    """Return the seconds after which an attempt timed out, if they are less than the policy's `attempt_timeout`.

    None: the attempt did not time out, or had the full time of the policy.
    """
    if outcome.reason is not Reason.TIMEOUT or outcome.status is not None:
        return None
    seconds = granted if outcome.patience is None else min(granted, outcome.patience)
    return seconds if seconds < attempt_timeout else None


_SAYS_NOTHING = frozenset({Reason.HTTP_429, Reason.BLOCKED, Reason.TOO_LARGE})
