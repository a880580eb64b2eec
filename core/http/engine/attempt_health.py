"""Classifies an attempt as success or failure of its upstream, for the circuit breaker."""

from __future__ import annotations

from enum import StrEnum

from ..outcome import Outcome, Reason


class Health(StrEnum):
    """What an attempt shows about the health of the upstream."""

    SUCCESS = "success"
    FAILURE = "failure"
    NEITHER = "neither"


def health_of(outcome: Outcome, *, any_host: bool) -> Health:
    """Return the health that `outcome` shows.

    :param any_host: the configuration does not name the upstream, so its URLs may be mistyped.
    """
    reason = outcome.reason
    if reason is None:
        return Health.SUCCESS
    if reason in _SAYS_NOTHING or outcome.status == 425 or outcome.stale:
        return Health.NEITHER
    if reason is Reason.OTHER and outcome.status is not None:  # a status outside of HTTP's: the server answered
        return Health.SUCCESS
    if reason is Reason.OTHER and not outcome.sent:  # an invalid URL, or no file descriptors: not the upstream's fault
        return Health.NEITHER
    if reason is Reason.DNS and any_host and not outcome.transient:  # the name does not exist: often a typing error
        return Health.NEITHER
    return Health.FAILURE


def cut_short_after(outcome: Outcome, *, granted: float, attempt_timeout: float) -> float | None:
    """Return the seconds after which an attempt timed out, if the policy's `attempt_timeout` is longer.

    None: the attempt did not time out, or it had the full time of the policy.
    """
    if outcome.reason is not Reason.TIMEOUT or outcome.status is not None:
        return None
    seconds = granted if outcome.patience is None else min(granted, outcome.patience)
    return seconds if seconds < attempt_timeout else None


_SAYS_NOTHING = frozenset({Reason.HTTP_429, Reason.BLOCKED, Reason.TOO_LARGE})
