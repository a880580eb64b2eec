"""Evaluating lists of commits."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from package.repos.commit_history import Commit, History, commits_in, participants, today
from package.sources.errors import Unusable


def ago(days: int, name: str = "", id_: str = "") -> Commit:
    time = datetime.combine(today(), datetime.min.time(), UTC) - timedelta(days=days)
    return Commit(id_ or f"{days}-{name}", time, name)


@pytest.mark.parametrize(
    ("days", "week"), [(0, 51), (6, 51), (7, 50), (363, 0), (364, None), (4000, None), (-1, None), (-4000, None)]
)
def test_weeks(days: int, week: int | None) -> None:
    """The last week ends today; commits older than 52 weeks or in the future are in no week."""
    history = History()
    history.add([ago(days)])
    assert [number for number, count in enumerate(history.weeks) if count] == ([] if week is None else [week])
    assert len(history.weeks) == 52


def test_newest() -> None:
    """The first commit that is added is the newest."""
    history = History()
    history.add([ago(1, id_="b"), ago(2, id_="a")])
    history.add([ago(3, id_="0")])
    assert (history.head, history.count) == ("b", 3)
    assert datetime.fromisoformat(history.latest) == ago(1).time


@pytest.mark.parametrize(
    ("time", "right"),
    [
        (datetime(1970, 1, 1, tzinfo=UTC), False),
        (datetime(1989, 12, 31, tzinfo=UTC), False),
        (datetime(1990, 8, 9, tzinfo=UTC), True),
        (datetime.now(UTC) + timedelta(hours=14), True),
        (datetime.now(UTC) + timedelta(days=2), False),
        (datetime.max.replace(tzinfo=UTC), False),
    ],
)
def test_dates_that_cannot_be_right(time: datetime, right: bool) -> None:
    """Dates before Python existed, or in the future, are ignored."""
    history = History()
    history.add([Commit("b", time), ago(3)])
    assert history.latest == (time if right else ago(3).time).isoformat()
    assert history.count == 2
    assert history.days.total() == 1 + right


def test_pages_that_begin_again() -> None:
    """A list in which the newest commit comes twice is refused."""
    history = History()
    history.add([ago(1), ago(2)])
    with pytest.raises(Unusable):
        history.add([ago(3), ago(1)])


def test_names_of_commits_are_of_a_commits_length() -> None:
    """A hash that is too long is ignored; a page with only such hashes is unusable."""
    short, long = ago(1, id_="a" * 64), ago(2, id_="b" * 65)
    assert [commit.id for commit in commits_in([short, long], lambda commit: commit)] == [short.id, ""]
    with pytest.raises(Unusable):
        commits_in([long], lambda commit: commit)


def test_both_halves() -> None:
    """A history in two parts is the same as in one."""
    commits = [ago(day, f"n{day % 3}") for day in range(0, 500, 7)]
    whole, newer, older = History(), History(), History()
    whole.add(commits)
    newer.add(commits[:20])
    older.add(commits[20:])
    newer.add_older(older)
    assert newer == whole
    nothing = History()
    nothing.add_older(whole)
    assert nothing == whole


def test_the_stored_history() -> None:
    """The stored history is JSON, is limited in size, and gives the same figures."""
    history = History()
    for day in range(3000):
        history.add([ago(day, f"somebody called {number} on day {day}") for number in range(3)])
    history.add([ago(-day) for day in range(1, 1000)])
    text = json.dumps(history.kept)
    assert len(text) < 30_000
    again = History.of(json.loads(text))
    assert (again.count, again.weeks, again.head) == (history.count, history.weeks, history.head)
    assert again.participants == history.participants


@given(st.lists(st.text()))
def test_participants(names: list[str]) -> None:
    """Names with commas or odd characters are separate in the stored list."""
    written = participants(names)
    if written is not None:
        found = written.split(",")
        assert all(found)
        assert len(set(found)) == len(found) <= 200
        assert written.isprintable()
