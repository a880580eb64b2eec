"""The decisions of a call, without any I/O: read this first.

`Upstream` is one server as this process knows it. `Call` is one logical request to it, from the first attempt
to the final answer. A driver asks `Call.begin` what to do, does it with its HTTP client, and tells
`Call.end` what came of it:

    call = upstream.call(target)
    try:
        while not isinstance(step := call.begin(), Stop):
            if isinstance(step, Wait):
                wait(step.seconds)
                continue
            outcome = one attempt, cut off after step.seconds
            if not call.end(outcome):
                break
    except BaseException:
        call.cancel()
        raise
    return the last response, or raise the last error

The engine blocks nowhere and is handed its clock and its random numbers, so threads, asyncio and tests with a
fake clock all drive the same code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Literal, TypeAlias

from core.http.backoff import delay
from core.http.breaker import Breaker, Permit, State
from core.http.budget import Budget
from core.http.errors import CircuitOpen, DeadlineExceeded, RateLimited
from core.http.events import (
    Attempt,
    AttemptEnded,
    AttemptStarted,
    BackoffSource,
    BreakerChanged,
    BreakerForgotten,
    CallEnded,
    GateClosed,
    GateWaited,
    Observer,
    QuotaSeen,
    RetryScheduled,
    RetryStarted,
    RetrySuppressed,
    Suppression,
    Target,
)
from core.http.facts import NOTHING, Fact, Turn
from core.http.gate import Gate
from core.http.limits import LOOK_ANYWAY, Place, limits_of
from core.http.outcome import Outcome, Reason, Rejection, Result, verdict
from core.http.policy import Policy

OTHER = "other"
"""The name, in metrics and logs, of every upstream that the configuration does not name."""
Clock: TypeAlias = Callable[[], float]
"""Seconds since some fixed moment, never going back: `time.monotonic`."""
Random: TypeAlias = Callable[[], float]
"""A random number in [0, 1): `random.random`."""


@dataclass(frozen=True, slots=True)
class Send:
    """Make one attempt and cut it off after this many seconds of wall clock."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Wait:
    """Not yet: wait this many seconds, or less, and ask again."""

    seconds: float
    for_turn: bool = field(default=False, compare=False)
    """What is waited for may come at any moment: whoever can be woken is."""
    if_woken: float | None = field(default=None, compare=False)
    """Seconds that are soon enough for whoever is woken; None: no more than `seconds`."""


@dataclass(frozen=True, slots=True)
class Stop:
    """No further attempt: the last answer, or the last error, is the call's."""


Elect: TypeAlias = Callable[["Upstream", float], bool | Wait]
"""Asks the other processes whether this one may send the probe that is due now. Blocks nowhere."""


class Upstream:
    """One server, or one group of servers that stand and fall together, as this process knows it."""

    def __init__(
        self,
        name: str,
        policy: Policy,
        *,
        clock: Clock,
        random: Random,
        observe: Observer,
        elect: Elect | None = None,
    ) -> None:
        """Make one. `elect`: default: this process decides alone."""
        self.name = name
        self.policy = policy
        self.clock = clock
        self.random = random
        self.observe = observe
        self.elect = elect
        self.breaker = Breaker(policy.circuit_breaker) if policy.circuit_breaker else None
        self.budget = Budget(policy.retry_budget) if policy.retry_budget else None
        self.gate = Gate()
        self.limits = limits_of(policy)
        self.turned: Turn | None = None
        """When calls of this process last opened or closed the breaker, for people to know since when it is down."""
        self._waiters: set[Callable[[], object]] = set()

    def call(
        self,
        target: Target,
        *,
        attempt_timeout: float | None = None,
        deadline: float | None = None,
        idempotent: bool | None = None,
        replayable: bool = True,
    ) -> Call:
        """Begin a logical request.

        :param attempt_timeout: seconds; can only shorten the policy's.
        :param deadline: on this upstream's clock; can only shorten the policy's total timeout.
        :param idempotent: may be sent twice; None: as the method and the policy say.
        :param replayable: the body can be sent again.
        """
        policy = self.policy
        seconds = policy.attempt_timeout
        if attempt_timeout is not None:
            seconds = min(seconds, attempt_timeout)
        started = self.clock()
        end = started + policy.total_timeout
        if deadline is not None:
            end = min(end, deadline)
        if idempotent is None:
            idempotent = target.method in policy.retry_methods
        return Call(self, target, started, end, seconds, repeatable=idempotent and replayable)

    @contextmanager
    def waking(self, wake: Callable[[], object]) -> Iterator[None]:
        """While this lasts, call `wake` when waiting has become pointless: the breaker has opened."""
        self._waiters.add(wake)
        breaker = self.breaker
        if breaker is not None and breaker.is_open(self.clock()):  # since the caller decided to wait
            wake()
        try:
            yield
        finally:
            self._waiters.discard(wake)

    @property
    def facts(self) -> tuple[Fact, Fact]:
        """What other processes should know of its breaker and of its gate."""
        breaker = self.breaker
        return NOTHING if breaker is None else breaker.fact, self.gate.fact

    def probe_due(self, now: float) -> bool:
        """Say whether the next attempt would be a probe, the only one let through."""
        if self.gate.is_closed(now):
            return False
        breaker = self.breaker
        return self.gate.probe_due(now) or (breaker is not None and breaker.probe_due(now))

    def is_probing(self, now: float) -> bool:
        """Say whether a probe of this process is on its way."""
        breaker = self.breaker
        return self.gate.is_probing(now) or (breaker is not None and breaker.is_probing(now))

    def forget(self) -> None:
        """Give up what is known of it. Calls in hand go on, and teach nobody anything any more."""
        breaker, self.breaker = self.breaker, None
        if breaker is not None and breaker.state is not State.CLOSED:
            self.observe(BreakerForgotten(self.name, breaker.state))

    def wake(self) -> None:
        """Wake everyone who waits."""
        for wake in tuple(self._waiters):
            wake()


