"""A breaker that one process opens is open in all of them."""

from __future__ import annotations

import logging
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from core.http import CircuitOpen, Policy
from core.http.engine.call import Call
from core.http.engine.mergeable_state import BreakerSnapshot, GateSnapshot
from core.http.engine.steps import Send, Wait
from core.http.events import Audience, BreakerChanged, BreakerFollowed, BreakerState
from core.http.observers.logs import log_event
from core.http.observers.prometheus import PrometheusObserver
from core.http.outcome import Outcome
from tests.core.http.engine.world import BUSY, GET, OK
from tests.core.http.shared.fleet import HOUR, Fleet


def test_an_outage_found_by_one_process_applies_to_all(fleet: Fleet) -> None:
    """After two failures in one process, the breaker of the other is open without a failure, until the same time."""
    first, second = fleet.process(1000), fleet.process(77)
    first.find_it_down()
    fleet.wall.advance(5)
    second.exchange()
    assert second.state is BreakerState.OPEN
    assert second.retry_in == pytest.approx(10)
    assert second.events == [BreakerFollowed("example", "", BreakerState.CLOSED, BreakerState.OPEN, pytest.approx(10))]
    with pytest.raises(CircuitOpen):
        Call(second.upstream, GET).begin()


def test_a_change_of_another_process_is_not_counted_twice(fleet: Fleet) -> None:
    """An opened breaker is counted in the process that opened it; the others only export its state."""
    first, second = fleet.process(), fleet.process()
    first.find_it_down()
    for _ in range(3):
        second.exchange()
        first.exchange()
    assert [event.state for event in first.events if isinstance(event, BreakerChanged)] == [BreakerState.OPEN]
    assert first.followed == []
    assert second.followed == [(BreakerState.CLOSED, BreakerState.OPEN)]
    assert [event for event in second.events if isinstance(event, BreakerChanged)] == []


def test_following_is_logged_and_counted_as_a_state(caplog: pytest.LogCaptureFixture) -> None:
    """INFO, not WARNING; the gauge of states moves, the counter of transitions does not."""
    caplog.set_level(logging.INFO, "core.http")
    collected = CollectorRegistry()
    audience = Audience((log_event, PrometheusObserver(collected, ())))
    audience.tell(BreakerFollowed("pypi", "", BreakerState.CLOSED, BreakerState.OPEN, 12.4))
    audience.tell(BreakerFollowed("other", "a.test", BreakerState.OPEN, BreakerState.CLOSED, 0.0))
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("INFO", "Breaker of upstream pypi opens because it opened in another process: nothing is sent for 12 s"),
        (
            "INFO",
            (
                "Breaker of upstream other (a.test) closes because it closed in another process: "
                "the upstream answers again"
            ),
        ),
    ]
    labels = {"upstream": "pypi", "state": "open"}
    assert collected.get_sample_value("outbound_http_breaker_state", labels) == 1
    assert collected.get_sample_value("outbound_http_breaker_transitions_total", labels) == 0


def test_opening_wakes_who_waits_in_the_other_process(fleet: Fleet) -> None:
    """A call in backoff there ends at once, as it does in the process that found it."""
    first, second = fleet.process(), fleet.process()
    woken = threading.Event()
    first.find_it_down()
    with second.upstream.waking(woken.set):
        second.exchange()
    assert woken.is_set()


def test_closing_is_taken_over(fleet: Fleet) -> None:
    """The answer to one process's probe lets all send again, with a clean slate."""
    first, second, third = fleet.process(), fleet.process(), fleet.process()
    first.find_it_down()
    second.exchange()
    fleet.wall.advance(15)
    probe = second.probe()
    assert probe is not None
    probe.end(OK)
    for process in (second, first, third):
        process.exchange()
    assert [process.state for process in (first, second, third)] == [BreakerState.CLOSED] * 3
    assert first.followed == [(BreakerState.OPEN, BreakerState.CLOSED)]
    assert third.followed == []
    first.attempt()
    assert first.state is BreakerState.CLOSED


def test_closing_is_adopted_before_the_probe_is_due(fleet: Fleet) -> None:
    """After another process found that the upstream answers, no process waits for the end of the 15 s."""
    process = fleet.process()
    process.find_it_down()
    fleet.wall.advance(5)
    now = fleet.wall.now
    fleet.cache.values["core.http:1:example"] = (now, now, now, 0.0, 0.0, 0.0)
    process.exchange()
    assert isinstance(process.begin()[1], Send)
    assert process.events[-2] == BreakerFollowed("example", "", BreakerState.OPEN, BreakerState.CLOSED, 0.0)


def test_a_breaker_that_is_forgotten_meanwhile_is_not_counted(fleet: Fleet) -> None:
    """The end of its state was told already: what it would have followed is no change of any state."""
    first, second = fleet.process(), fleet.process()
    first.find_it_down()
    breaker = second.upstream.breaker
    assert breaker is not None
    adopt = breaker.adopt

    def forgotten(seen: BreakerSnapshot, snapshot: BreakerSnapshot) -> BreakerState | None:
        second.upstream.forget()
        return adopt(seen, snapshot)

    breaker.adopt = forgotten  # type: ignore[method-assign]
    second.exchange()
    assert second.followed == []


