"""A pause that one process was asked for holds in all of them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from core.http import RateLimited
from core.http.engine.call import Call
from core.http.engine.steps import Wait
from tests.core.http.engine.outage import answer
from tests.core.http.engine.world import GET, OK
from tests.core.http.shared.fleet import HOUR, Fleet


def test_a_pause_of_one_process_applies_to_all(fleet: Fleet) -> None:
    """A Retry-After that one process received pauses all processes until the same time."""
    first, second = fleet.process(1000), fleet.process(77)
    first.attempt(answer(429, Retry_After="300"))
    first.exchange()
    fleet.wall.advance(100)
    second.exchange()
    assert second.upstream.gate.closed_for(second.clock(), fleet) == pytest.approx(200)
    with pytest.raises(RateLimited):
        Call(second.upstream, GET).begin()


def test_the_reason_is_the_same_in_every_process(fleet: Fleet) -> None:
    """Another process says why nothing is sent in the same words; a reason of the usual kind is stored by none."""
    first, second = fleet.process(), fleet.process()
    first.attempt(replace(answer(429, Retry_After="300"), why="allows\x1b ten calls an hour" + "x" * 500))
    first.exchange()
    second.exchange()
    told = [gate.refused(1.0).why for gate in (first.upstream.gate, second.upstream.gate)]
    assert told == ["the upstream allows ten calls an hour" + "x" * (200 - len("allows ten calls an hour"))] * 2
    third = fleet.process()
    third.attempt(answer(429, Retry_After="600"))
    for process in (third, second):
        process.exchange()
    assert second.upstream.gate.refused(1.0).why == "the upstream asked for a pause"
    assert len(fleet.cache.values["core.http:1:example"]) == 6


@pytest.mark.parametrize("uptimes", [(1000.0, 1000.0), (1000.0, 77.0), (77.0, 1000.0)], ids=str)
def test_the_longer_time_at_the_gate_wins(fleet: Fleet, uptimes: tuple[float, float]) -> None:
    """If two processes received different times, both use the longer one, in any order."""
    first, second = (fleet.process(uptime) for uptime in uptimes)
    first.attempt(answer(429, Retry_After="300"))
    second.attempt(answer(429, Retry_After="30"))
    for process in (first, second, first):
        process.exchange()
    assert first.upstream.gate.closed_for(first.clock(), fleet) == pytest.approx(300)
    assert second.upstream.gate.closed_for(second.clock(), fleet) == pytest.approx(300)


def test_a_gate_that_a_probe_opened_is_open_for_all(fleet: Fleet) -> None:
    """After the hour one process asks again; its answer opens the gate of the others, and a later limit closes it."""
    first, second = fleet.process(), fleet.process()
    first.attempt(answer(429, Retry_After="86400"))
    for process in (first, second):
        process.exchange()
    fleet.wall.advance(HOUR)
    probe = second.probe()
    assert probe is not None
    probe.end(OK)
    second.exchange()
    first.exchange()
    assert [first.upstream.gate.closed_for(first.clock(), fleet) for _ in range(2)] == [0, 0]
    first.attempt(answer(429, Retry_After="60"))
    first.exchange()
    second.exchange()
    assert second.upstream.gate.closed_for(second.clock(), fleet) == pytest.approx(60)


def test_the_probe_at_the_gate_is_one_for_the_fleet(fleet: Fleet) -> None:
    """After the hour, one process sends a probe; a call of another waits one second, or is refused for that time."""
    first, second = fleet.process(), fleet.process()
    first.attempt(answer(429, Retry_After="86400"))
    for process in (first, second):
        process.exchange()
    fleet.wall.advance(HOUR)
    assert first.probe() is not None
    call, step = second.begin()
    assert step == Wait(0.1)
    second.shared.step()
    assert call.begin() == Wait(1.0)
