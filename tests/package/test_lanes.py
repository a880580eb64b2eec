"""What a run still has to do: in which order it goes, what holds it, and how much of it goes at once."""

from __future__ import annotations

import time

from hypothesis import given
from hypothesis import strategies as st

from package.lanes import Lanes, Unit


def lanes(limit: int = 1000) -> Lanes:
    return Lanes(lambda _: limit)


def unit(package: int, key: str = "pypi", *, told: bool = False) -> Unit:
    return Unit(package, key, key, ("",), told=told)


def taken(all_lanes: Lanes, now: float) -> list[int]:
    """Take everything that there is by `now`."""
    packages = []
    while (each := all_lanes.take(now)) is not None:
        packages.append(each.package)
    return packages


def test_nothing_is_there_at_first() -> None:
    """Without units there is nothing to wait for."""
    empty = lanes()
    assert (empty.take(1e9), empty.next_at(0), list(empty.rest())) == (None, None, [])
    assert empty.held("pypi", 0) == ""


def test_what_comes_back_later_stays_until_then() -> None:
    """A unit comes when its time has come, and not before."""
    some = lanes()
    some.put_back(unit(1), 5)
    assert some.take(4.9) is None
    assert some.next_at(0) == 5
    assert taken(some, 5) == [1]


def test_what_could_go_for_longest_goes_first() -> None:
    """Across all lanes, new or not; those of the same moment go as they came."""
    some = lanes()
    for package, key, at in ((1, "pypi", 3), (2, "github", 2), (3, "pypi", 1), (4, "github", 2), (5, "pypi", 2)):
        some.put_back(unit(package, key), at)
    some.put(unit(6, "gitlab"), 2)
    some.put(unit(7, "pypi"), 0)
    assert taken(some, 3) == [7, 3, 2, 4, 5, 6, 1]


def test_a_lane_lets_so_many_go_at_once() -> None:
    """The next goes when one is done; other lanes do not care."""
    some = lanes(2)
    for package in range(4):
        some.put(unit(package), 0)
    some.put(unit(9, "github"), 0)
    assert taken(some, 0) == [0, 1, 9]
    assert some.next_at(0) is None
    some.done(unit(0), answered=True)
    assert some.next_at(0) == 0
    assert taken(some, 0) == [2]


def test_a_hold_keeps_everything_of_its_lane() -> None:
    """While a server is to be left alone nothing of it goes; what belongs to others does."""
    some = lanes()
    some.put(unit(1, "pypi"), 0)
    some.put(unit(2, "github"), 0)
    some.hold("pypi", 10, "it is down")
    assert taken(some, 9.9) == [2]
    assert some.next_at(9.9) == 10
    assert taken(some, 10) == [1]


def test_after_a_hold_one_goes_alone_until_one_is_answered() -> None:
    """A server that was down is not met by all who wait for it."""
    some = lanes()
    for package in range(4):
        some.put(unit(package), 0)
    some.hold("pypi", 10, "it is down")
    assert taken(some, 10) == [0]
    some.done(unit(0), answered=False)
    assert taken(some, 11) == [1]
    some.done(unit(1), answered=True)
    assert taken(some, 12) == [2, 3]


def test_a_hold_says_why() -> None:
    """As long as it lasts, and of its own lane."""
    some = lanes()
    some.hold("pypi", 10, "it is down")
    assert [some.held("pypi", now) for now in (0, 9.9, 10, 11)] == ["it is down", "it is down", "", ""]
    assert some.held("github", 0) == ""


def test_a_hold_grows_but_does_not_shrink() -> None:
    """Of two reasons to leave a server alone the one that lasts longer counts."""
    some = lanes()
    some.hold("pypi", 10, "it is down")
    some.hold("pypi", 5, "it limits our rate")
    assert some.held("pypi", 7) == "it is down"
    some.hold("pypi", 20, "it limits our rate")
    assert some.held("pypi", 15) == "it limits our rate"


def test_a_unit_may_wait_longer_than_the_hold() -> None:
    """The end of a hold does not hurry what is to come later anyway."""
    some = lanes()
    some.hold("pypi", 5, "it is down")
    some.put_back(unit(1), 8)
    assert (some.take(7), some.next_at(0)) == (None, 8)


def test_what_is_set_aside_is_told_of_once() -> None:
    """It keeps its place."""
    some = lanes()
    for package in range(3):
        some.put(unit(package), 0)
    assert [each.package for each in some.set_aside("pypi")] == [0, 1, 2]
    some.put(unit(3), 1)
    assert [each.package for each in some.set_aside("pypi")] == [3]
    assert all(each.told for each, _ in some.rest())
    assert taken(some, 1) == [0, 1, 2, 3]


def test_what_is_set_aside_may_be_any_number() -> None:
    """A run over 50,000 packages whose server is down spends its time on the others."""
    some, began = lanes(), time.process_time()
    some.hold("pypi", 99, "it is down")
    for package in range(50_000):
        some.put(unit(package), 0)
        assert [each.package for each in some.set_aside("pypi")] == [package]
    assert time.process_time() - began < 10


def test_the_rest_says_why() -> None:
    """What is left goes to the next run with the reason; without a hold there is none."""
    some = lanes()
    some.put(unit(1, "pypi"), 0)
    some.put_back(unit(2, "github"), 0)
    some.hold("pypi", 99, "it is down")
    assert sorted((each.package, why) for each, why in some.rest()) == [(1, "it is down"), (2, "")]


KEYS = st.sampled_from(["pypi", "github", "gitlab"])
TIMES = st.floats(0, 100)


@given(
    puts=st.lists(st.tuples(KEYS, TIMES, st.booleans())),
    holds=st.lists(st.tuples(KEYS, TIMES)),
    limit=st.integers(1, 3),
)
def test_everything_goes_once_and_in_time(
    puts: list[tuple[str, float, bool]], holds: list[tuple[str, float]], limit: int
) -> None:
    """Whoever waits until `next_at` gets a unit; none goes twice, too early, during a hold or over a limit."""
    some, earliest = lanes(limit), {}
    for key, until in holds:
        some.hold(key, until, "why")
    for number, (key, at, new) in enumerate(puts):
        if new:
            some.put(unit(number, key), 0)
        else:
            some.put_back(unit(number, key), at)
        earliest[number] = max([0.0 if new else at, *(until for held, until in holds if held == key)])
    now, went, under_way = 0.0, [], []
    while True:
        at = some.next_at(now)
        if at is None:
            if not under_way:
                break
            some.done(under_way.pop(), answered=True)
            continue
        now = max(now, at)
        each = some.take(now)
        assert each is not None
        assert some.held(each.key, now) == ""
        assert earliest[each.package] <= now
        went.append(each.package)
        under_way.append(each)
        assert max(sum(other.key == key for other in under_way) for key in {other.key for other in under_way}) <= limit
    assert sorted(went) == list(range(len(puts)))
    assert some.under_way == 0
