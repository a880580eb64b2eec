"""Computes the delay before a retry: a pure function, which receives its random number."""

from __future__ import annotations


def delay(retry: int, *, base: float, ceiling: float, jitter: float, chance: float) -> float:
    """Return the seconds before retry number `retry` (1, 2, …): ``min(base * 2**(retry - 1), ceiling)``, plus jitter.

    `chance` is a random number in [0, 1), the fraction of the jitter that is added.
    The formula is truncated binary exponential backoff (IEEE 802.3; RFC 9110 leaves the choice to the client).
    """
    doubled = base * 2.0 ** min(retry - 1, 60)  # 2**60 s is beyond every ceiling, 2.0**1024 would overflow
    return min(doubled, ceiling) * (1 + jitter * chance)
