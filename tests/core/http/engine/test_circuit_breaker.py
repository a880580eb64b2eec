"""The circuit breaker, state by state: given, when, then. And what holds whatever happens."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from core.http.engine.attempt_health import Health
from core.http.engine.circuit_breaker import Breaker, Permit
from core.http.events import BreakerState
from core.http.policy import CircuitBreaker
from core.http.testing import FakeClock

SUCCESS, FAILURE, NEITHER = Health.SUCCESS, Health.FAILURE, Health.NEITHER


class Patient:
    """A breaker on a fake clock."""

    def __init__(self, settings: CircuitBreaker | None = None) -> None:
        self.clock = FakeClock(1000.0)
        self.breaker = Breaker(settings or CircuitBreaker())

    @property
    def state(self) -> BreakerState:
        return self.breaker.state

    def permit(self) -> Permit:
        permit = self.breaker.acquire(self.clock.now, 10.0)
        assert permit is not None
        return permit

    def refuses(self) -> bool:
        return self.breaker.acquire(self.clock.now, 10.0) is None

    def attempt(self, verdict: Health, times: int = 1) -> BreakerState | None:
        """Make attempts; return what the last one led to."""
        state = None
        for _ in range(times):
            state = self.breaker.record(self.permit(), verdict, self.clock.now)
        return state

    def report(self, permit: Permit, verdict: Health) -> BreakerState | None:
        return self.breaker.record(permit, verdict, self.clock.now)


def a_closed_one(settings: CircuitBreaker | None = None) -> Patient:
    return Patient(settings)


def an_open_one(settings: CircuitBreaker | None = None) -> Patient:
    patient = Patient(settings)
    while patient.state is BreakerState.CLOSED:
        patient.attempt(FAILURE)
    return patient


def a_half_open_one() -> tuple[Patient, Permit]:
    """Return one whose probe is on its way."""
    patient = an_open_one()
    patient.clock.advance(15)
    return patient, patient.permit()


# Closed


def test_closed_lets_everyone_through() -> None:
    """Given a closed breaker, when many ask at once, then each gets leave."""
    patient = a_closed_one()
    assert [patient.refuses() for _ in range(100)] == [False] * 100


def test_closed_probe_at_the_tenth_failure_in_a_row() -> None:
    """Given a closed breaker, when nine attempts fail it stays closed, and at the tenth it opens."""
    patient = a_closed_one()
    assert patient.attempt(FAILURE, 9) is None
    assert patient.state is BreakerState.CLOSED
    assert patient.attempt(FAILURE) is BreakerState.OPEN
    assert patient.state is BreakerState.OPEN


def test_closed_counts_slow_failures_of_one_thread() -> None:
    """Given failures 29 s apart, when the tenth comes, then it opens: attempts of 10 s and backoff take minutes."""
    patient = a_closed_one()
    for _ in range(9):
        assert patient.attempt(FAILURE) is None
        patient.clock.advance(29)
    assert patient.attempt(FAILURE) is BreakerState.OPEN


@pytest.mark.parametrize(("pause", "opened"), [(30, BreakerState.OPEN), (30.5, None)])
def test_closed_begins_a_row_anew_after_a_pause(pause: float, opened: BreakerState | None) -> None:
    """Given nine failures, when the tenth comes more than 30 s after the ninth, then it is the first of a row."""
    patient = a_closed_one()
    patient.attempt(FAILURE, 9)
    patient.clock.advance(pause)
    assert patient.attempt(FAILURE) is opened
    if opened is None:
        assert patient.attempt(FAILURE, 8) is None
        assert patient.attempt(FAILURE) is BreakerState.OPEN


def test_closed_begins_a_row_anew_after_a_success() -> None:
    """Given nine failures, when a success comes between, then nine more do not open it, and a tenth does."""
    patient = a_closed_one()
    patient.attempt(FAILURE, 9)
    patient.attempt(SUCCESS)
    patient.attempt(SUCCESS, 10)  # or the rate would be too much already
    assert patient.attempt(FAILURE, 9) is None
    assert patient.attempt(FAILURE) is BreakerState.OPEN


def test_closed_takes_no_notice_of_what_says_nothing() -> None:
    """Given nine failures, when attempts come to neither, then they do not end the row, and count for nothing."""
    patient = a_closed_one()
    patient.attempt(FAILURE, 9)
    assert patient.attempt(NEITHER, 1000) is None
    assert patient.attempt(FAILURE) is BreakerState.OPEN


def test_closed_opens_when_four_fifths_of_twenty_fail() -> None:
    """Given a success after every four failures, when the twentieth attempt fails, then it opens."""
    patient = a_closed_one()
    for _ in range(3):
        assert patient.attempt(SUCCESS) is None
        assert patient.attempt(FAILURE, 4) is None
    assert patient.attempt(SUCCESS) is None
    assert patient.attempt(FAILURE, 3) is None
    assert patient.attempt(FAILURE) is BreakerState.OPEN


def test_closed_needs_twenty_attempts_for_a_rate() -> None:
    """Given 16 failures of 19, when they are not in a row, then it stays closed: 19 are too few to judge."""
    patient = a_closed_one()
    for failures in (8, 8):
        patient.attempt(SUCCESS)
        assert patient.attempt(FAILURE, failures) is None
    patient.attempt(SUCCESS)
    assert patient.state is BreakerState.CLOSED


def test_closed_stays_so_in_a_brown_out() -> None:
    """Given that three of four attempts fail, when that goes on for ten minutes, then it stays closed."""
    patient = a_closed_one()
    for number in range(600):
        patient.attempt(SUCCESS if number % 4 == 0 else FAILURE)
        patient.clock.advance(1)
    assert patient.state is BreakerState.CLOSED


def test_closed_forgets_what_is_older_than_its_window() -> None:
    """Given 15 failures of 18, when half a minute passes, then they no longer weigh on the next two."""
    patient = a_closed_one()
    for _ in range(3):
        patient.attempt(SUCCESS)
        patient.attempt(FAILURE, 5)
    patient.clock.advance(32)
    assert patient.attempt(FAILURE, 9) is None
    patient.attempt(SUCCESS)
    assert patient.attempt(FAILURE, 9) is None


def test_closed_does_not_open_for_missing_pages() -> None:
    """Given 99 answers of 100 that are successes (404s are), when that goes on for 10,000, then it never opens."""
    patient = a_closed_one()
    for number in range(10_000):
        patient.attempt(FAILURE if number % 100 == 0 else SUCCESS)
        patient.clock.advance(0.01)
    assert patient.state is BreakerState.CLOSED


def test_closed_takes_back_a_permit_without_counting() -> None:
    """Given nine failures, when permits are released, then nothing has changed."""
    patient = a_closed_one()
    patient.attempt(FAILURE, 9)
    for _ in range(100):
        patient.breaker.release(patient.permit())
    assert patient.state is BreakerState.CLOSED
    assert patient.attempt(FAILURE) is BreakerState.OPEN


def test_closed_opens_by_the_settings_given() -> None:
    """Given other settings, when two of two attempts fail, then it opens for the time that they say."""
    patient = a_closed_one(CircuitBreaker(failures_in_a_row=2, window=5, open_for=1, open_max=2))
    assert patient.attempt(FAILURE, 2) is BreakerState.OPEN
    patient.clock.advance(0.75)
    assert patient.refuses()
    patient.clock.advance(0.25)
    assert patient.permit()


def test_closed_hears_only_permits_that_it_gave() -> None:
    """Given a breaker that has opened and closed since, when ten old attempts fail, then it stays closed."""
    patient = a_closed_one()
    old = [patient.permit() for _ in range(10)]
    patient.attempt(FAILURE, 10)
    patient.clock.advance(15)
    assert patient.attempt(SUCCESS) is BreakerState.CLOSED
    assert [patient.report(permit, FAILURE) for permit in old] == [None] * 10
    assert patient.state is BreakerState.CLOSED
    assert patient.attempt(FAILURE, 9) is None
    assert patient.attempt(FAILURE) is BreakerState.OPEN


# Open


def test_open_lets_nobody_through_for_15_seconds() -> None:
    """Given an open breaker, when anybody asks before its 15 s are over, then the answer is no."""
    patient = an_open_one()
    assert patient.refuses()
    patient.clock.advance(14.999)
    assert patient.refuses()
    assert patient.state is BreakerState.OPEN


def test_open_says_when_to_ask_again() -> None:
    """Given an open breaker, when asked how long to wait, then it says what is left, and at least a second."""
    patient = an_open_one()
    assert patient.breaker.retry_in(patient.clock.now) == 15
    patient.clock.advance(10)
    assert patient.breaker.retry_in(patient.clock.now) == 5
    patient.clock.advance(100)
    assert patient.breaker.retry_in(patient.clock.now) == 1


@pytest.mark.parametrize("verdict", list(Health))
def test_open_is_not_moved_by_late_answers(verdict: Health) -> None:
    """Given answers to what was sent before it opened, when they come in, then neither state nor time changes."""
    patient = a_closed_one()
    late = [patient.permit() for _ in range(30)]
    patient.attempt(FAILURE, 10)
    probe_at = patient.breaker.probe_at
    patient.clock.advance(10)
    assert [patient.report(permit, verdict) for permit in late] == [None] * 30
    assert (patient.state, patient.breaker.probe_at) == (BreakerState.OPEN, probe_at)


def test_open_is_not_moved_by_late_releases() -> None:
    """Given an attempt from before, when it is cancelled, then the breaker stays as open as it was."""
    patient = a_closed_one()
    late = patient.permit()
    patient.attempt(FAILURE, 10)
    patient.breaker.release(late)
    assert patient.refuses()


def test_open_becomes_half_open_with_the_first_who_asks_in_time() -> None:
    """Given an open breaker, when its time is up, then it stays open until someone asks, who gets the probe."""
    patient = an_open_one()
    patient.clock.advance(1000)
    assert patient.state is BreakerState.OPEN
    assert patient.permit()
    assert patient.state is BreakerState.HALF_OPEN


# Half-open


def test_half_open_lets_one_probe_through() -> None:
    """Given a probe on its way, when others ask, then they are refused."""
    patient, _ = a_half_open_one()
    assert [patient.refuses() for _ in range(100)] == [True] * 100


def test_half_open_closes_with_a_success() -> None:
    """Given a probe on its way, when it succeeds, then all may pass again."""
    patient, probe = a_half_open_one()
    assert patient.report(probe, SUCCESS) is BreakerState.CLOSED
    assert [patient.refuses() for _ in range(100)] == [False] * 100


def test_half_open_closes_with_a_clean_slate() -> None:
    """Given a breaker that closed again, when nine attempts fail, then what came before does not count."""
    patient, probe = a_half_open_one()
    patient.report(probe, SUCCESS)
    assert patient.attempt(FAILURE, 9) is None
    assert patient.attempt(FAILURE) is BreakerState.OPEN


def test_half_open_opens_again_with_a_failure() -> None:
    """Given a probe on its way, when it fails, then the breaker is open for twice as long."""
    patient, probe = a_half_open_one()
    assert patient.report(probe, FAILURE) is BreakerState.OPEN
    patient.clock.advance(29.9)
    assert patient.refuses()
    patient.clock.advance(0.2)
    assert patient.permit()


def test_half_open_doubles_up_to_five_minutes() -> None:
    """Given that every probe fails, when that goes on, then the times are 15, 30, … and 300 s at most."""
    patient = an_open_one()
    times = []
    for _ in range(7):
        times.append(patient.breaker.probe_at - patient.clock.now)
        patient.clock.now = patient.breaker.probe_at
        assert patient.attempt(FAILURE) is BreakerState.OPEN
    assert times == [15, 30, 60, 120, 240, 300, 300]


def test_half_open_begins_with_15_seconds_again_after_a_success() -> None:
    """Given times that had doubled, when a probe succeeds, then the next outage begins with 15 s."""
    patient = an_open_one()
    for _ in range(3):
        patient.clock.now = patient.breaker.probe_at
        patient.attempt(FAILURE)
    patient.clock.now = patient.breaker.probe_at
    assert patient.attempt(SUCCESS) is BreakerState.CLOSED
    patient.attempt(FAILURE, 10)
    assert patient.breaker.probe_at - patient.clock.now == 15


def test_half_open_is_freed_by_a_probe_that_is_given_back() -> None:
    """Given a probe on its way, when it is cancelled, then the next who asks is the probe, without delay."""
    patient, probe = a_half_open_one()
    patient.breaker.release(probe)
    assert patient.state is BreakerState.HALF_OPEN
    next_one = patient.permit()
    assert next_one != probe
    assert patient.refuses()


def test_half_open_is_freed_by_a_probe_that_nobody_reports() -> None:
    """Given a probe on its way, when an interrupt has its call forgotten, then the next who asks is the probe."""
    patient, probe = a_half_open_one()
    assert patient.refuses()
    del probe
    assert not patient.refuses()


def test_half_open_is_freed_by_a_probe_that_says_nothing() -> None:
    """Given a probe on its way, when it comes to neither, then the next who asks is the probe."""
    patient, probe = a_half_open_one()
    assert patient.report(probe, NEITHER) is None
    assert patient.state is BreakerState.HALF_OPEN
    assert patient.attempt(SUCCESS) is BreakerState.CLOSED


def test_half_open_gives_up_a_probe_of_which_nothing_is_heard() -> None:
    """Given a probe whose thread was killed, when five minutes have passed, then another one goes."""
    patient, lost = a_half_open_one()
    patient.clock.advance(299)
    assert patient.refuses()
    patient.clock.advance(1)
    found = patient.permit()
    assert found != lost
    assert patient.refuses()


@pytest.mark.parametrize("verdict", list(Health))
def test_half_open_does_not_hear_a_probe_that_was_given_up(verdict: Health) -> None:
    """Given a second probe, when the first one answers after all, then only the second decides."""
    patient, lost = a_half_open_one()
    patient.clock.advance(300)
    second = patient.permit()
    assert patient.report(lost, verdict) is None
    patient.breaker.release(lost)
    assert patient.state is BreakerState.HALF_OPEN
    assert patient.refuses()
    assert patient.report(second, SUCCESS) is BreakerState.CLOSED


@pytest.mark.parametrize("verdict", list(Health))
def test_half_open_does_not_hear_attempts_from_before(verdict: Health) -> None:
    """Given attempts sent while it was closed, when they answer, then the probe alone decides."""
    patient = a_closed_one()
    late = patient.permit()
    patient.attempt(FAILURE, 10)
    patient.clock.advance(15)
    probe = patient.permit()
    assert patient.report(late, verdict) is None
    patient.breaker.release(late)
    assert patient.state is BreakerState.HALF_OPEN
    assert patient.refuses()
    assert patient.report(probe, FAILURE) is BreakerState.OPEN


# Whatever happens


class BreakerMachine(RuleBasedStateMachine):
    """Attempts that begin, end, are cancelled, are lost or come late, in any order and at any time."""

    def __init__(self) -> None:
        super().__init__()
        self.settings = CircuitBreaker(
            failures_in_a_row=3, minimum_attempts=4, window=10, open_for=5, open_max=40, failure_rate=0.6
        )
        self.breaker = Breaker(self.settings)
        self.now = 0.0
        self.out: list[tuple[Permit, BreakerState]] = []
        self.probe: Permit | None = None
        self.probe_since = 0.0
        self.earliest = 0.0
        self.open_for = self.settings.open_for

    @rule(seconds=st.floats(0, 60))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def someone_asks(self) -> None:
        before = self.breaker.state
        permit = self.breaker.acquire(self.now, 10.0)
        if before is BreakerState.CLOSED:
            assert permit is not None
        elif permit is None:
            assert self.now < self.earliest or self.probe is not None, "free, and nobody may go"
        else:
            assert self.now >= self.earliest, "let through before its time"
            if self.probe is not None:
                assert self.now >= self.probe_since + self.settings.open_max, "two probes at once"
            self.probe, self.probe_since = permit, self.now
        if permit is not None:
            self.out.append((permit, self.breaker.state))

    @precondition(lambda self: self.out)
    @rule(data=st.data(), verdict=st.sampled_from(Health))
    def an_answer_comes(self, data: st.DataObject, verdict: Health) -> None:
        permit, given_in = self.out.pop(data.draw(st.integers(0, len(self.out) - 1)))
        before, probe_at, is_probe = self.breaker.state, self.breaker.probe_at, permit is self.probe
        state = self.breaker.record(permit, verdict, self.now)
        if state is None:
            assert (self.breaker.state, self.breaker.probe_at) == (before, probe_at)
        else:
            assert state is self.breaker.state is not before
            assert given_in is before, "an answer from before has changed the state"
        if before is BreakerState.HALF_OPEN:
            assert (state is not None) == (is_probe and verdict is not NEITHER)
        if is_probe:
            self.probe = None
        if state is BreakerState.OPEN:
            self.open_for = min(self.open_for * 2, 40) if before is BreakerState.HALF_OPEN else self.settings.open_for
            # a failed probe's cool-down counts from its beginning: the upstream may have healed at any time since
            self.earliest = (self.probe_since if before is BreakerState.HALF_OPEN else self.now) + self.open_for
        if state is BreakerState.CLOSED:
            assert before is BreakerState.HALF_OPEN
            assert is_probe
            assert verdict is SUCCESS

    @precondition(lambda self: self.out)
    @rule(data=st.data())
    def an_attempt_is_cancelled(self, data: st.DataObject) -> None:
        permit, _ = self.out.pop(data.draw(st.integers(0, len(self.out) - 1)))
        before = self.breaker.state
        self.breaker.release(permit)
        assert self.breaker.state is before
        if permit is self.probe:
            self.probe = None

    @precondition(lambda self: self.out)
    @rule(data=st.data())
    def an_attempt_is_never_heard_of_again(self, data: st.DataObject) -> None:
        self.out.pop(data.draw(st.integers(0, len(self.out) - 1)))

    @invariant()
    def counts_make_sense(self) -> None:
        for window in (self.breaker._attempts, self.breaker._failures):
            window.advance(self.now)  # what is too old is forgotten when somebody counts
            assert min(window._buckets) >= 0
        assert 0 <= self.breaker._failures.total <= self.breaker._attempts.total
        assert self.breaker._in_a_row <= self.settings.failures_in_a_row

    @invariant()
    def it_is_half_open_while_a_probe_is_out(self) -> None:
        if self.probe is not None:
            assert self.breaker.state is BreakerState.HALF_OPEN


BreakerMachine.TestCase.settings = settings(max_examples=50, stateful_step_count=50, deadline=None)
TestBreakerMachine = BreakerMachine.TestCase


@given(
    verdicts=st.lists(st.tuples(st.sampled_from([SUCCESS, FAILURE, NEITHER]), st.floats(0, 5)), max_size=80),
    row=st.integers(1, 12),
    minimum=st.integers(1, 25),
)
def test_a_closed_breaker_opens_when_and_only_when_it_should(
    verdicts: list[tuple[Health, float]], row: int, minimum: int
) -> None:
    """Against a model that remembers everything, bucket by bucket."""
    patient = a_closed_one(CircuitBreaker(failures_in_a_row=row, minimum_attempts=minimum))
    heard: list[tuple[float, Health]] = []
    for verdict, passed in verdicts:
        patient.clock.advance(passed)
        now = patient.clock.now
        opened = patient.attempt(verdict) is BreakerState.OPEN
        if verdict is not NEITHER:
            heard.append((now, verdict))
        recent = [v for time, v in heard if int(now) - int(time) <= 30]
        failures = recent.count(FAILURE)
        last = heard[-row:]
        close = all(later - earlier <= 30 for (earlier, _), (later, _) in itertools.pairwise(last))
        in_a_row = len(last) == row and all(v is FAILURE for _, v in last) and close
        too_often = len(recent) >= minimum and failures >= 0.8 * len(recent)
        assert opened == (verdict is FAILURE and (in_a_row or too_often))
        if opened:
            break


# Many threads

THREADS = 8


def hammer(work: Callable[[int], int]) -> list[int]:
    """Let eight threads begin `work` at the same moment; return what each came to."""
    start = threading.Barrier(THREADS)

    def run(number: int) -> int:
        start.wait()
        return work(number)

    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(run, range(THREADS)))


def test_threads_get_one_probe_between_them() -> None:
    """Given an open breaker whose time is up, when eight threads ask again and again, then one gets leave once."""
    for _ in range(20):
        patient = an_open_one()
        patient.clock.advance(15)
        permits: list[Permit | None] = []

        def ask(_: int, patient: Patient = patient, permits: list[Permit | None] = permits) -> int:
            permits.extend(patient.breaker.acquire(patient.clock.now, 10.0) for _ in range(50))
            return 0

        hammer(ask)
        assert sum(permit is not None for permit in permits) == 1


def test_threads_get_one_probe_after_another() -> None:
    """Given probes that come to neither, when eight threads pass them on, then never are two out at once."""
    patient = an_open_one()
    patient.clock.advance(15)
    out, most, lock = 0, 0, threading.Lock()

    def work(number: int) -> int:
        nonlocal out, most
        given = 0
        for turn in range(2000):
            permit = patient.breaker.acquire(patient.clock.now, 10.0)
            if permit is None:
                continue
            given += 1
            with lock:
                out += 1
                most = max(most, out)
            with lock:
                out -= 1
            if turn % 2:
                patient.breaker.release(permit)
            else:
                patient.breaker.record(permit, NEITHER, patient.clock.now)
        return given

    assert sum(hammer(work)) > 0
    assert most == 1
    assert patient.state is BreakerState.HALF_OPEN


def test_threads_open_it_once() -> None:
    """Given a closed breaker, when eight threads report failures, then one of them is told that it has opened."""
    for _ in range(20):
        patient = a_closed_one()
        permits = [[patient.permit() for _ in range(25)] for _ in range(THREADS)]
        opened = hammer(
            lambda number, p=patient, permits=permits: sum(
                p.report(permit, FAILURE) is BreakerState.OPEN for permit in permits[number]
            )
        )
        assert sum(opened) == 1
        assert patient.breaker.probe_at == patient.clock.now + 15


def test_threads_lose_no_count() -> None:
    """Given a breaker that nothing opens, when eight threads report, then the totals are the sum of it all."""
    patient = a_closed_one(CircuitBreaker(failures_in_a_row=10_000, minimum_attempts=1_000_000))

    def work(number: int) -> int:
        for turn in range(1000):
            patient.attempt(FAILURE if turn % 4 == 0 else SUCCESS)
        return 0

    hammer(work)
    assert patient.breaker._attempts.total == THREADS * 1000
    assert patient.breaker._failures.total == THREADS * 250


def test_threads_that_fail_and_recover_keep_the_order_of_states() -> None:
    """Given eight threads with answers of every kind, when time passes, then each change follows from the last."""
    patient = a_closed_one(CircuitBreaker(failures_in_a_row=3, open_for=1, open_max=4))
    changes: list[list[BreakerState]] = [[] for _ in range(THREADS)]

    def work(number: int) -> int:
        for turn in range(2000):
            patient.clock.now += 0.01  # may lose an update to another thread: then less time passes
            permit = patient.breaker.acquire(patient.clock.now, 10.0)
            if permit is not None:
                verdict = (FAILURE, FAILURE, FAILURE, SUCCESS, NEITHER)[(turn // 7 + number) % 5]
                state = patient.breaker.record(permit, verdict, patient.clock.now)
                changes[number] += [state] if state else []
        return 0

    hammer(work)
    told = [state for each in changes for state in each]
    opened, closed = told.count(BreakerState.OPEN), told.count(BreakerState.CLOSED)
    assert opened > 0
    assert opened + closed == len(told)
    assert closed <= opened
    assert 0 <= patient.breaker._failures.total <= patient.breaker._attempts.total


def test_no_lock_is_held_while_an_attempt_runs() -> None:
    """Given eight attempts that each wait for the other seven, when they have leave, then all of them end."""
    patient = a_closed_one()
    together = threading.Barrier(THREADS, timeout=30)

    def work(number: int) -> int:
        permit = patient.permit()
        together.wait()
        patient.report(permit, SUCCESS)
        return 1

    assert sum(hammer(work)) == THREADS
