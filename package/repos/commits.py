"""What a list of commits tells: how many there are, of which day, and by whom."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any, NamedTuple, Self

from django.utils import timezone

from package.sources.client import READING, Answer, Client
from package.sources.errors import NotModified, Unusable
from package.sources.fields import BadField, can_be_right, count, text_at

WEEKS = 52
_MOST_PEOPLE = 200
_LONGEST_NAME = 100
_LONGEST_ID = 64
"""Letters of a SHA-256. The newest commit's is stored."""
_LONGEST_PAGE = 100
"""As long as the longest that is asked for."""
_LAST = 10
"""Commits that end a walk: clocks are wrong, and those of a branch that was merged late are old."""


class Commit(NamedTuple):
    """Of each commit what could be read of it."""

    id: str = ""
    time: datetime | None = None
    author: str = ""

    @property
    def date(self) -> datetime | None:
        """When it was made; None where that is not known, or what is said of it cannot be right."""
        return self.time if self.time and can_be_right(self.time) else None


@dataclass
class History:
    """Commits, counted from the newest back."""

    head: str = ""
    """The newest one; whose history this is can never change."""
    latest: str = ""
    """When the newest one was made of which that is known."""
    count: int = 0
    days: Counter[str] = field(default_factory=Counter)
    """Commits of each day of the last 52 weeks."""
    people: Counter[str] = field(default_factory=Counter)

    @classmethod
    def of(cls, kept: Mapping[str, Any]) -> Self:
        """Make it of what was `kept`."""
        return cls(kept["head"], kept["latest"], kept["count"], Counter(kept["days"]), Counter(dict(kept["people"])))

    @property
    def kept(self) -> dict[str, Any]:
        """As JSON."""
        first, last = (today() + timedelta(weeks=weeks) for weeks in (-WEEKS, 1))
        return {
            "head": self.head,
            "latest": self.latest,
            "count": self.count,
            "days": {day: number for day, number in self.days.items() if f"{first}" < day < f"{last}"},
            "people": self.people.most_common(_MOST_PEOPLE),  # an object of JSON has no order
        }

    @property
    def weeks(self) -> list[int]:
        """Commits in each of the last 52 weeks, the last of which ends today."""
        weeks = [0] * WEEKS
        for day, number in self.days.items():
            ago = (today() - date.fromisoformat(day)).days // 7
            if 0 <= ago < WEEKS:
                weeks[WEEKS - 1 - ago] += number
        return weeks

    @property
    def participants(self) -> str | None:
        return participants(name for name, _ in self.people.most_common(_MOST_PEOPLE))

    def add(self, commits: Sequence[Commit]) -> None:
        """Count `commits`, which are older than those that were added before."""
        if self.head and any(commit.id == self.head for commit in commits):
            raise Unusable("the commits begin again from the first: there is no end to them", "other")
        dates = dates_of(commits)
        if commits and not self.count:
            self.head = commits[0].id
        if dates and not self.latest:
            self.latest = dates[0].isoformat()
        self.count += len(commits)
        self.days.update(when.date().isoformat() for when in dates)
        self.people.update(commit.author[:_LONGEST_NAME] for commit in commits if commit.author)

    def add_older(self, older: History) -> None:
        """Add a history that ends where this one begins."""
        if not self.count:
            self.head = older.head
        self.latest = self.latest or older.latest
        self.count += older.count
        self.days += older.days
        self.people += older.people


def dates_of(commits: Iterable[Commit]) -> list[datetime]:
    return [when for commit in commits if (when := commit.date)]


def today() -> date:
    return timezone.now().date()


def participants(names: Iterable[str]) -> str | None:
    """Write names down as `Package.participants` has them; None where there are none."""
    clean = ("".join(c if c.isprintable() and c != "," else " " for c in name[:_LONGEST_NAME]) for name in names)
    each = dict.fromkeys(" ".join(name.split()) for name in clean)
    return ",".join([name for name in each if name][:_MOST_PEOPLE]) or None


def names_in(people: Sequence[Any], key: str) -> str | None:
    """Return the names that each of `people` has under `key`, as `participants` does."""
    names = [text_at(person, key) for person in people]
    if names and not any(names):
        raise BadField(f"none of them has a {key}")
    return participants(names)


def counted(commits: Sequence[Any], total: str) -> int:
    """Return `total` as a count, if `commits`, of which it is one, look like commits."""
    if not text_at(commits[0], "sha"):
        raise BadField("the newest commit has no name")
    if not (total.isdecimal() and total.isascii() and len(total) < 20):
        raise BadField("the answer does not say how many there are")
    return count(int(total))


def commits_in(items: Sequence[Any], read: Callable[[Any], Commit]) -> list[Commit]:
    """Read a page of commits; one that is odd is still a commit, but if all are, something else is wrong."""
    if len(items) > _LONGEST_PAGE:
        raise Unusable("a page holds more commits than were asked for", "other")
    commits = [commit if len(commit.id) <= _LONGEST_ID else commit._replace(id="") for commit in map(read, items)]
    if commits and not any(commit.id and commit.time for commit in commits):
        raise Unusable("none of the commits can be read", "other")
    return commits


def recent(
    client: Client, of: str, pages: Callable[[bool], Iterator[Answer]], read: Callable[[Any], Commit], least: int = 0
) -> History:
    """Return the commits of the last 52 weeks, and at least the newest `least` of all.

    Where nothing new came, what is remembered serves: the weeks move on all the same.

    :param of: the repository; what is remembered of another is of no use.
    :param pages: lists of commits, the newest first; given whether it is to ask conditionally.
    """
    memory, now = recall(client, of), today().isoformat()
    known = History.of(memory["history"]) if memory else None
    try:
        history = _read(pages(True), read, least, known)
    except NotModified:
        if known and memory["day"] == now:
            raise
        history = known or _read(pages(False), read, least, None)
    remember(client, of, history, day=now)
    return history


def recall(client: Client, of: str) -> dict[str, Any]:
    """Return what `remember` kept of this repository, if it was the last of which it kept something."""
    memory = client.memory
    return memory if memory.get("of") == of and memory.get("reading") == READING else {}


def remember(client: Client, of: str, history: History, **more: str) -> None:
    client.memory = {"reading": READING, "of": of, "history": history.kept, **more}


def _read(pages: Iterator[Answer], read: Callable[[Any], Commit], least: int, known: History | None) -> History:
    history = History()
    long_ago = timezone.now() - timedelta(weeks=WEEKS)
    for answer in pages:
        commits = commits_in(answer.data or [], read)
        if known and known.head and not history.count and commits and commits[0].id == known.head:
            return known  # and with it all that came before
        history.add(commits)
        last = dates_of(commits)[-_LAST:]
        enough = history.count >= least and last and max(last) < long_ago
        if enough or not commits or not answer.next:
            return history
    raise Unusable("more commits in a year than are counted", "other")
