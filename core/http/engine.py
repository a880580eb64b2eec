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

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from core.http.backoff import delay
from core.http.errors import DeadlineExceeded
from core.http.events import (
    Attempt,
    AttemptEnded,
    AttemptStarted,
    BackoffSource,
    CallEnded,
    Observer,
    RetryScheduled,
    RetryStarted,
    RetrySuppressed,
    Suppression,
    Target,
)
from core.http.outcome import Outcome, Reason, Rejection, Result
from core.http.policy import Policy

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


@dataclass(frozen=True, slots=True)
class Stop:
    """No further attempt: the last answer, or the last error, is the call's."""


class Upstream:
    """One server, or one group of servers that stand and fall together, as this process knows it."""

    def __init__(self, name: str, policy: Policy, *, clock: Clock, random: Random, observe: Observer) -> None:
        self.name = name
        self.policy = policy
        self.clock = clock
        self.random = random
        self.observe = observe

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
        self._scheduled: RetryScheduled | None = None
        self._ended = started
        self._suppressed: Suppression | None = None

    def begin(self) -> Send | Wait | Stop:
        """Say what to do next. Raises `DeadlineExceeded` where time ran out before anything was sent."""
        now = self._upstream.clock()
        if now < self._not_before:
            return Wait(self._not_before - now)
        left = self.deadline - now
        if left <= 0:
            return self._out_of_time()
        if self._scheduled is not None:
            self._start_retry(self._scheduled, now)
        self._attempt_started = now
        self._upstream.observe(AttemptStarted(self._upstream.name, self._target))
        return Send(min(left, self._attempt_timeout))

    def end(self, outcome: Outcome) -> bool:
        """Record what the attempt came to. True: begin again; False: the call is finished."""
        now = self._close_attempt(outcome)
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
        """Give up in the middle: whatever the attempt in hand holds is given back. Harmless afterwards."""
        if self._attempt_started is not None:
            self._close_attempt(None)

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

    def _out_of_time(self) -> Stop:
        if self._attempts:
            last = self._attempts[-1].outcome
            self._suppress(Suppression.DEADLINE)
            self._finish(last.result, last.reason)
            return Stop()
        self._finish(Result.REJECTED, Rejection.DEADLINE_EXCEEDED)
        raise DeadlineExceeded(
            f"{self._target.method} to {self._target.host} was not sent: its total timeout passed before"
        )

    def _close_attempt(self, outcome: Outcome | None) -> float:
        now = self._upstream.clock()
        begun = now if self._attempt_started is None else self._attempt_started
        self._attempt_started = None
        if outcome is not None:
            self._attempts.append(Attempt(outcome, now - begun, self._waited))
        self._upstream.observe(AttemptEnded(self._upstream.name, self._target, outcome, now - begun))
        return now

    def _finish(self, result: Result, reason: Reason | Rejection | None) -> None:
        self._upstream.observe(
            CallEnded(
                self._upstream.name,
                self._target,
                result,
                reason,
                tuple(self._attempts),
                self._upstream.clock() - self._started,
                self._suppressed,
            )
        )
