"""Merging what processes know: the result depends on neither order nor repetition."""

from __future__ import annotations

import math
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from core.http.engine.mergeable_state import BreakerSnapshot, GateSnapshot
from core.http.shared.records import Record, key_of, read
from tests.core.http.shared.fleet import HOUR

MOMENTS = st.integers(0, 5).map(float)
BREAKERS = st.builds(BreakerSnapshot, MOMENTS, MOMENTS, MOMENTS)
GATES = st.builds(GateSnapshot, MOMENTS, MOMENTS, MOMENTS, st.sampled_from(["", "is busy", "limits us"]))
SNAPSHOTS = st.sampled_from([BREAKERS, GATES]).flatmap(lambda each: st.tuples(each, each, each))


@given(SNAPSHOTS)
def test_merging_needs_no_order(snapshots: tuple[Any, Any, Any]) -> None:
    """Records merged in any order, and any number of times, give the same result."""
    one, other, third = snapshots
    assert one.merge(other) == other.merge(one)
    assert one.merge(other).merge(third) == one.merge(other.merge(third))
    assert one.merge(one) == one
    assert one.merge(other).merge(other) == one.merge(other)
    assert one.merge(type(one)()) == one


def test_the_later_change_wins_and_then_the_longer_time() -> None:
    """A breaker that closed later is closed; of two gates closed since the same moment the longer time counts."""
    assert BreakerSnapshot(5.0, 5.0, 20.0).merge(BreakerSnapshot(6.0, 6.0, 6.0)) == BreakerSnapshot(6.0, 6.0, 6.0)
    assert GateSnapshot(0.0, 30.0, 90.0).merge(GateSnapshot(0.0, 60.0, 60.0)) == GateSnapshot(0.0, 60.0, 90.0)


def test_probes_that_failed_at_once_keep_the_breaker_open_for_one_pause() -> None:
    """Of two failed probes with the same count, the later one sets the start, so the pause only doubles."""
    one, other = BreakerSnapshot(5.0, 5.0, 35.0), BreakerSnapshot(5.0, 8.0, 38.0)
    assert one.merge(other) == other.merge(one) == other


def test_the_reason_is_that_of_the_longer_time() -> None:
    """Of two closed gates, the longer one sets the reason; after a reopening, no earlier reason stays."""
    short, long = GateSnapshot(0.0, 30.0, 90.0, "is busy"), GateSnapshot(0.0, 60.0, 60.0, "limits us")
    assert short.merge(long) == long.merge(short) == GateSnapshot(0.0, 60.0, 90.0, "limits us")
    assert long.merge(GateSnapshot(1.0, 1.0, 1.0)) == GateSnapshot(1.0, 1.0, 1.0)


def test_the_state_is_the_same_on_another_clock() -> None:
    """Every moment is as much later as the other clock is ahead."""
    assert BreakerSnapshot(5.0, 6.0, 20.0).shifted(10.0) == BreakerSnapshot(15.0, 16.0, 30.0)
    assert GateSnapshot(5.0, 30.0, 90.0, "is busy").shifted(10.0) == GateSnapshot(15.0, 40.0, 100.0, "is busy")


@given(
    st.none()
    | st.text()
    | st.lists(st.floats() | st.integers() | st.none() | st.text(), max_size=8)
    | st.tuples(*[st.floats()] * 6)
    | st.tuples(*[st.floats()] * 6, st.text())
    | st.dictionaries(st.text(), st.floats())
)
def test_any_content_of_the_cache_can_be_read(value: object) -> None:
    """For any content of the cache, the record has finite numbers and plausible times, or is ignored."""
    record = read(value, 1_700_000_000.0)
    assert all(math.isfinite(moment) for moment in (*record.breaker, *record.gate[:3]))
    assert record.gate.why.isprintable()
    assert max(record.breaker.changed, record.gate.reopened) <= 1_700_000_000 + HOUR


def test_invalid_records_are_ignored() -> None:
    """Records with too few or too many numbers, without numbers or from two hours in the future are ignored."""
    good = (5.0, 5.0, 20.0, 0.0, 0.0, 0.0)
    assert read(good, 10.0) == read(list(good), 10.0) == Record(BreakerSnapshot(5.0, 5.0, 20.0))
    for bad in (
        None,
        "x" * 6,
        good[:5],
        (*good, 1.0),
        (*good, "", 1.0),
        (True, *good[1:]),
        (math.nan, *good[1:]),
        (2 * HOUR, *good[1:]),
    ):
        assert read(bad, 10.0) == Record()
    assert read((5.0, 5.0, 1e300, 0.0, 0.0, 0.0), 10.0) == Record()  # of which no key could be made
    assert read((*good, "is busy"), 10.0).gate.why == "is busy"
    for why in ("\x1b[2J", "a\nb", "x" * 201, None, 5):
        assert read((*good, why), 10.0) == Record()


def test_keys_suit_every_cache() -> None:
    """Keys contain names unchanged and origins as a hash, so that no cache refuses them."""
    assert key_of("pypi") == "core.http:1:pypi"
    keys = {key_of("other", f"{scheme}://{host}") for scheme in ("http", "https") for host in ("a" * 500, "[::1]:80")}
    assert len(keys) == 4
    assert all(len(key) < 60 and key.isascii() and " " not in key for key in keys)
    # Processes of several releases share the records, so the keys stay as they are.
    assert key_of("other", "https://a.test") == "core.http:1:93fb074e7b13b63568afcc41e2ed3c4b"
