"""What a run has put aside: in which order it comes back, and what holds it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from package.aside import Aside, Task


def task(package: int, key: str = "pypi") -> Task:
    return Task(package, key, ())


def taken(aside: Aside, now: float) -> list[int]:
    """Take everything that there is by `now`."""
    packages = []
    while (each := aside.take(now)) is not None:
        packages.append(each.package)
    return packages


def test_nothing_is_there_at_first() -> None:
    """An empty shelf has nothing to wait for."""
    aside = Aside()
    assert (aside.take(1e9), aside.next_at(), list(aside.rest())) == (None, None, [])
    assert aside.held("pypi", 0) == ""


def test_what_is_not_due_stays() -> None:
    """A task comes when its time has come, and not before."""
    aside = Aside()
    aside.put(task(1), 5)
    assert aside.take(4.9) is None
    assert aside.next_at() == 5
    assert taken(aside, 5) == [1]


def test_what_has_been_due_longest_comes_first() -> None:
    """Across all that tasks wait for; those due at the same time come as they went."""
    aside = Aside()
    for package, key, at in ((1, "pypi", 3), (2, "github", 2), (3, "pypi", 1), (4, "github", 2), (5, "pypi", 2)):
        aside.put(task(package, key), at)
    assert taken(aside, 3) == [3, 2, 4, 5, 1]


def test_a_task_is_taken_once() -> None:
    """Whoever takes it has it."""
    aside = Aside()
    aside.put(task(1), 0)
    assert taken(aside, 0) == [1]
    assert (aside.take(9), aside.next_at(), list(aside.rest())) == (None, None, [])


def test_a_hold_keeps_everything_of_its_key() -> None:
    """While a server is to be left alone nothing of it is tried; what belongs to others is."""
    aside = Aside()
    aside.put(task(1, "pypi"), 0)
    aside.put(task(2, "github"), 1)
    aside.hold("pypi", 10, "it is down")
    assert taken(aside, 9.9) == [2]
    assert aside.next_at() == 10
    assert taken(aside, 10) == [1]


def test_a_hold_says_why() -> None:
    """As long as it lasts, and of its own key."""
    aside = Aside()
    aside.hold("pypi", 10, "it is down")
    assert [aside.held("pypi", now) for now in (0, 9.9, 10, 11)] == ["it is down", "it is down", "", ""]
    assert aside.held("github", 0) == ""


def test_a_hold_grows_but_does_not_shrink() -> None:
    """Of two reasons to leave a server alone the one that lasts longer counts."""
    aside = Aside()
    aside.hold("pypi", 10, "it is down")
    aside.hold("pypi", 5, "it limits our rate")
    assert aside.held("pypi", 7) == "it is down"
    aside.hold("pypi", 20, "it limits our rate")
    assert aside.held("pypi", 15) == "it limits our rate"


def test_a_task_may_wait_longer_than_the_hold() -> None:
    """The end of a hold does not hurry what is to come later anyway."""
    aside = Aside()
    aside.hold("pypi", 5, "it is down")
    aside.put(task(1), 8)
    assert (aside.take(7), aside.next_at()) == (None, 8)


def test_the_rest_says_why() -> None:
    """What is left goes to the next run with the reason; without a hold there is none."""
    aside = Aside()
    aside.put(task(1, "pypi"), 0)
    aside.put(task(2, "github"), 0)
    aside.hold("pypi", 99, "it is down")
    assert sorted((each.package, why) for each, why in aside.rest()) == [(1, "it is down"), (2, "")]


KEYS = st.sampled_from(["pypi", "github", "gitlab"])
TIMES = st.floats(0, 100)


@given(puts=st.lists(st.tuples(KEYS, TIMES)), holds=st.lists(st.tuples(KEYS, TIMES)))
def test_everything_comes_back_once_and_in_time(puts: list[tuple[str, float]], holds: list[tuple[str, float]]) -> None:
    """Whoever waits until `next_at` gets a task; each comes once, none before its time nor during a hold."""
    aside, earliest = Aside(), {}
    for key, until in holds:
        aside.hold(key, until, "why")
    for number, (key, at) in enumerate(puts):
        aside.put(task(number, key), at)
        earliest[number] = max([at, *(until for held, until in holds if held == key)])
    now, came = 0.0, []
    while (at := aside.next_at()) is not None:
        now = max(now, at)
        each = aside.take(now)
        assert each is not None
        assert aside.held(each.key, now) == ""
        assert earliest[each.package] <= now
        came.append(each.package)
    assert sorted(came) == list(range(len(puts)))
    assert now == max(earliest.values(), default=0.0)
