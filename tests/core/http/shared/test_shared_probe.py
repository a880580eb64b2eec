"""Of all processes one sends the probe."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest

from core.http import CircuitOpen
from core.http.engine.call import Call
from core.http.engine.steps import Send, Wait
from core.http.outcome import Outcome, Reason, failed
from tests.core.http.engine.call_helpers import SILENT
from tests.core.http.engine.world import BUSY, GET, OK
from tests.core.http.shared.fleet import FRAGILE, Fleet


def test_the_fleet_sends_one_probe(fleet: Fleet) -> None:
    """Of three processes with half-open breakers, the first one sends the probe, and the others wait."""
    processes = [fleet.process() for _ in range(3)]
    processes[0].find_it_down()
    for process in processes:
        process.exchange()
    fleet.wall.advance(15)
    assert [process.probe() is not None for process in processes[1:] + processes[:1]] == [True, False, False]
    with pytest.raises(CircuitOpen):  # at once: who lost does not ask again within a second
        Call(processes[2].upstream, GET).begin()


def test_a_process_without_a_free_slot_does_not_ask(fleet: Fleet) -> None:
    """A process without a free slot does not take part, because it could not send the probe."""
    busy, idle = (fleet.process(policy=replace(FRAGILE, max_concurrency=1)) for _ in range(2))
    streamed = Call(busy.upstream, GET)
    streamed.begin()
    place = streamed.keep_slot()
    streamed.end(OK)
    assert place is not None
    idle.find_it_down()
    busy.exchange()
    fleet.wall.advance(15)
    waiting, step = busy.begin()
    assert step == Wait(0.1)
    busy.shared.step()
    assert fleet.probes == []
    place.leave()
    assert waiting.begin() == Wait(0.1)
    assert idle.probe() is not None
    busy.shared.step()
    with pytest.raises(CircuitOpen):
        waiting.begin()


def test_a_call_in_a_hurry_does_not_ask_for_a_probe_that_is_for_others(fleet: Fleet) -> None:
    """It is refused at once, and neither waits for a slot nor keeps other processes from the probe."""
    process = fleet.process(policy=replace(FRAGILE, max_concurrency=1))
    process.find_it_down()
    fleet.wall.advance(15)
    call = Call(process.upstream, GET, attempt_timeout=0.1)
    assert call.begin() == Wait(0.1)
    process.shared.step()
    assert isinstance(call.begin(), Send)
    place = call.keep_slot()
    call.end(SILENT)
    fleet.wall.advance(15)
    fleet.cache.asked.clear()
    with pytest.raises(CircuitOpen):
        Call(process.upstream, GET, attempt_timeout=0.1).begin()
    process.shared.step()
    assert "add" not in fleet.cache.asked
    assert place is not None
    place.leave()
    assert process.probe() is not None


def test_a_process_that_loses_again_and_again_probes_in_the_end(fleet: Fleet) -> None:
    """One that cannot reach the upstream, for want of a network, wins every election: the fourth probe is another's."""
    broken, sound = fleet.process(), fleet.process()
    broken.find_it_down()
    sound.exchange()
    sent = []
    for _ in range(4):
        fleet.wall.advance(max(broken.retry_in, sound.retry_in))
        probe = broken.probe()
        _, step = sound.begin() if len(sent) == 3 else (None, None)
        sent.append(isinstance(step, Send))
        if step is None:
            assert sound.probe() is None
            fleet.wall.advance(1.5)
            assert sound.probe() is None  # the same probe: not a further defeat
        assert probe is not None
        probe.end(BUSY)
        broken.exchange()
        sound.exchange()
    assert sent == [False, False, False, True]


def test_calls_of_one_process_ask_together(fleet: Fleet) -> None:
    """Many calls that come at once hold one election, and one of them is the probe."""
    process = fleet.process()
    process.find_it_down()
    fleet.wall.advance(15)
    calls = [process.begin()[0] for _ in range(5)]
    process.shared.step()
    assert isinstance(calls[2].begin(), Send)
    for call in calls[:2] + calls[3:]:
        with pytest.raises(CircuitOpen):
            call.begin()
    assert fleet.cache.asked.count("add") == 1


def test_a_decision_wakes_the_waiting_call(fleet: Fleet) -> None:
    """A call that waits for the decision is woken as soon as it is made."""
    process = fleet.process()
    process.find_it_down()
    fleet.wall.advance(15)
    woken = threading.Event()
    _, step = process.begin()
    assert isinstance(step, Wait)
    assert step.for_turn
    with process.upstream.waking(woken.set):
        process.shared.step()
    assert woken.is_set()


def test_an_election_that_takes_too_long_is_ignored(fleet: Fleet) -> None:
    """After 100 ms without a decision each process sends its own probe, as it would without a cache."""
    process = fleet.process()
    process.find_it_down()
    fleet.wall.advance(15)
    call, step = process.begin()
    assert step == Wait(0.1)
    fleet.wall.advance(0.06)
    step = call.begin()  # type: ignore[assignment]
    assert isinstance(step, Wait)
    assert step.seconds == pytest.approx(0.04, abs=1e-3)
    fleet.wall.advance(0.05)
    assert isinstance(call.begin(), Send)


