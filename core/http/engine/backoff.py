"""Computes the delay before a retry. The function is pure: it receives its random number as an argument."""

from __future__ import annotations


def delay(retry: int, *, base: float, ceiling: float, jitter: float, chance: float) -> float:
    """Return the seconds before retry number `retry` (1, 2, …): ``min(base * 2**(retry - 1), ceiling)``, plus jitter.

    The formula is truncated binary exponential backoff (IEEE 802.3; RFC 9110 leaves the choice to the client).

    :param base: seconds before the first retry.
    :param ceiling: maximum seconds without jitter.
    :param jitter: the largest fraction of the delay that is added to it.
    :param chance: a random number in [0, 1): the part of the jitter that is added.
    """
    doubled = base * 2.0 ** min(retry - 1, 60)  # 2**60 s is longer than every ceiling; 2.0**1024 would overflow
    return min(doubled, ceiling) * (1 + jitter * chance)
