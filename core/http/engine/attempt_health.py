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
    if reason in _SAYS_NOTHING or outcome.status == 425:
        return Health.NEITHER
    if reason is Reason.OTHER and outcome.status is not None:  # a status that HTTP does not know: an answer
        return Health.SUCCESS
    if reason is Reason.OTHER and not outcome.sent:  # a URL that leads nowhere
        return Health.NEITHER
    if reason is Reason.DNS and any_host and not outcome.transient:  # a name that does not exist: often a slip
        return Health.NEITHER
    return Health.FAILURE


_SAYS_NOTHING = frozenset({Reason.HTTP_429, Reason.BLOCKED, Reason.TOO_LARGE})
