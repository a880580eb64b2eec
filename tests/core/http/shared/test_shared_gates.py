"""A pause that one process was asked for holds in all of them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from core.http import CircuitOpen, Policy, RateLimited
from core.http.engine.call import Call
from core.http.engine.steps import Send, Wait
from tests.core.http.engine.outage import answer
from tests.core.http.engine.world import GET, OK
from tests.core.http.shared.fleet import FRAGILE, HOUR, Fleet, Process


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
    with pytest.raises(RateLimited):  # its time ends within that second
        Call(second.upstream, GET, deadline=second.clock() + 0.5).begin()


def told_to_wait_for_two_hours(fleet: Fleet, policy: Policy = FRAGILE) -> tuple[Process, Process]:
    """Return two processes that may send the probe of their gate."""
    first, second = fleet.process(policy=policy), fleet.process(policy=policy)
    first.attempt(answer(429, Retry_After="7200"))
    for process in (first, second):
        process.exchange()
    fleet.wall.advance(HOUR)
    return first, second


def test_the_probe_at_the_gate_needs_no_breaker(fleet: Fleet) -> None:
    """A policy without one elects the process that sends the probe all the same."""
    first, second = told_to_wait_for_two_hours(fleet, Policy(circuit_breaker=None, retries=0))
    assert first.probe() is not None
    call, step = second.begin()
    assert step == Wait(0.1)
    second.shared.step()
    assert call.begin() == Wait(1.0)


def test_a_probe_at_the_gate_that_takes_its_time_is_not_given_up(fleet: Fleet) -> None:
    """While it is on its way no other process sends one; when it was cancelled, another may."""
    first, second = told_to_wait_for_two_hours(fleet)
    probe = first.probe()
    assert probe is not None
    fleet.wall.advance(5)
    first.exchange()
    with pytest.raises(RateLimited):  # at once: the process knows of its own probe
        Call(first.upstream, GET).begin()
    call, _ = second.begin()
    second.shared.step()
    assert call.begin() == Wait(1.0)
    call.cancel()
    probe.cancel()
    fleet.wall.advance(1.1)
    first.exchange()
    assert second.probe() is not None


def probe_in_vain(fleet: Fleet, *, winner: Process, loser: Process) -> None:
    """Let `winner` send the probe of the gate, which is limited again, while `loser` waits for it."""
    probe = winner.probe()
    assert probe is not None
    call, _ = loser.begin()
    loser.shared.step()
    assert call.begin() == Wait(1.0)
    call.cancel()
    probe.end(answer(429, Retry_After="7200"))
    for process in (winner, loser):
        process.exchange()
    fleet.wall.advance(HOUR)


def test_after_three_lost_elections_at_the_gate_a_process_probes(fleet: Fleet) -> None:
    """As at a breaker: after three probes of other processes, a process sends the fourth without an election."""
    first, second = told_to_wait_for_two_hours(fleet)
    for _ in range(3):
        probe_in_vain(fleet, winner=first, loser=second)
    call, step = second.begin()
    assert isinstance(step, Send)
    call.end(answer(429, Retry_After="7200"))
    second.exchange()
    fleet.wall.advance(HOUR)
    assert second.begin()[1] == Wait(0.1)  # it counts from the beginning


def test_a_won_election_resets_the_count_of_lost_ones(fleet: Fleet) -> None:
    """Only a process that lost three elections in a row sends a probe without having won one."""
    first, second = told_to_wait_for_two_hours(fleet)
    for winner, loser in ((first, second), (first, second), (second, first), (first, second)):
        probe_in_vain(fleet, winner=winner, loser=loser)
    assert second.begin()[1] == Wait(0.1)


def test_who_waits_for_the_probe_of_another_holds_no_slot(fleet: Fleet) -> None:
    """The slot is for a call that may send, for example with another credential."""
    first, second = told_to_wait_for_two_hours(fleet, replace(FRAGILE, max_concurrency=1))
    assert first.probe() is not None
    call, _ = second.begin()
    second.shared.step()
    assert call.begin() == Wait(1.0)
    assert isinstance(Call(second.upstream.part("t"), GET).begin(), Send)


def test_who_waits_at_the_gate_holds_no_election(fleet: Fleet) -> None:
    """A call that may not send keeps no call with another credential from the probe of the breaker."""
    process = fleet.process()
    process.share_partition("t")
    process.find_it_down()
    process.upstream.part("t").gate.close(process.clock(), 300)
    fleet.wall.advance(15)
    with pytest.raises(RateLimited):
        Call(process.upstream.part("t"), GET).begin()
    process.shared.step()
    assert fleet.probes == []


def test_the_pause_of_one_credential_concerns_no_other(fleet: Fleet) -> None:
    """While the upstream is up, a call with another credential neither waits nor holds an election."""
    process = fleet.process()
    process.share_partition("t")
    process.upstream.gate.close(process.clock(), 300)
    process.exchange()
    assert isinstance(Call(process.upstream.part("t"), GET).begin(), Send)


def test_one_process_probes_with_a_credential_while_calls_without_one_pause(fleet: Fleet) -> None:
    """A pause of calls without a credential does not let every process send a probe with its credential."""
    processes = [fleet.process() for _ in range(2)]
    for process in processes:
        process.share_partition("t")
    processes[0].find_it_down()
    processes[0].upstream.gate.close(processes[0].clock(), 300)
    for process in processes:
        process.exchange()
    fleet.wall.advance(15)
    calls = [Call(process.upstream.part("t"), GET) for process in processes]
    for process, call in zip(processes, calls, strict=True):
        assert call.begin() == Wait(0.1)
        process.shared.step()
    assert isinstance(calls[0].begin(), Send)
    with pytest.raises(CircuitOpen):
        calls[1].begin()