def test_waiting_for_an_election_does_not_outlast_the_call(fleet: Fleet) -> None:
    """A call of which 50 ms are left waits no longer than that."""
    process = fleet.process()
    process.find_it_down()
    fleet.wall.advance(15)
    step = Call(process.upstream, GET, deadline=process.clock() + 0.05).begin()
    assert isinstance(step, Wait)
    assert step.seconds == pytest.approx(0.05)


def test_no_election_is_held_while_the_cache_is_silent(fleet: Fleet) -> None:
    """While the thread has waited for the cache for 100 ms, or the cache has failed, probes go at once."""
    process = fleet.process()
    process.find_it_down()
    fleet.wall.advance(15)
    process.shared._busy_since = process.clock() - 0.11
    assert isinstance(process.begin()[1], Send)
    other = fleet.process()
    other.exchange()
    fleet.cache.error = OSError("down")
    other.exchange()
    assert isinstance(other.begin()[1], Send)


def test_an_election_that_the_cache_breaks_off_is_won_by_all(fleet: Fleet) -> None:
    """If the cache fails during an election, each process sends its probe."""
    process = fleet.process()
    process.find_it_down()
    fleet.wall.advance(15)
    call, _ = process.begin()
    fleet.cache.error = OSError("down")
    process.shared.step()
    assert isinstance(call.begin(), Send)


def test_a_waiting_call_is_woken_when_the_cache_fails(fleet: Fleet) -> None:
    """A call that waits for the decision is woken as soon as the cache has failed."""
    process = fleet.process()
    process.find_it_down()
    fleet.wall.advance(15)
    woken = threading.Event()
    call, _ = process.begin()
    fleet.cache.error = OSError("down")
    with process.upstream.waking(woken.set):
        process.shared.step()
    assert woken.is_set()
    assert isinstance(call.begin(), Send)


def test_a_host_that_is_not_shared_has_no_election(fleet: Fleet) -> None:
    """The probe of a host whose state is not shared is sent without waiting for a decision."""
    process = fleet.process()
    process.find_it_down()
    process.shared._upstreams = dict
    process.exchange()
    assert not process.shared._failing
    fleet.wall.advance(15)
    assert isinstance(process.begin()[1], Send)


def test_the_outcome_of_another_probe_ends_an_election(fleet: Fleet) -> None:
    """If another process has already sent the probe, its outcome counts, and there is no election."""
    first, second = fleet.process(), fleet.process()
    first.find_it_down()
    second.exchange()
    fleet.wall.advance(15)
    probe = first.probe()
    assert probe is not None
    probe.end(BUSY)
    first.exchange()
    call, step = second.begin()
    assert step == Wait(0.1)
    second.shared.step()
    with pytest.raises(CircuitOpen):
        call.begin()
    assert fleet.cache.asked.count("add") == 1
    assert second.retry_in == pytest.approx(30)


@pytest.mark.parametrize("outcome", [None, failed(Reason.BLOCKED, "no", transient=False)])
def test_a_probe_that_came_to_nothing_is_left_to_others(fleet: Fleet, outcome: Outcome | None) -> None:
    """One that was cancelled, or says nothing of the upstream, gives its turn back; another process sends the next."""
    first, second = fleet.process(), fleet.process()
    first.find_it_down()
    second.exchange()
    fleet.wall.advance(15)
    probe = first.probe()
    assert probe is not None
    fleet.wall.advance(5)
    first.exchange()
    assert second.probe() is None  # the first one's is still on its way
    if outcome is None:
        probe.cancel()
    else:
        probe.end(outcome)
    fleet.wall.advance(1.1)
    first.exchange()
    assert fleet.probes == []
    assert second.probe() is not None


def test_a_turn_that_another_process_has_by_now_stays_its_own(fleet: Fleet) -> None:
    """A process that sends nothing for so long that its turn has expired does not give away the turn of the next."""
    first, second, third = fleet.process(), fleet.process(), fleet.process()
    first.find_it_down()
    for process in (second, third):
        process.exchange()
    fleet.wall.advance(15)
    probe = first.probe()
    assert probe is not None
    probe.cancel()
    for key in fleet.probes:  # expired
        del fleet.cache.values[key]
    assert second.probe() is not None
    fleet.wall.advance(1.1)
    first.exchange()
    assert third.probe() is None
    assert first.probe() is None


def test_the_winner_may_send_the_next_probe_too(fleet: Fleet) -> None:
    """After a probe without a result, its process may send the next one without another election."""
    process, other = fleet.process(), fleet.process()
    process.find_it_down()
    other.exchange()
    fleet.wall.advance(15)
    probe = process.probe()
    assert probe is not None
    probe.cancel()
    assert isinstance(process.begin()[1], Send)
    fleet.wall.advance(6)
    assert other.probe() is None


def test_a_winner_renews_its_key(fleet: Fleet) -> None:
    """A winner renews its key before another probe, so that no other process takes it; its own key does not stop it."""
    process = fleet.process()
    process.find_it_down()
    fleet.wall.advance(15)
    probe = process.probe()
    assert probe is not None
    fleet.wall.advance(9)
    probe.cancel()
    fleet.cache.asked.clear()
    assert process.probe() is not None
    assert fleet.cache.asked.count("set") == 1


def test_a_killed_winner_does_not_block_others_for_long(fleet: Fleet) -> None:
    """The key of a killed winner expires soon after the end of its attempt."""
    first = fleet.process()
    first.find_it_down()
    fleet.wall.advance(15)
    assert first.probe() is not None
    (key,) = fleet.probes
    assert fleet.cache.timeouts[key] == 15
