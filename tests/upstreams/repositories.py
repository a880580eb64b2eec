"""A repository as a few numbers, from which its commits and their authors are computed on request."""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import product
from typing import overload

_FIRST = ("Ada", "Bo", "Cem", "Dana", "Eva", "Gül", "Hana", "Ivo", "Jana", "Kai", "Lea", "Søren", "Zoë")
_LAST = ("Adler", "Berg", "Costa", "Dvořák", "Engel", "Garcia", "Haas", "Ito", "Jensen", "Kaya", "Novak")


@dataclass(frozen=True, slots=True)
class Person:
    name: str
    email: str
    login: str
    """ "": no account has this e-mail address."""


def _people() -> Iterator[Person]:
    for number, (first, last) in enumerate(product(_FIRST, _LAST)):
        login = "".join(letter for letter in f"{first}{last}".lower() if letter.isascii())
        yield Person(f"{first} {last}", f"{login}@mail.example", "" if number % 6 == 5 else login)


PEOPLE = tuple(_people())


@dataclass(frozen=True, slots=True)
class Commit:
    sha: str
    parent: str
    """ "": there is none."""
    author: Person
    date: datetime


@dataclass(frozen=True, slots=True)
class Contributor:
    person: Person
    commits: int


@dataclass(slots=True)
class FakeRepo:
    id: int
    kind: str
    owner: str
    name: str
    description: str
    stars: int
    forks: int
    people: int
    """How many have committed."""
    born: int
    """Seconds since 1970, as all times here."""
    size: int
    """How many commits there were when the world began; `pace` seconds lie between them, more or less."""
    pace: int
    pushed: tuple[int, ...] = ()
    """When the later commits were made."""
    archived_at: datetime | None = None
    default_branch: str = "main"

    @property
    def full_name(self) -> str:
        return f"{self.owner}/{self.name}"

    @property
    def empty(self) -> bool:
        return not self.commits

    @property
    def commits(self) -> Commits:
        """All of them, the newest first."""
        return Commits(self, self.size + len(self.pushed))

    @property
    def contributors(self) -> list[Contributor]:
        """Return the most busy first."""
        return count_contributors(self.commits)

    @property
    def created_at(self) -> datetime:
        return datetime.fromtimestamp(self.born, UTC)

    @property
    def updated_at(self) -> datetime:
        commits = self.commits
        return commits[0].date if commits else self.created_at

    def history(self, ref: str) -> Commits | None:
        """Return the commits that `ref`, a branch or a SHA, leads to; "" is the default branch. None: no such thing."""
        if ref in {"", "HEAD", self.default_branch}:
            return self.commits
        number = int(ref[-8:], 16) if len(ref) == 40 and set(ref) <= set("0123456789abcdef") else -1
        found = 0 <= number < len(self.commits) and self.sha(number) == ref
        return Commits(self, number + 1) if found else None

    # Commits have numbers: the oldest is 0.

    def sha(self, number: int) -> str:
        """Return the SHA; its end is the number, so that a commit can be found by it."""
        return hashlib.blake2b(f"{self.id}:{number}".encode(), digest_size=16).hexdigest() + f"{number:08x}"

    def time(self, number: int) -> int:
        if number >= self.size:
            return self.pushed[number - self.size]
        return self.born + number * self.pace + (number * 7919 + self.id) % self.pace

    def author(self, number: int) -> Person:
        # Knuth's multiplicative hash; its square makes the first of the people the most busy.
        portion = (number * 2654435761 + self.id * 40503) % 2**32 / 2**32
        return self.person(int(self.people * portion * portion))

    def person(self, number: int) -> Person:
        return PEOPLE[(self.id * 31 + number * 7) % len(PEOPLE)]


class Commits(Sequence[Commit]):
    """The commits from number `stop` - 1 down to number `start`. Slices are as cheap as this."""

    def __init__(self, repo: FakeRepo, stop: int, start: int = 0) -> None:
        self._repo = repo
        self._stop = stop
        self._start = min(start, stop)

    def __len__(self) -> int:
        return self._stop - self._start

    @overload
    def __getitem__(self, index: int) -> Commit: ...
    @overload
    def __getitem__(self, index: slice) -> Commits: ...
    def __getitem__(self, index: int | slice) -> Commit | Commits:
        if isinstance(index, slice):
            first, last, _ = index.indices(len(self))
            return Commits(self._repo, self._stop - first, max(self._stop - last, self._start))
        number = self._stop - 1 - range(len(self))[index]
        repo = self._repo
        date = datetime.fromtimestamp(repo.time(number), UTC)
        return Commit(repo.sha(number), repo.sha(number - 1) if number else "", repo.author(number), date)

    @property
    def times(self) -> list[int]:
        """Seconds since 1970, the newest first."""
        return [self._repo.time(number) for number in range(self._stop - 1, self._start - 1, -1)]

    @property
    def authors(self) -> list[Person]:
        return [self._repo.author(number) for number in range(self._stop - 1, self._start - 1, -1)]

    def since(self, when: datetime) -> Commits:
        """Return those that are not older."""
        numbers = range(self._start, self._stop)
        older = bisect_left(numbers, when.timestamp(), key=self._repo.time)
        return Commits(self._repo, self._stop, self._start + older)

    def without(self, other: Commits) -> Commits:
        """Return those that `other`, a history of the same repository, does not have."""
        return Commits(self._repo, self._stop, max(self._start, other._stop))


def count_contributors(commits: Commits) -> list[Contributor]:
    return [Contributor(person, count) for person, count in Counter(commits.authors).most_common()]
