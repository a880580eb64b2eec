"""Evaluates a list of commits: their number, their dates and their authors."""

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
"""Maximum number of characters of the hash of the newest commit, which is stored: a SHA-256 in hexadecimal digits."""
_LONGEST_PAGE = 100
"""The largest number of commits per page that is requested."""
_LAST = 10
"""Reading ends when this many commits in a row are old. A single one may have a wrong date, or may have been merged
late."""


class Commit(NamedTuple):
    """The readable fields of a commit."""

    id: str = ""
    time: datetime | None = None
    author: str = ""

    @property
    def date(self) -> datetime | None:
        """The date of the commit; None: it is missing or cannot be right."""
        return self.time if self.time and can_be_right(self.time) else None


@dataclass
class History:
    """Figures about a list of commits, from the newest to the oldest."""

    head: str = ""
    """Hash of the newest commit. If it has not changed, the older commits have not changed either."""
    latest: str = ""
    """Date of the newest commit that has a valid date, in ISO 8601."""
    count: int = 0
    days: Counter[str] = field(default_factory=Counter)
    """Number of commits for each day of the last 52 weeks."""
    people: Counter[str] = field(default_factory=Counter)
    """Number of commits for each author."""

    @classmethod
    def of(cls, kept: Mapping[str, Any]) -> Self:
        """Return the history from which `kept` was computed."""
        return cls(kept["head"], kept["latest"], kept["count"], Counter(kept["days"]), Counter(dict(kept["people"])))

    @property
    def kept(self) -> dict[str, Any]:
        """The history as an object that can be stored as JSON."""
        first, last = (today() + timedelta(weeks=weeks) for weeks in (-WEEKS, 1))
        return {
            "head": self.head,
            "latest": self.latest,
            "count": self.count,
            "days": {day: number for day, number in self.days.items() if f"{first}" < day < f"{last}"},
            "people": self.people.most_common(_MOST_PEOPLE),  # as a list, because JSON objects have no order
        }

    @property
    def weeks(self) -> list[int]:
        """Number of commits in each of the last 52 weeks, oldest first. The last week ends today."""
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
        """Count `commits`, which must be older than those added before."""
        if self.head and any(commit.id == self.head for commit in commits):
            raise Unusable("the list of commits starts over and has no end", "other")
        dates = dates_of(commits)
        if commits and not self.count:
            self.head = commits[0].id
        if dates and not self.latest:
            self.latest = dates[0].isoformat()
        self.count += len(commits)
        self.days.update(when.date().isoformat() for when in dates)
        self.people.update(commit.author[:_LONGEST_NAME] for commit in commits if commit.author)

    def add_older(self, older: History) -> None:
        """Add `older`, the history of the commits that precede all commits added so far."""
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
    """Return names in the format of `Package.participants`; None: there are no names."""
    clean = ("".join(c if c.isprintable() and c != "," else " " for c in name[:_LONGEST_NAME]) for name in names)
    each = dict.fromkeys(" ".join(name.split()) for name in clean)
    return ",".join([name for name in each if name][:_MOST_PEOPLE]) or None


def names_in(people: Sequence[Any], key: str) -> str | None:
    """Return the values of `key` in each of `people`, in the format of `participants`.

    :raises BadField: if there are people but none has the key.
    """
    names = [text_at(person, key) for person in people]
    if names and not any(names):
        raise BadField(f"no entry has a {key}")
    return participants(names)


def counted(commits: Sequence[Any], total: str) -> int:
    """Return the number of commits, `total`, as an integer.

    :raises BadField: if `total` is not a number, or the first of `commits` has no hash.
    """
    if not text_at(commits[0], "sha"):
        raise BadField("the newest commit has no hash")
    if not (total.isdecimal() and total.isascii() and len(total) < 20):
        raise BadField("the answer does not contain the number of commits")
    return count(int(total))


def commits_in(items: Sequence[Any], read: Callable[[Any], Commit]) -> list[Commit]:
    """Read a page of commits. Commits with unreadable fields count too.

    :raises Unusable: if no commit can be read, or if the page has too many commits.
    """
    if len(items) > _LONGEST_PAGE:
        raise Unusable("a page has more commits than were requested", "other")
    commits = [commit if len(commit.id) <= _LONGEST_ID else commit._replace(id="") for commit in map(read, items)]
    if commits and not any(commit.id and commit.time for commit in commits):
        raise Unusable("none of the commits can be read", "other")
    return commits


def recent(
    client: Client, of: str, pages: Callable[[bool], Iterator[Answer]], read: Callable[[Any], Commit], least: int = 0
) -> History:
    """Return the history of the last 52 weeks, but of at least the newest `least` commits.

    If there are no new commits, this returns the stored history, whose `weeks` still change from day to day.

    :param of: the address of the repository. The stored history of another repository is ignored.
    :param pages: requests the pages of the list, newest first. Its argument is whether the request is conditional.
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
    """Return the data that `remember` stored; empty: it is of another repository than `of`, or of another `READING`."""
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
            return known  # its older commits are known as well
        history.add(commits)
        last = dates_of(commits)[-_LAST:]
        enough = history.count >= least and last and max(last) < long_ago
        if enough or not commits or not answer.next:
            return history
    raise Unusable("the last year has more commits than are counted", "other")
