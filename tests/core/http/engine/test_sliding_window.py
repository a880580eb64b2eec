"""The sliding window: counts of the last seconds, at a cost that does not grow with them."""

from __future__ import annotations

import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from core.http.engine.sliding_window import Window, WindowMaximum

STEPS = st.lists(st.tuples(st.sampled_from(["add", "advance"]), st.floats(0, 40)), max_size=60)


def seconds_held(window: Window) -> int:
    return len(window._buckets)


@given(length=st.integers(1, 40), steps=STEPS, start=st.floats(0, 1e6))
def test_it_counts_what_a_list_of_all_times_would(length: int, steps: list[tuple[str, float]], start: float) -> None:
    """For whole seconds, the total equals the number of events in the last `length` + 1 seconds."""
    window, times, now = Window(length), [], start
    for what, passed in steps:
        now += passed
        if what == "add":
            window.add(now)
            times.append(now)
        else:
            window.advance(now)
        assert window.total == sum(int(now) - int(time) <= length for time in times)


@given(length=st.floats(1, 40), steps=STEPS)
@example(length=1.5, steps=[("add", 0.9), ("advance", 1.2)])
def test_events_count_as_long_as_the_window(length: float, steps: list[tuple[str, float]]) -> None:
    """Events within the window count, and events two seconds older do not."""
    window, times, now = Window(length), [], 0.0
    for what, passed in steps:
        now += passed
        if what == "add":
            window.add(now)
            times.append(now)
        else:
            window.advance(now)
        assert sum(now - time <= length for time in times) <= window.total
        assert window.total <= sum(now - time < length + 2 for time in times)


@given(st.lists(st.floats(0, 1e9), max_size=50), st.integers(1, 30))
def test_counts_are_never_negative(times: list[float], length: int) -> None:
    """For times in any order, the total is the sum of the buckets, and no bucket is negative."""
    window = Window(length)
    for time in times:
        window.add(time)
        assert window.total == sum(window._buckets) > 0
        assert min(window._buckets) >= 0


def test_a_clock_that_goes_back() -> None:
    """An event with an earlier time counts at the latest time seen, and drops no other event."""
    window = Window(10)
    window.add(100)
    window.add(50)
    assert window.total == 2
    window.advance(50)
    assert window.total == 2
    window.advance(110)
    assert window.total == 2
    window.advance(111)
    assert window.total == 0


def test_the_first_event_may_come_at_any_time() -> None:
    """A clock need not begin at zero."""
    window = Window(10)
    window.add(1e9 + 0.5)
    assert window.total == 1
    window.advance(1e9 + 11)
    assert window.total == 0


def test_clear_forgets_everything() -> None:
    """After `clear` it is as good as new, at the same time of day."""
    window = Window(10)
    for now in range(100, 110):
        window.add(now)
    window.clear()
    assert window.total == 0
    window.add(110)
    assert window.total == 1
    window.advance(120)
    assert window.total == 1


@pytest.mark.parametrize("events", [10, 10_000])
def test_its_size_does_not_depend_on_the_traffic(events: int) -> None:
    """The window has one bucket for each second, however many events it counts."""
    window = Window(30)
    for number in range(events):
        window.add(number / 100)
    assert seconds_held(window) == 31


def test_a_long_silence_costs_one_turn_at_most() -> None:
    """Each bucket is emptied once, however many seconds have passed since the last event."""

    class Counted(list[int]):
        written = 0

        def __setitem__(self, index: object, value: object) -> None:
            Counted.written += 1
            super().__setitem__(index, value)  # type: ignore[call-overload]

    window = Window(30)
    window.add(0)
    window._buckets = Counted(window._buckets)
    window.advance(math.floor(1e15))
    assert Counted.written == 31
    assert window.total == 0


def test_the_greatest_is_that_of_all_seconds() -> None:
    """A small value of a later second does not hide a great one that the window still holds."""
    maximum = WindowMaximum(10)
    maximum.add(100, 5.0)
    maximum.add(101, 1.0)
    maximum.add(102, 3.0)
    assert maximum.greatest(102) == 5.0
    assert maximum.greatest(111) == 3.0


def test_the_greatest_of_one_second_is_the_greatest() -> None:
    """In whatever order the values of a second come."""
    maximum = WindowMaximum(10)
    for value in (2.0, 5.0, 1.0):
        maximum.add(100, value)
    assert maximum.greatest(100) == 5.0


def test_the_greatest_is_held_for_the_whole_window() -> None:
    """A value that is not yet as old as the window counts, and one that is older by two seconds does not."""
    maximum = WindowMaximum(10)
    maximum.add(100.9, 5.0)
    assert maximum.greatest(110.8) == 5.0
    assert maximum.greatest(112.9) is None
