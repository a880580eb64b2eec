"""Slots limit the number of concurrent attempts, and the pace limits their rate."""

from __future__ import annotations

import itertools
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from types import TracebackType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from core.http import Policy
from core.http.engine.call import Call
from core.http.engine.concurrency import Slots, Ticket
from core.http.engine.concurrency_and_pacing import POLL_SLOT, Limits, Reservation, limits_of
from core.http.engine.pacing import Pace
from core.http.engine.steps import Wait
from core.http.engine.upstream import Upstream
from core.http.events import Target

FOREVER = float("inf")


def queue(slots: Slots, count: int) -> tuple[list[Ticket], list[int]]:
    """Let `count` calls ask for a slot; return their tickets, and a list of the numbers of woken ones."""
    woken: list[int] = []
    tickets = [Ticket() for _ in range(count)]
    for number, ticket in enumerate(tickets):
        slots.take(ticket)
        ticket.wake = lambda number=number: woken.append(number)  # type: ignore[misc]
    return tickets, woken


# Slots


def test_as_many_slots_as_the_limit() -> None:
    """Of three calls for two slots, two get one; asking again changes nothing."""
    slots = Slots(2)
    (a, b, c), _ = queue(slots, 3)
    assert [slots.take(ticket) for ticket in (a, b, c, c)] == [True, True, False, False]


def test_a_free_slot_goes_to_the_call_that_waited_longest() -> None:
    """Each free slot wakes one waiting call, the first in the queue."""
    slots = Slots(1)
    (a, b, c), woken = queue(slots, 3)
    slots.leave(a)
    assert (woken, slots.take(c), slots.take(b)) == ([1], False, True)
    slots.leave(b)
    assert (woken, slots.take(c)) == ([1, 2], True)


def test_a_new_call_does_not_take_the_slot_of_a_waiting_one() -> None:
    """A slot that was freed for a waiting call is not given to a call that arrives before it wakes up."""
    slots = Slots(1)
    (a, b), _ = queue(slots, 2)
    slots.leave(a)
    assert not slots.take(Ticket())
    assert slots.take(b)


def test_a_call_that_left_the_queue_gets_no_slot() -> None:
    """A slot is not reserved for a call that has stopped waiting."""
    slots = Slots(1)
    (a, b, _), woken = queue(slots, 3)
    slots.leave(b)
    slots.leave(a)
    assert woken == [2]


def test_a_slot_of_a_call_that_leaves_goes_to_the_next() -> None:
    """If a call stops waiting just after it got a slot, the slot goes to the next call."""
    slots = Slots(1)
    (a, b, c), woken = queue(slots, 3)
    slots.leave(a)
    slots.leave(b)
    assert (woken, slots.take(c)) == ([1, 2], True)


def test_leaving_twice_releases_one_slot() -> None:
    """A slot is released once; releasing it again, or without having one, changes nothing."""
    slots = Slots(1)
    (a, b, c), _ = queue(slots, 3)
    slots.leave(a)
    slots.leave(a)
    slots.leave(Ticket())
    assert (slots.take(b), slots.take(c)) == (True, False)


class Interrupted:
    """A lock that, once while it is held, runs something else in the same thread, as a finalizer does."""

    def __init__(self, finalizer: Callable[[], object], *, late: bool) -> None:
        self._lock = threading.Lock()
        self._finalizer: Callable[[], object] | None = finalizer
        self._late = late

    def acquire(self, blocking: bool = True) -> bool:
        taken = self._lock.acquire(blocking, 1 if blocking else -1)
        if taken and not self._late:
            self._finalize()
        return taken

    def release(self) -> None:
        self._finalize()
        self._lock.release()

    def _finalize(self) -> None:
        finalizer, self._finalizer = self._finalizer, None
        if finalizer:
            finalizer()

    def __enter__(self) -> None:
        assert self.acquire()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("doing", ["take", "leave"])
def test_a_finalizer_may_release_a_slot_at_any_time(doing: str, late: bool) -> None:
    """A finalizer in the thread that holds the lock does not hang, and its slot goes to a waiting call."""
    slots = Slots(2)
    (a, b, c, d), woken = queue(slots, 4)
    slots._lock = Interrupted(lambda: slots.leave(a), late=late)  # type: ignore[assignment]
    if doing == "take":
        slots.take(Ticket())
        assert woken == [2]
    else:
        slots.leave(b)
        assert woken == [2, 3]
    assert slots.holds(c)
    assert slots.holds(d) is (doing == "leave")


