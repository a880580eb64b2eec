"""One call, from the first attempt to the final response or error. Read this module first.

A driver asks `Call.begin` for the next step, performs it with its HTTP client, and passes the outcome to `Call.end`:

    call = Call(upstream, target)
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

Besides this loop, a driver must

- after any exception in the loop, call `Call.cancel`, which releases everything that the call holds;
- with the real clock, wait inside `Call.waking`, so that a free slot, a decided probe election or an opened breaker
  ends the wait;
- if the caller reads the body, take the slot with `Call.keep_slot`, and release it after the body was read;
- limit every attempt to the seconds of its `Send`: DNS, connection, TLS, sending, headers and body together;
- keep the last response readable until the next attempt is made, because the call returns it if no attempt follows;
- translate the final error: `NotSent` and `DeadlineExceeded` into subclasses that are also errors of its client
  (`errors`), and the error of a timed-out attempt into DeadlineExceeded if the call `is_over`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

from ..errors import CircuitOpen, DeadlineExceeded, RateLimited
from ..events import (
    AttemptEnded,
    AttemptStarted,
    BackoffSource,
    BreakerState,
    CallEnded,
    QuotaSeen,
    RetryScheduled,
    RetryStarted,
    RetrySuppressed,
    Suppression,
    Target,
)
from ..outcome import Attempt, Outcome, Reason, Rejection, Result
from .admission import Admission
from .admission_rule import Refused
from .backoff import delay
from .concurrency_and_pacing import Slot
from .steps import Send, Stop, Wait
from .upstream import Upstream


class Call:
    """One call. Only one thread or task may use it at a time. State that calls share belongs to the upstream."""

    def __init__(
        self,
        upstream: Upstream,
        target: Target,
        *,
        attempt_timeout: float | None = None,
        deadline: float | None = None,
        idempotent: bool | None = None,
        replayable: bool = True,
    ) -> None:
        """Start a call.

        :param attempt_timeout: seconds; can only shorten the policy's `attempt_timeout`.
        :param deadline: a time on the upstream's clock; can only shorten the policy's `total_timeout`.
        :param idempotent: whether the request may be sent twice; None: `Policy.retry_methods` decides.
        :param replayable: whether the body can be sent again.
        """
        policy = upstream.policy
        self.upstream = upstream
        self.target = target
        self._started = now = upstream.clock()
        self.deadline = now + policy.total_timeout
        if deadline is not None:
            self.deadline = min(self.deadline, deadline)
        self._attempt_timeout = policy.attempt_timeout
        if attempt_timeout is not None:
            self._attempt_timeout = min(self._attempt_timeout, attempt_timeout)
        if idempotent is None:
            idempotent = target.method in policy.retry_methods
        self._repeatable = idempotent and replayable
        self._admission = Admission(upstream)
        self._attempts: list[Attempt] = []
        self._attempt_started: float | None = None
        self.granted = self._attempt_timeout
        """Seconds that the current or the next attempt may take."""
        self.duration = 0.0
        """Seconds that the last attempt took."""
        self._fresh = False
        """Whether the next attempt must use a new connection, because nothing was received on a reused one. Such a
        retry has no delay; each call has at most one."""
        self._refreshed = 0
        self._not_before = now
        self._retry: RetryScheduled | None = None
        """The retry that was scheduled last."""
        self._waited = 0.0
        self._ended = now
        self._suppressed: Suppression | None = None

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        """The attempts so far."""
        return tuple(self._attempts)

    @property
    def is_over(self) -> bool:
        """Whether the total timeout has expired."""
        return self.upstream.clock() >= self.deadline

    def begin(self) -> Send | Wait | Stop:
        """Return the next step.

        :raises CircuitOpen, RateLimited, DeadlineExceeded: if the call is finished and has sent nothing.
        """
        now = self.upstream.clock()
        self._admission.resume(self, now)
        refused = self._admission.refusal(now)
        if refused is not None:
            return self._refuse(refused)
        if now < self._not_before:
            return Wait(self._not_before - now)
        left = self.deadline - now
        if left <= 0:
            when = (
                "while the call waited for its turn"
                if self._admission.holds_reservation
                else "before the first attempt"
            )
            why = f"the total timeout expired {when}"
            return self._refuse(Refused(Rejection.DEADLINE_EXCEEDED, Suppression.DEADLINE, why))
        self.granted = min(left, self._attempt_timeout)
        obstacle = self._admission.ask(self, now)
        if isinstance(obstacle, Refused):
            return self._refuse(obstacle)
        if obstacle is not None:
            return obstacle
        if self._retry is not None:
            self._start_retry(self._retry, now)
        self._admission.sent()
        self._attempt_started = now
        self.upstream.observe(AttemptStarted(self.upstream.name, self.target))
        return Send(self.granted, fresh=self._fresh)

    def end(self, outcome: Outcome) -> bool:
        """Record the outcome of the attempt. Returns True to call `begin` again, False if the call is finished."""
        now = self._close_attempt(outcome)
        self._admission.tell(self, outcome, now)
        if outcome.quota is not None:
            self.upstream.observe(QuotaSeen(self.upstream.name, outcome.quota, self.upstream.partition))
        self._retry = self._decide_retry(outcome, now)
        if self._retry is None:
            self._finish(outcome.result, outcome.reason)
            return False
        self.upstream.observe(self._retry)
        self._ended = now
        self._not_before = now + self._retry.delay
        return True

    def cancel(self) -> None:
        """Abort the call and release everything that it holds or waits for. Does nothing after the end of the call."""
        if self._attempt_started is not None:
            self._close_attempt(None)
        self._admission.give_back()

    @contextmanager
    def waking(self, wake: Callable[[], object]) -> Iterator[None]:
        """Inside the block, call `wake` when `begin` should be called again.

        This is when a slot is free, a probe election is decided, or the breaker has opened.

        `wake` may run in any thread, and in a finalizer between any two lines of a program. So it must not acquire a
        lock, as `threading.Event.set` does. `queue.SimpleQueue.put` is safe.
        """
        with self.upstream.waking(wake):
            self._admission.waking(wake)
            yield

    def keep_slot(self) -> Slot | None:
        """Return the slot of the current attempt, which the caller must release with `Slot.leave`; None: no limit."""
        return self._admission.keep_slot()

    def _decide_retry(self, outcome: Outcome, now: float) -> RetryScheduled | None:
        policy, upstream = self.upstream.policy, self.upstream
        number = len(self._attempts)
        if not outcome.transient or number > policy.retries:
            return None
        if outcome.sent and not self._repeatable:
            self._suppress(Suppression.NOT_IDEMPOTENT)
            return None
        if upstream.breaker is not None and upstream.breaker.state is BreakerState.OPEN:
            self._suppress(Suppression.BREAKER_OPEN)
            return None
        self._fresh = outcome.stale and not self._refreshed
        self._refreshed += self._fresh
        seconds = (
            0.0
            if self._fresh
            else delay(
                number - self._refreshed,
                base=policy.backoff,
                ceiling=policy.backoff_max,
                jitter=policy.jitter,
                chance=upstream.random(),
            )
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
        return RetryScheduled(upstream.name, self.target, outcome.reason or Reason.OTHER, seconds, source)

    def _start_retry(self, retry: RetryScheduled, now: float) -> None:
        self._waited = now - self._ended
        self.upstream.observe(RetryStarted(retry.upstream, retry.target, retry.reason, self._waited, retry.source))

    def _suppress(self, reason: Suppression) -> None:
        self._suppressed = reason
        self.upstream.observe(RetrySuppressed(self.upstream.name, self.target, reason))

    def _refuse(self, refused: Refused) -> Stop:
        """End the call without another attempt. Returns `Stop` if an attempt was made, otherwise raises the error."""
        self._admission.give_back()
        if self._attempts:
            last = self._attempts[-1].outcome
            self._suppress(refused.suppression)
            self._finish(last.result, last.reason)
            return Stop()
        self._finish(Result.REJECTED, refused.rejection)
        text = f"{self.target.method} to {self.target.host} was not sent: {refused.why}"
        if refused.rejection is Rejection.DEADLINE_EXCEEDED:
            raise DeadlineExceeded(text)
        kind = CircuitOpen if refused.rejection is Rejection.BREAKER_OPEN else RateLimited
        raise kind(text, datetime.now(UTC) + timedelta(seconds=refused.retry_in))

    def _close_attempt(self, outcome: Outcome | None) -> float:
        now = self.upstream.clock()
        begun = now if self._attempt_started is None else self._attempt_started
        self._attempt_started = None
        self.duration = now - begun
        if outcome is not None:
            self._attempts.append(Attempt(outcome, now - begun, self._waited))
        self.upstream.observe(AttemptEnded(self.upstream.name, self.target, outcome, now - begun))
        return now

    def _finish(self, result: Result, reason: Reason | Rejection | None) -> None:
        upstream, now = self.upstream, self.upstream.clock()
        remaining = upstream.budget.remaining(now) if upstream.budget is not None else None
        seconds = now - self._started
        upstream.observe(
            CallEnded(upstream.name, self.target, result, reason, self.attempts, seconds, self._suppressed, remaining)
        )