class Call:
    """One logical request. Used by one thread or task at a time; what it shares with others is its upstream's."""

    def __init__(
        self,
        upstream: Upstream,
        target: Target,
        started: float,
        deadline: float,
        attempt_timeout: float,
        *,
        repeatable: bool,
    ) -> None:
        self.deadline = deadline
        self._upstream = upstream
        self._target = target
        self._started = started
        self._attempt_timeout = attempt_timeout
        self._repeatable = repeatable
        self._attempts: list[Attempt] = []
        self._attempt_started: float | None = None
        self._not_before = started
        self._waited = 0.0
        self._at_gate_since: float | None = None
        self._scheduled: RetryScheduled | None = None
        self._ended = started
        self._suppressed: Suppression | None = None
        self._permit: Permit | None = None
        self._passed = False
        """The gate let it pass, the breaker maybe too, and they have not learned what came of it."""
        self._place: Place | None = None

    def begin(self) -> Send | Wait | Stop:
        """Say what to do next.

        :raises CircuitOpen, RateLimited, DeadlineExceeded: nothing was sent, and nothing will be.
        """
        now = self._upstream.clock()
        if self._at_gate_since is not None:
            self._upstream.observe(GateWaited(self._upstream.name, now - self._at_gate_since))
            self._at_gate_since = None
        breaker = self._upstream.breaker
        if breaker is not None and breaker.is_open(now):  # waiting, here or at the gate, is in vain
            return self._turn_away(breaker, now)
        if now < self._not_before:
            return Wait(self._not_before - now)
        left = self.deadline - now
        if left <= 0:
            return self._out_of_time("passed before" if self._place is None else "passed while it waited for its turn")
        obstacle = self._obstacle(now)
        if obstacle is not None:
            return obstacle
        if self._scheduled is not None:
            self._start_retry(self._scheduled, now)
        if self._place is not None:
            self._place.sent()
        self._attempt_started = now
        self._upstream.observe(AttemptStarted(self._upstream.name, self._target))
        return Send(min(left, self._attempt_timeout))

    def end(self, outcome: Outcome) -> bool:
        """Record what the attempt came to. True: begin again; False: the call is finished."""
        now = self._close_attempt(outcome)
        self._heed(outcome, now)
        self._passed = False
        self._leave()  # not before: whoever is next should know what this attempt has taught
        retry = self._retry(outcome, now)
        if retry is None:
            self._finish(outcome.result, outcome.reason)
            return False
        self._upstream.observe(retry)
        self._scheduled = retry
        self._ended = now
        self._not_before = now + retry.delay
        return True

    def cancel(self) -> None:
        """Give up in the middle: whatever the call holds, or waits for, is given back. Harmless afterwards."""
        if self._attempt_started is not None:
            self._close_attempt(None)
        self._give_way()
        self._leave()

    @contextmanager
    def waking(self, wake: Callable[[], object]) -> Iterator[None]:
        """While this lasts, call `wake` when it is time to ask again: a slot is there, or the breaker has opened.

        It may be called in any thread, and by a finalizer that runs in the middle of anything, so it must not take
        a lock, as `threading.Event.set` does; `queue.SimpleQueue.put` is made for that.
        """
        with self._upstream.waking(wake):
            if self._place is not None:
                self._place.waking(wake)
            yield

    def keep_slot(self) -> Place | None:
        """Have the slot of the attempt in hand outlast it, until `Place.leave`; None: nothing limits the upstream."""
        place, self._place = self._place, None
        return place

    def _obstacle(self, now: float) -> Wait | Stop | None:
        """Ask the gate, the limits and the breaker for leave; None: go ahead. Raises as `begin`."""
        upstream = self._upstream
        if upstream.elect is not None and upstream.probe_due(now):
            obstacle = self._wait_for_its_turn(now)  # first: who cannot send would keep others from it
            if obstacle is not None:
                return obstacle
            elected = upstream.elect(upstream, now)
            if elected is not True:
                return self._leave_it_to_others(elected, now)
        self._passed = True
        closed = upstream.gate.closed_for(now)
        if closed > 0:
            self._passed = False
            return self._wait_at_the_gate(now, closed)
        obstacle = self._wait_for_its_turn(now)
        if obstacle is not None:
            return obstacle
        breaker = upstream.breaker
        if breaker is not None:
            self._permit = breaker.acquire(now)
            if self._permit is None:
                self._give_way()
                return self._turn_away(breaker, now)
            if self._permit.entered is not None:
                self._tell(State.OPEN, self._permit.entered, 0.0)
        if upstream.budget is not None:
            upstream.budget.count_attempt(now)
        return None

    @property
    def is_over(self) -> bool:
        """The total deadline has passed."""
        return self._upstream.clock() >= self.deadline

    def _retry(self, outcome: Outcome, now: float) -> RetryScheduled | None:
        policy, upstream = self._upstream.policy, self._upstream
        number = len(self._attempts)
        if not outcome.transient or number > policy.retries:
            return None
        if outcome.sent and not self._repeatable:
            self._suppress(Suppression.NOT_IDEMPOTENT)
            return None
        breaker = upstream.breaker
        if breaker is not None and breaker.state is State.OPEN:
            self._suppress(Suppression.BREAKER_OPEN)
            return None
        seconds = delay(
            number,
            base=policy.backoff,
            ceiling=policy.backoff_max,
            jitter=policy.jitter,
            chance=upstream.random(),
        )
        source = BackoffSource.COMPUTED
        if outcome.retry_after is not None and outcome.retry_after > seconds:
            seconds, source = outcome.retry_after, BackoffSource.RETRY_AFTER
        if now + seconds >= self.deadline:
            self._suppress(Suppression.DEADLINE)
            return None
        if upstream.budget is not None and not upstream.budget.take(now):
            self._suppress(Suppression.BUDGET_EXHAUSTED)
            return None
        return RetryScheduled(upstream.name, self._target, outcome.reason or Reason.OTHER, seconds, source)

    def _start_retry(self, scheduled: RetryScheduled, now: float) -> None:
        self._waited = now - self._ended
        self._scheduled = None
        self._upstream.observe(
            RetryStarted(scheduled.upstream, scheduled.target, scheduled.reason, self._waited, scheduled.source)
        )

    def _suppress(self, reason: Suppression) -> None:
        self._suppressed = reason
        self._upstream.observe(RetrySuppressed(self._upstream.name, self._target, reason))

    def _out_of_time(self, why: str) -> Stop:
        if self._attempts:
            return self._stop(Suppression.DEADLINE)
        self._finish(Result.REJECTED, Rejection.DEADLINE_EXCEEDED)
        raise DeadlineExceeded(self._not_sent(f"its total timeout {why}"))

    def _wait_for_its_turn(self, now: float) -> Wait | Stop | None:
        limits = self._upstream.limits
        if limits is None:
            return None
        if self._place is None:
            self._place = Place(limits)
        seconds = self._place.wait(now, self.deadline)
        if seconds == 0:
            return None
        self._give_way()  # the probe is whoever can be sent
        if seconds is None:
            return self._out_of_time("ends before its turn")
        if not self._place.queues:
            return Wait(seconds)
        return Wait(seconds, for_turn=True, if_woken=max(seconds, min(LOOK_ANYWAY, self.deadline - now)))

    def _give_way(self) -> None:
        """Let another call be the probe, if this one was it."""
        if self._passed:
            self._passed = False
            self._upstream.gate.release()
            breaker = self._upstream.breaker
            if breaker is not None and self._permit is not None:
                breaker.release(self._permit)

    def _leave(self) -> None:
        if self._place is not None:
            self._place.leave()
            self._place = None

    def _wait_at_the_gate(self, now: float, seconds: float) -> Wait | Stop:
        self._leave()
        if now + seconds < self.deadline:
            self._at_gate_since = now
            return Wait(seconds)
        if self._attempts:
            return self._stop(Suppression.DEADLINE)
        self._finish(Result.REJECTED, Rejection.RATE_LIMITED)
        raise RateLimited(self._not_sent("the upstream asked to be left alone"), _in(seconds))

    def _turn_away(self, breaker: Breaker, now: float) -> Stop:
        if self._attempts:
            return self._stop(Suppression.BREAKER_OPEN)
        self._finish(Result.REJECTED, Rejection.BREAKER_OPEN)
        raise CircuitOpen(self._not_sent("the upstream is down, its breaker is open"), _in(breaker.retry_in(now)))

    def _leave_it_to_others(self, elected: Wait | Literal[False], now: float) -> Wait | Stop:
        """Wait until it is decided who sends the probe; do not wait for the probe of another process."""
        if isinstance(elected, Wait):
            return Wait(min(elected.seconds, self.deadline - now), for_turn=True)
        breaker = self._upstream.breaker
        if breaker is not None and breaker.probe_due(now):
            return self._turn_away(breaker, now)
        return self._wait_at_the_gate(now, 1.0)

    def _tell(self, before: State, state: State, seconds: float) -> None:
        if self._upstream.breaker is None:  # forgotten meanwhile, and counted out
            return
        if State.CLOSED in (before, state):
            self._upstream.turned = Turn(self._upstream.clock(), state is State.OPEN)
        self._upstream.observe(BreakerChanged(self._upstream.name, self._target, before, state, seconds))

    def _stop(self, reason: Suppression) -> Stop:
        last = self._attempts[-1].outcome
        self._suppress(reason)
        self._finish(last.result, last.reason)
        return Stop()

    def _not_sent(self, why: str) -> str:
        return f"{self._target.method} to {self._target.host} was not sent: {why}"

    def _heed(self, outcome: Outcome, now: float) -> None:
        """Let the upstream's breaker and gate learn from an attempt."""
        upstream = self._upstream
        limited = outcome.reason is Reason.HTTP_429
        if outcome.retry_after and (outcome.transient or limited):
            upstream.gate.close(now, outcome.retry_after)
            upstream.observe(GateClosed(upstream.name, self._target, outcome.retry_after))
        elif outcome.status is None or limited:
            upstream.gate.release()  # no answer, or "not yet" without a time: if this was the probe, another goes
        else:
            upstream.gate.answered(now)
        if outcome.quota is not None:
            upstream.observe(QuotaSeen(upstream.name, outcome.quota))
        breaker = upstream.breaker
        if breaker is None or self._permit is None:
            return
        before = breaker.state
        state = breaker.record(self._permit, verdict(outcome, any_host=upstream.name == OTHER), now)
        if state is not None:
            self._tell(before, state, max(breaker.opens_at - now, 0.0))
        if state is State.OPEN:
            upstream.wake()

    def _close_attempt(self, outcome: Outcome | None) -> float:
        now = self._upstream.clock()
        begun = now if self._attempt_started is None else self._attempt_started
        self._attempt_started = None
        if outcome is not None:
            self._attempts.append(Attempt(outcome, now - begun, self._waited))
        self._upstream.observe(AttemptEnded(self._upstream.name, self._target, outcome, now - begun))
        return now

    def _finish(self, result: Result, reason: Reason | Rejection | None) -> None:
        self._leave()
        upstream, now = self._upstream, self._upstream.clock()
        upstream.observe(
            CallEnded(
                self._upstream.name,
                self._target,
                result,
                reason,
                tuple(self._attempts),
                now - self._started,
                self._suppressed,
                upstream.budget.remaining(now) if upstream.budget is not None else None,
            )
        )


def _in(seconds: float) -> datetime:
    return datetime.now(UTC) + timedelta(seconds=seconds)