INTERRUPTED = """
import signal
from core.http.engine.concurrency import Slots, Ticket

class TimeIsUp(BaseException):
    pass

def interrupt(*_):
    if armed:
        raise TimeIsUp

slots, interrupted, armed = Slots(1), 0, False
signal.signal(signal.SIGALRM, interrupt)
signal.setitimer(signal.ITIMER_REAL, 0.0001, 0.00013)
while interrupted < 500:
    ticket = Ticket()
    try:
        armed = True
        slots.take(ticket)
        slots.leave(ticket)
        armed = False
    except TimeIsUp:
        armed = False
        interrupted += 1
        slots.leave(ticket)
signal.setitimer(signal.ITIMER_REAL, 0)
from threading import Thread
free = []
other = Thread(target=lambda: free.append(slots._lock.acquire(timeout=5)))
other.start()
other.join()
assert free == [True], f"held after {interrupted} interrupts"
"""


def test_an_interrupt_leaves_the_lock_open() -> None:
    """Hundreds of signals between any two instructions leave neither the lock held nor a slot taken."""
    # In a process of its own: coverage has locks too, and would deadlock.
    done = subprocess.run([sys.executable, "-c", INTERRUPTED], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr


class SlotsMachine(RuleBasedStateMachine):
    """Calls that come, ask, leave and are interrupted, in any order, compared with a simple model of a fair queue."""

    LIMIT = 3

    def __init__(self) -> None:
        super().__init__()
        self.slots = Slots(self.LIMIT)
        self.holders: list[Ticket] = []
        self.queue: list[Ticket] = []
        self.woken: list[Ticket] = []
        self.expected: list[Ticket] = []

    def everybody(self) -> list[Ticket]:
        return self.holders + self.queue

    def serve(self, *, asking: Ticket | None = None) -> None:
        while self.queue and len(self.holders) < self.LIMIT:
            first = self.queue.pop(0)
            self.holders.append(first)
            if first is not asking:
                self.expected.append(first)

    @rule()
    def someone_comes(self) -> None:
        ticket = Ticket()
        self.queue.append(ticket)
        self.serve(asking=ticket)
        assert self.slots.take(ticket) is (ticket in self.holders)
        ticket.wake = lambda: self.woken.append(ticket)

    @precondition(lambda self: self.everybody())
    @rule(data=st.data())
    def someone_asks_again(self, data: st.DataObject) -> None:
        ticket = data.draw(st.sampled_from(self.everybody()))
        assert self.slots.take(ticket) is (ticket in self.holders)

    @precondition(lambda self: self.everybody())
    @rule(data=st.data(), times=st.integers(1, 2))
    def someone_leaves(self, data: st.DataObject, times: int) -> None:
        ticket = data.draw(st.sampled_from(self.everybody()))
        for _ in range(times):
            self.slots.leave(ticket)
        self.remove(ticket)

    @precondition(lambda self: self.everybody())
    @rule(data=st.data())
    def some_leave_while_the_lock_is_held(self, data: st.DataObject) -> None:
        leaving = data.draw(st.lists(st.sampled_from(self.everybody()), min_size=1, unique=True))
        with self.slots._lock, ThreadPoolExecutor(1) as elsewhere:
            for ticket in leaving:
                elsewhere.submit(self.slots.leave, ticket).result()
        self.slots.leave(Ticket())  # another call asks
        self.remove(*leaving)

    def remove(self, *leaving: Ticket) -> None:
        for ticket in leaving:
            (self.holders if ticket in self.holders else self.queue).remove(ticket)
        self.serve()

    @invariant()
    def holders_and_queue_agree_with_the_model(self) -> None:
        assert len(self.slots._holders) <= self.LIMIT
        assert self.slots._holders == set(self.holders)
        assert list(self.slots._queue) == self.queue
        assert self.woken == self.expected, "woken by mistake, or not at all, or out of order"


SlotsMachine.TestCase.settings = settings(max_examples=50, stateful_step_count=40, deadline=None)
TestSlotsMachine = SlotsMachine.TestCase


def test_a_slot_that_a_finalizer_releases_during_an_iteration_is_not_lost() -> None:
    """A ticket that a finalizer releases while another release is in progress frees its slot too."""

    class Surprised(deque[Ticket]):
        late: Ticket | None = None

        def __iter__(self) -> Iterator[Ticket]:
            found = super().__iter__()
            if self.late is not None:
                self.append(self.late)
                self.late = None
            return found

    slots = Slots(2)
    first, second, third, fourth = (Ticket() for _ in range(4))
    assert [slots.take(ticket) for ticket in (first, second, third, fourth)] == [True, True, False, False]
    slots._left = surprised = Surprised()
    surprised.late = second
    slots.leave(first)
    assert slots.holds(third)
    assert slots.holds(fourth)


def test_threads_share_slots_without_losing_one() -> None:
    """Eight threads share three slots: each thread is woken when it gets a slot, and no slot is lost."""
    slots, times = Slots(3), 200
    inside, most = 0, 0
    counting = threading.Lock()

    def work() -> None:
        nonlocal inside, most
        for _ in range(times):
            ticket = Ticket()
            woken: SimpleQueue[None] = SimpleQueue()
            ticket.wake = lambda woken=woken: woken.put(None)  # type: ignore[misc]
            if not slots.take(ticket):
                woken.get(timeout=10)
                assert slots.take(ticket)
            with counting:
                inside += 1
                most = max(most, inside)
            with counting:
                inside -= 1
            slots.leave(ticket)
            finished.append(None)

    finished: list[None] = []
    threads = [threading.Thread(target=work, daemon=True) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(finished) == 8 * times
    assert most <= 3
    assert (slots._holders, len(slots._queue), len(slots._left)) == (set(), 0, 0)


# Pace


def turns(pace: Pace, *moments: float) -> list[float | None]:
    return [pace.reserve(now, FOREVER) for now in moments]


def test_turns_are_evenly_spaced() -> None:
    """Calls at the same time get turns one after the other, and the first one is sent at once."""
    assert turns(Pace(4), 10, 10, 10, 10) == [10, 10.25, 10.5, 10.75]


def test_no_burst_after_a_pause() -> None:
    """After a pause, the pace is the same; unused turns do not add up to a burst."""
    assert turns(Pace(2), 0, 100, 100, 100) == [0, 100, 100.5, 101]


def test_calls_slower_than_the_pace_do_not_wait() -> None:
    """Calls that are further apart than the pace do not wait."""
    assert turns(Pace(2), 0, 0.5, 1.25, 2) == [0, 0.5, 1.25, 2]


def test_a_turn_after_the_deadline_is_not_taken() -> None:
    """A call that cannot wait for its turn takes no turn, so other calls can have it."""
    pace = Pace(1)
    pace.reserve(0, FOREVER)
    assert pace.reserve(0, 1) is None
    assert pace.reserve(0, 1.5) == 1


def test_a_released_turn_goes_to_another_call() -> None:
    """Released turns are given out first, the earliest before the others."""
    pace = Pace(1)
    turns(pace, 0, 0, 0, 0)
    pace.give_back(2)
    pace.give_back(1)
    assert turns(pace, 0.5, 0.5, 0.5) == [1, 2, 4]
    pace.give_back(2)
    assert turns(pace, 2, 2) == [2, 5], "its moment has come, and not passed"


def test_released_turns_leave_no_gap() -> None:
    """Turns that are released in any order leave no time that no call can use."""
    for order in itertools.permutations([1, 2, 3]):
        pace = Pace(1)
        turns(pace, 0, 0, 0, 0)
        for turn in order:
            pace.give_back(turn)
        assert turns(pace, 0.5, 0.5) == [1, 2]


def test_the_last_released_turn_leaves_no_gap() -> None:
    """A call after the time of the released turn need not wait for the turn after it."""
    pace = Pace(1)
    turns(pace, 0)
    pace.give_back(0)
    assert turns(pace, 0.5) == [0.5]


def test_a_turn_that_is_over_is_not_given_out_again() -> None:
    """A turn that is released after its time is lost."""
    pace = Pace(1)
    turns(pace, 0, 0, 0)
    pace.give_back(1)
    assert turns(pace, 1.5) == [3]


@given(
    per_second=st.floats(0.01, 10_000),
    steps=st.lists(st.tuples(st.floats(0, 10), st.floats(0, 10), st.integers(0, 3)), max_size=40),
)
def test_no_two_turns_are_ever_closer_than_the_pace(per_second: float, steps: list[tuple[float, float, int]]) -> None:
    """For any sequence of calls, releases and refusals, turns are never closer than the pace."""
    pace, now, taken = Pace(per_second), 0.0, []
    for passed, patience, returned in steps:
        now += passed
        turn = pace.reserve(now, now + patience)
        if turn is not None:
            assert now <= turn < now + patience
            taken.append(turn)
        if returned < len(taken) and taken[returned] > now:
            pace.give_back(taken.pop(returned))
        taken.sort()
        distances = [later - earlier for earlier, later in itertools.pairwise(taken)]
        assert all(distance >= (1 - 1e-6) / per_second for distance in distances)


# Both


def limits(max_concurrency: int | None = None, requests_per_second: float | None = None) -> Limits:
    made = limits_of(Policy(max_concurrency=max_concurrency, requests_per_second=requests_per_second))
    assert made is not None
    return made


class Place(Reservation):
    """The reservation of a call that ends at `deadline`."""

    def __init__(self, limits: Limits, deadline: float = 60.0) -> None:
        super().__init__(limits)
        upstream = Upstream("example", Policy(), clock=lambda: 0.0, random=lambda: 0.0, observe=lambda _: None)
        self.call = Call(upstream, Target("GET", "https", "example.org", "/"), deadline=deadline)

    def wait(self, now: float) -> float | None:
        """Return the seconds to wait, 0 if the call may be sent, or None if its turn would be too late."""
        step = self.ask(self.call, now)
        if step is None:
            return 0.0
        return step.seconds if isinstance(step, Wait) else None


def test_without_limits_there_is_nothing_to_ask() -> None:
    """A policy without limits has no limits object."""
    assert limits_of(Policy()) is None


def test_the_turn_is_taken_with_the_slot() -> None:
    """A call that waits for a slot has no turn, so at most `max_concurrency` calls have one."""
    both = limits(1, 1)
    a, b = Place(both), Place(both)
    assert (a.wait(0), b.wait(0)) == (0, POLL_SLOT)
    a.sent()
    a.give_back()
    assert b.wait(0.25) == 0.75
    assert b.wait(0.5) == 0.5
    assert b.wait(1) == 0


def test_a_stall_makes_no_burst() -> None:
    """Calls that missed their turns during a stall get new ones at the pace."""
    paced = limits(requests_per_second=1)
    places = [Place(paced) for _ in range(3)]
    assert [place.wait(0) for place in places] == [0, 1, 2]
    places[0].sent()
    assert [place.wait(10) for place in places[1:]] == [0, 1]
    places[1].sent()
    assert places[2].wait(11) == 0


def test_a_turn_may_be_used_a_little_late() -> None:
    """A thread that wakes some milliseconds after its turn still has it, however short the distances are."""
    paced = limits(requests_per_second=1000)
    places = [Place(paced) for _ in range(3)]
    for place in places:
        place.wait(0)
    assert [place.wait(0.05) for place in places] == [0, 0, 0]


def test_asking_again_ends_with_the_time() -> None:
    """No call is told to wait beyond its deadline."""
    one = limits(1)
    holder = Place(one)
    assert holder.wait(0) == 0
    assert Place(one, 0.0625).wait(0) == 0.0625


def test_leaving_gives_back_slot_and_turn() -> None:
    """A call that was not sent releases its slot and its turn; one that was sent has used its turn."""
    both = limits(1, 1)
    a, b, c = Place(both), Place(both), Place(both)
    assert a.wait(0) == 0
    a.give_back()
    assert b.wait(0) == 0
    b.sent()
    b.give_back()
    assert c.wait(0) == 1


def test_a_discarded_call_leaves_the_queue() -> None:
    """A place in the queue that was garbage collected keeps no slot."""
    one = limits(1)
    lost, waiting = Place(one), Place(one)
    woken: list[None] = []
    assert lost.wait(0) == 0
    assert waiting.wait(0) == POLL_SLOT
    waiting.waking(lambda: woken.append(None))
    del lost
    assert woken == [None]
    assert waiting.wait(0) == 0


def test_a_slot_that_comes_before_the_waiting_begins_wakes_at_once() -> None:
    """A slot that another thread releases between the decision to wait and the wait wakes the call."""
    one = limits(1)
    a, b = Place(one), Place(one)
    woken: list[None] = []
    a.wait(0)
    b.wait(0)
    a.give_back()
    b.waking(lambda: woken.append(None))
    assert woken == [None]


def test_a_call_that_has_a_slot_is_not_woken() -> None:
    """A call that has a slot and waits for its turn is not woken, because the time of its turn is known."""
    both = limits(1, 1)
    a, b = Place(both), Place(both)
    woken: list[None] = []
    a.wait(0)
    a.sent()
    a.give_back()
    assert b.wait(0) == 1
    b.waking(lambda: woken.append(None))
    assert woken == []
