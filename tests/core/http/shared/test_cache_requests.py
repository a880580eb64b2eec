"""How often the shared cache is read and written, and for what."""

from __future__ import annotations

import pytest

from core.http.engine.steps import Send
from core.http.events import BreakerState, GateClosed
from core.http.shared.background_sync import INTERVAL
from tests.core.http.engine.world import GET, OK
from tests.core.http.shared.fleet import Fleet, Several


def test_a_quiet_round_costs_one_look(fleet: Fleet) -> None:
    """If the cache has the same state, a round costs one read and no write."""
    first, second = fleet.process(), fleet.process()
    first.exchange()
    assert fleet.cache.asked == ["get"]
    assert fleet.cache.values == {}
    first.find_it_down()
    second.exchange()
    first.exchange()  # which sees that its news are there
    fleet.cache.asked.clear()
    for _ in range(5):
        first.exchange()
        second.exchange()
        fleet.wall.advance(INTERVAL)
    assert fleet.cache.asked == ["get"] * 10


def test_an_election_does_not_wait_for_the_end_of_a_round(fleet: Fleet) -> None:
    """One that is requested while records are exchanged is decided after the next of them."""
    process = fleet.process()
    process.find_it_down()
    fleet.wall.advance(15)
    plain, calls = fleet.cache.get, []

    def get(key: str) -> object:
        fleet.cache.get = plain  # type: ignore[method-assign]
        calls.append(process.begin()[0])
        return plain(key)

    fleet.cache.get = get  # type: ignore[method-assign]
    process.exchange()
    assert isinstance(calls[0].begin(), Send)


def test_an_election_that_was_lost_costs_nothing_later(fleet: Fleet) -> None:
    """Only a process that has won looks whether the turn is still its own."""
    first, second = fleet.process(), fleet.process()
    first.find_it_down()
    second.exchange()
    fleet.wall.advance(15)
    assert first.probe() is not None
    assert second.probe() is None
    fleet.wall.advance(1.1)
    fleet.cache.asked.clear()
    second.exchange()
    assert fleet.cache.asked == ["get"]


def test_records_expire_after_their_breaker_may_send_again(fleet: Fleet) -> None:
    """A record expires ten minutes after its breaker may send again, but after one day at most."""
    process = fleet.process()
    process.find_it_down()
    assert fleet.cache.timeouts["core.http:1:example"] == 15 + 600
    process.upstream.gate.close(process.clock(), 1e9)
    process.exchange()
    assert fleet.cache.timeouts["core.http:1:example"] == 86_400 + 600


def test_open_breakers_are_written_again_to_an_emptied_cache(fleet: Fleet) -> None:
    """Open breakers are written again; closed ones are not, because each process would write them forever."""
    first, second = fleet.process(), fleet.process()
    first.find_it_down()
    fleet.cache.values.clear()
    first.exchange()
    second.exchange()
    assert second.state is BreakerState.OPEN
    fleet.wall.advance(15)
    probe = first.probe()
    assert probe is not None
    probe.end(OK)
    first.exchange()
    first.exchange()
    fleet.cache.values.clear()
    first.exchange()
    assert fleet.cache.values == {}


def test_changes_during_an_outage_of_the_cache_are_written_later(fleet: Fleet) -> None:
    """A change during an outage of the cache, even to closed, reaches the other processes after it."""
    first, second = fleet.process(), fleet.process()
    first.find_it_down()
    second.exchange()
    fleet.cache.error = ConnectionError("down")
    fleet.wall.advance(15)
    first.exchange()
    first.attempt(OK)
    first.exchange()
    fleet.cache.error = None
    first.exchange()
    second.exchange()
    assert (first.state, second.state) == (BreakerState.CLOSED, BreakerState.CLOSED)


def test_the_cache_is_read_at_once_after_a_failure(fleet: Fleet) -> None:
    """After a failure, a process reads the state of the others at once, without waiting for the next half second."""
    first, second = fleet.process(), fleet.process()
    second.exchange()
    first.find_it_down()
    fleet.wall.advance(0.1)
    second.shared.step()
    assert second.state is BreakerState.CLOSED
    second.attempt()
    second.shared.step()
    assert second.state is BreakerState.OPEN


@pytest.mark.parametrize("what", ["breaker", "gate", "election"])
def test_the_thread_is_woken_for_news_and_elections(fleet: Fleet, what: str) -> None:
    """A breaker that opened, a pause and an election do not wait for the next round."""
    process = fleet.process()
    process.exchange()
    process.shared._soonest = process.clock() + 0.05  # as after the exchange for another failure
    if what == "breaker":
        process.attempt()
        process.attempt()
        process.shared.step()
        assert fleet.cache.values["core.http:1:example"][2] > fleet.wall.now
    elif what == "gate":
        process.upstream.gate.close(process.clock(), 300)
        process.shared.observe(GateClosed("example", GET, 300.0))
        fleet.wall.advance(0.06)
        process.shared.step()
        assert fleet.cache.values["core.http:1:example"][4] > fleet.wall.now
    else:
        process.find_it_down()
        fleet.wall.advance(15)
        while not process.shared._wake.empty():
            process.shared._wake.get()
        process.begin()
    assert not process.shared._wake.empty()


def test_after_the_end_nothing_is_kept(fleet: Fleet) -> None:
    """Calls that outlive the sharing of their process ask for no exchange and need no election."""
    process = fleet.process()
    process.find_it_down()
    process.shared.stop()
    fleet.wall.advance(15)
    size = process.shared._wake.qsize()
    process.attempt()
    assert process.shared._wake.qsize() == size
    assert process.shared._urgent == set()


def test_a_success_asks_for_nothing(fleet: Fleet) -> None:
    """Neither does a call that is cancelled: only failures are a reason to look before the next round."""
    process = fleet.process()
    process.exchange()
    fleet.cache.asked.clear()
    process.attempt(OK)
    process.begin()[0].cancel()
    fleet.wall.advance(0.1)
    process.shared.step()
    assert fleet.cache.asked == []


def test_a_failure_asks_about_one_upstream(fleet: Fleet) -> None:
    """With any number of upstreams, a failure costs one read, of the record of that upstream."""
    several = Several(fleet)
    several.shared.step()
    several.others_find_all_down()
    fleet.cache.asked.clear()
    several.fail(1)
    several.shared.step()
    assert fleet.cache.asked == ["get"]
    assert several.down == [1]
    fleet.wall.advance(INTERVAL)
    several.shared.step()
    assert several.down == [0, 1, 2]


def test_failures_ask_twenty_times_a_second_at_most(fleet: Fleet) -> None:
    """The state of several failing upstreams is read together, at most twenty times a second."""
    several = Several(fleet)
    several.shared.step()
    fleet.cache.asked.clear()
    for number in (0, 1, 2):
        several.fail(number)
        several.shared.step()
    assert fleet.cache.asked == ["get"]
    assert several.shared._next == pytest.approx(fleet.wall.now - 1_700_000_000 + 1000.05)
    fleet.wall.advance(0.06)
    several.shared.step()
    several.shared.step()
    assert fleet.cache.asked == ["get"] * 3
    assert several.shared._next == pytest.approx(1000 + INTERVAL)