def test_a_failed_probe_doubles_the_open_time_for_all(fleet: Fleet) -> None:
    """After a failed probe, all processes double the open time, and again after the next one."""
    first, second = fleet.process(), fleet.process()
    first.find_it_down()
    second.exchange()
    for sender, other, seconds in ((second, first, 30), (first, second, 60)):
        fleet.wall.advance(max(first.retry_in, second.retry_in))
        probe = sender.probe()
        assert probe is not None
        probe.end(BUSY)
        sender.exchange()
        other.exchange()
        assert sender.retry_in == pytest.approx(seconds)
        assert other.retry_in == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("answers", "state"), [((OK, BUSY), BreakerState.OPEN), ((BUSY, OK), BreakerState.CLOSED)], ids=["fails", "answers"]
)
@pytest.mark.parametrize("first_told", ["quick", "slow"])
def test_of_two_probes_the_later_answer_counts(
    fleet: Fleet, answers: tuple[Outcome, Outcome], state: BreakerState, first_told: str
) -> None:
    """Of two probes, the one that ended last counts, not the one that started last."""
    slow, quick = fleet.process(), fleet.process()
    slow.find_it_down()
    quick.exchange()
    fleet.wall.advance(15)
    slow_probe = slow.probe()
    assert slow_probe is not None
    fleet.wall.advance(1)
    quick.shared._busy_since = quick.clock() - 0.11  # the cache is silent there, so it sends a probe of its own
    quick_probe, step = quick.begin()
    assert isinstance(step, Send)
    for probe, answered in zip((quick_probe, slow_probe), answers, strict=True):
        probe.end(answered)
        fleet.wall.advance(1)
    for process in [quick, slow, quick] if first_told == "quick" else [slow, quick, slow]:
        process.exchange()
    assert (slow.state, quick.state) == (state, state)


def test_late_answers_do_not_change_the_state_of_another_process(fleet: Fleet) -> None:
    """Answers to requests from before another process opened the breaker do not change its state."""
    first, second = fleet.process(), fleet.process()
    late, _ = second.begin()
    first.find_it_down()
    second.exchange()
    late.end(OK)
    assert second.state is BreakerState.OPEN


def test_a_later_change_of_this_process_is_not_overwritten(fleet: Fleet) -> None:
    """A change that a call made after the cache was read is the later one, and stays."""
    process = fleet.process()
    assert process.upstream.breaker is not None
    seen = process.upstream.breaker.snapshot
    process.attempt()
    process.attempt()
    assert process.upstream.breaker.adopt(seen, BreakerSnapshot(1.0, 1.0, 1.0)) is None
    assert process.state is BreakerState.OPEN
    gate = process.upstream.gate
    seen = gate.snapshot
    gate.close(process.clock(), 30)
    assert not gate.adopt(seen, GateSnapshot())
    assert gate.is_closed(process.clock())


@pytest.mark.parametrize("wrong_by", [-1800.0, -5.0, 5.0, 1800.0])
def test_wrong_clocks_do_not_undo_a_change(fleet: Fleet, wrong_by: float) -> None:
    """A change counts as later than those that its process had read, even if its clock is behind."""
    right, wrong = fleet.process(), fleet.process(wrong_by=wrong_by)
    right.find_it_down()
    wrong.exchange()
    fleet.wall.advance(max(wrong.retry_in, right.retry_in, 0))
    probe = wrong.probe()
    assert probe is not None
    probe.end(OK)
    wrong.exchange()
    right.exchange()
    wrong.exchange()
    assert (right.state, wrong.state) == (BreakerState.CLOSED, BreakerState.CLOSED)


@given(moments=st.tuples(*[st.floats(-1e12, 1e12) | st.floats(1_699_990_000, 1_700_090_000)] * 6))
def test_no_record_closes_for_longer_than_this_process_would(moments: tuple[float, ...]) -> None:
    """Open for five minutes at most, closed for an hour at most, and never in an impossible state."""
    fleet = Fleet()
    process = fleet.process()
    fleet.cache.values["core.http:1:example"] = moments
    process.exchange()
    assert process.state in {BreakerState.CLOSED, BreakerState.OPEN}
    assert process.retry_in <= 300
    assert process.upstream.gate.closed_for(process.clock(), fleet) <= HOUR + 1e-6


def test_a_breaker_that_was_forgotten_is_exchanged_no_more(fleet: Fleet) -> None:
    """After its last change was told there is nothing to tell, and the exchange of the others goes on."""
    process = fleet.process()
    process.find_it_down()
    process.upstream.forget()
    process.exchange()
    assert not process.shared._failing


def test_a_breaker_that_is_off_stays_off(fleet: Fleet) -> None:
    """A process whose policy has no breaker leaves the record as it is, and sends on."""
    first, second = fleet.process(), fleet.process(policy=Policy(circuit_breaker=None, retries=0))
    first.find_it_down()
    before = dict(fleet.cache.values)
    second.exchange()
    second.attempt(OK)
    second.exchange()
    assert fleet.cache.values == before


def test_defeats_of_an_outage_that_is_over_do_not_count(fleet: Fleet) -> None:
    """A process that left three probes to others does not send one of its own at the start of the next outage."""
    first, second = fleet.process(), fleet.process()
    for answered in (BUSY, BUSY, OK):
        if first.state is BreakerState.CLOSED:
            first.find_it_down()
            second.exchange()
        fleet.wall.advance(first.retry_in)
        probe = first.probe()
        assert probe is not None
        assert second.probe() is None
        probe.end(answered)
        for process in (first, second):
            process.exchange()
    first.find_it_down()
    second.exchange()
    fleet.wall.advance(15)
    assert second.begin()[1] == Wait(0.1)
