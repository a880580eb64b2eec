"""How much one may ask."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass
class Quota:
    """A limit of requests in each `window` of seconds; the first window begins with the object."""

    limit: int
    window: float = 3600.0
    clock: Callable[[], float] = time.time
    remaining: int = field(init=False)
    resets_at: float = field(init=False)

    def __post_init__(self) -> None:
        self.set(remaining=self.limit, reset_in=self.window)

    def set(self, *, remaining: int, reset_in: float) -> None:
        self.remaining = remaining
        self.resets_at = self.clock() + reset_in

    @property
    def used(self) -> int:
        return self.limit - self.remaining

    @property
    def reset_in(self) -> int:
        """Whole seconds, for Retry-After."""
        return max(1, round(self.resets_at - self.clock()))

    def take(self) -> bool:
        """Count a request. False: it is one too many."""
        if self.clock() >= self.resets_at:
            self.set(remaining=self.limit, reset_in=self.window)
        if self.remaining <= 0:
            return False
        self.remaining -= 1
        return True

    def give_back(self) -> None:
        self.remaining += 1
