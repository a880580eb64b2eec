"""The lanes of a run: the order of units, the limit of each lane, and pauses of upstreams."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from package.jobs.lanes import Lanes, Unit
from package.jobs.pauses import Pause


@dataclass
class World:
    """Upstreams that a test controls, and lanes for them."""

    limits: int = 1000
    now: float = 0.0
    paused: dict[str, float] = field(default_factory=dict)
    """Until when."""
    suspects: set[str] = field(default_factory=set)
    looked_up: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.lanes = Lanes(self)

    def limit(self, key: str) -> int:
        return self.limits

    def pause(self, key: str) -> Pause | None:
        self.looked_up[key] += 1
        until = self.paused.get(key, 0.0)
        return Pause(until, datetime.now(UTC), f"{key} is down until {until:g}") if self.now < until else None

    def is_suspect(self, key: str) -> bool:
        return key in self.suspects

    def taken(self, now: float) -> list[int]:
        """Take all units that are ready at `now`."""
        self.now = now
        packages = []
        while (each := self.lanes.take(now)) is not None:
            packages.append(each.package)
        return packages

    def set_aside(self) -> list[tuple[int, str]]:
        return [(each.package, pause.why) for each, pause in self.lanes.set_aside()]


def unit(package: int, key: str = "pypi", *, told: bool = False) -> Unit:
    return Unit(package, key, key, ("",), told=told)


def test_nothing_is_there_at_first() -> None:
    """Without units there is nothing to wait for."""
    empty = World().lanes
    assert (empty.take(1e9), empty.next_at(0), list(empty.rest()), empty.set_aside()) == (None, None, [], [])


def test_a_unit_is_not_returned_before_its_time() -> None:
    """A unit that was put back is not returned before its time."""
    world = World()
    world.lanes.put_back(unit(1), 5)
    assert world.taken(4.9) == []
    assert world.lanes.next_at(0) == 5
    assert world.taken(5) == [1]


def test_the_unit_that_was_ready_longest_goes_first() -> None:
    """The unit that has been ready longest is next, across all lanes; ties are in order of arrival."""
    world = World()
    for package, key, at in ((1, "pypi", 3), (2, "github", 2), (3, "pypi", 1), (4, "github", 2), (5, "pypi", 2)):
        world.lanes.put_back(unit(package, key), at)
    world.lanes.put(unit(6, "gitlab"), 2)
    world.lanes.put(unit(7, "pypi"), 0)
    assert world.taken(3) == [7, 3, 2, 4, 5, 6, 1]


def test_the_order_applies_within_a_lane_too() -> None:
    """A unit that was put back goes before units that came after it was ready again; each goes once."""
    world = World()
    world.lanes.put_back(unit(1), 0)
    world.lanes.put(unit(2), 1)
    world.lanes.put_back(unit(4), 2)
    world.lanes.put_back(unit(3), 1)
    assert world.taken(2) == [1, 2, 3, 4]
    assert list(world.lanes.rest()) == []


def test_a_lane_lets_so_many_go_at_once() -> None:
    """A full lane gives no unit until one is done; other lanes are not affected."""
    world = World(limits=2)
    for package in range(4):
        world.lanes.put(unit(package), 0)
    world.lanes.put(unit(9, "github"), 0)
    assert world.taken(0) == [0, 1, 9]
    assert world.lanes.next_at(0) is None
    world.lanes.done(unit(0), answered=True)
    assert world.lanes.next_at(0) == 0
    assert world.taken(0) == [2]


def test_a_pause_keeps_everything_of_its_lane() -> None:
    """A paused lane gives no unit; other lanes do."""
    world = World()
    world.lanes.put(unit(1, "pypi"), 0)
    world.lanes.put(unit(2, "github"), 0)
    world.paused["pypi"] = 10
    assert world.taken(9.9) == [2]
    assert world.lanes.next_at(9.9) == 10
    assert world.taken(10) == [1]


def test_a_pause_that_ends_early_has_ended() -> None:
    """A pause that ended early is over at once, because the upstream is asked each time."""
    world = World()
    world.lanes.put(unit(1), 0)
    world.paused["pypi"] = 1000
    assert world.taken(1) == []
    world.paused.clear()
    assert world.lanes.next_at(2) == 2
    assert world.taken(2) == [1]


def test_after_a_pause_one_goes_alone_until_one_is_answered() -> None:
    """After a pause, one unit at a time is given until one is answered."""
    world = World()
    for package in range(5):
        world.lanes.put(unit(package), 0)
    world.paused["pypi"] = 10
    assert world.taken(5) == []
    assert world.taken(10) == [0]
    world.lanes.done(unit(0), answered=False)
    assert world.taken(11) == [1]
    world.lanes.done(unit(1), answered=None)
    assert world.taken(12) == [2], "not asked is not answered"
    world.lanes.done(unit(2), answered=True)
    assert world.taken(13) == [3, 4]


def test_a_unit_may_wait_longer_than_the_pause() -> None:
    """A unit that was put back for later than the end of a pause stays until its time."""
    world = World()
    world.paused["pypi"] = 5
    world.lanes.put_back(unit(1), 8)
    assert (world.taken(7), world.lanes.next_at(0)) == ([], 8)


def test_who_did_not_answer_is_asked_again_first() -> None:
    """Units of a silent upstream come first, so that one worker soon learns that it is down."""
    world = World()
    for package in range(3):
        for key in ("pypi", "github"):
            world.lanes.put(unit(package, key), package)

    def take() -> str:
        each = world.lanes.take(9)
        assert each is not None
        world.suspects.add(each.key)
        world.lanes.done(each, answered=False)
        return f"{each.key} {each.package}"

    assert [take() for _ in range(6)] == [f"{key} {package}" for key in ("pypi", "github") for package in range(3)]


def test_only_suspects_come_first() -> None:
    """Only suspected upstreams come first; one that merely limits our rate does not."""
    world = World()
    for package in range(2):
        for key in ("pypi", "github"):
            world.lanes.put(unit(package, key), package)
    first = world.lanes.take(9)
    assert first is not None
    world.lanes.done(first, answered=False)
    assert world.taken(9) == [0, 1, 1]
    world.suspects.add("pypi")
    world.lanes.put(unit(8, "github"), 1)
    world.lanes.put(unit(9, "pypi"), 2)
    world.lanes.done(unit(1), answered=True)
    assert world.taken(9) == [8, 9], "it answered since"


def test_a_unit_that_was_set_aside_is_returned_once() -> None:
    """A unit that was set aside is returned once, and keeps its place."""
    world = World()
    world.paused["pypi"] = 10
    for package in range(3):
        world.lanes.put(unit(package), 0)
    assert world.set_aside() == [], "nobody has wanted it yet"
    assert world.taken(0) == []
    assert world.set_aside() == [(package, "pypi is down until 10") for package in range(3)]
    world.lanes.put(unit(3), 1)
    assert world.taken(1) == []
    assert world.set_aside() == [(3, "pypi is down until 10")]
    assert [each.told for each, _ in world.lanes.rest()] == [True] * 4
    assert world.taken(10) == [0]
    world.lanes.done(unit(0), answered=True)
    assert world.taken(10) == [1, 2, 3]


def test_any_number_of_units_can_be_set_aside() -> None:
    """Setting aside any number of units is fast."""
    world, began = World(), time.process_time()
    world.paused["pypi"] = 99
    for package in range(50_000):
        world.lanes.put(unit(package), 0)
        assert world.taken(0) == []
        assert [each for each, _ in world.set_aside()] == [package]
    assert time.process_time() - began < 10


def test_only_those_whose_turn_it_is_are_looked_up() -> None:
    """Only lanes whose turn it is are asked, because core.http remembers a limited number of hosts."""
    world = World()
    for number in range(50):
        world.lanes.put(unit(number, f"host{number}"), number)
    world.lanes.take(0)
    assert world.looked_up == {"host0": 1}


def test_the_rest_says_why() -> None:
    """Each unit that is left comes with the last pause of its lane, or None."""
    world = World()
    world.lanes.put(unit(1, "pypi"), 0)
    world.lanes.put_back(unit(2, "github"), 0)
    world.lanes.put_back(unit(3, "gitlab"), 0)
    world.paused |= {"pypi": 99, "gitlab": 5}
    world.limits = 0
    assert world.lanes.next_at(1) == 1
    world.now = 50
    rest = {each.package: pause and pause.why for each, pause in world.lanes.rest()}
    assert rest == {1: "pypi is down until 99", 2: None, 3: "gitlab is down until 5"}


KEYS = st.sampled_from(["pypi", "github", "gitlab"])
TIMES = st.floats(0, 100)


@given(
    puts=st.lists(st.tuples(KEYS, TIMES, st.booleans())),
    pauses=st.dictionaries(KEYS, TIMES),
    suspects=st.sets(KEYS),
    limit=st.integers(1, 3),
    answers=st.lists(st.sampled_from([True, False, None])),
)
def test_everything_goes_once_and_in_time(
    puts: list[tuple[str, float, bool]],
    pauses: dict[str, float],
    suspects: set[str],
    limit: int,
    answers: list[bool | None],
) -> None:
    """Waiting until `next_at` always gives a unit; none comes twice, early, during a pause or over a limit."""
    world, earliest = World(limit, paused=pauses, suspects=suspects), {}
    some = world.lanes
    for number, (key, at, new) in enumerate(puts):
        if new:
            some.put(unit(number, key), 0)
        else:
            some.put_back(unit(number, key), at)
        earliest[number] = max(0.0 if new else at, pauses.get(key, 0.0))
    went, under_way = [], []
    while True:
        at = some.next_at(world.now)
        if at is None:
            if not under_way:
                break
            some.done(under_way.pop(), answered=answers.pop() if answers else True)
            continue
        world.now = max(world.now, at)
        each = some.take(world.now)
        assert each is not None
        assert earliest[each.package] <= world.now
        went.append(each.package)
        under_way.append(each)
        assert max(Counter(other.key for other in under_way).values()) <= limit
        some.set_aside()
    assert sorted(went) == list(range(len(puts)))
