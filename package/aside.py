"""What a run has put aside: parts of packages to be fetched later, by what they wait for.

No I/O and no clock of its own; not safe for threads: the run guards it.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count

from package.results import FetchResult


@dataclass(frozen=True)
class Task:
    """Parts of one package that belong to one upstream."""

    package: int
    """Its primary key."""
    key: str
    """What they wait for, see `Part.key`."""
    last: tuple[FetchResult, ...]
    """What is known of each of them so far."""
    tries: int = 0
    """How often they were asked for already."""


@dataclass
class _Shelf:
    held_until: float = 0.0
    why: str = ""
    tasks: list[tuple[float, int, Task]] = field(default_factory=list)
    """A heap: when it may be tried, the order in which it came, and what."""


class Aside:
    """Times are seconds on the run's clock."""

    def __init__(self) -> None:
        self._shelves: dict[str, _Shelf] = {}
        self._order = count()

    def hold(self, key: str, until: float, why: str) -> None:
        """Let nothing of `key` be tried before `until`."""
        shelf = self._shelves.setdefault(key, _Shelf())
        if until > shelf.held_until:
            shelf.held_until, shelf.why = until, why

    def held(self, key: str, now: float) -> str:
        """Say why nothing of `key` is to be tried now; "" if it may be."""
        shelf = self._shelves.get(key)
        return shelf.why if shelf is not None and now < shelf.held_until else ""

    def put(self, task: Task, not_before: float) -> None:
        """Keep `task` for later."""
        tasks = self._shelves.setdefault(task.key, _Shelf()).tasks
        heapq.heappush(tasks, (not_before, next(self._order), task))

    def take(self, now: float) -> Task | None:
        """Take out the task that has been due longest; None: none is yet."""
        due = [(shelf.tasks[0], shelf) for shelf in self._shelves.values() if shelf.tasks and _at(shelf) <= now]
        if not due:
            return None
        _, shelf = min(due, key=lambda each: each[0][:2])
        return heapq.heappop(shelf.tasks)[2]

    def next_at(self) -> float | None:
        """Say when `take` will have one; None: there is none."""
        return min((_at(shelf) for shelf in self._shelves.values() if shelf.tasks), default=None)

    def rest(self) -> Iterator[tuple[Task, str]]:
        """Go through what is left, and why it was held."""
        for shelf in self._shelves.values():
            for _, _, task in shelf.tasks:
                yield task, shelf.why


def _at(shelf: _Shelf) -> float:
    return max(shelf.tasks[0][0], shelf.held_until)
