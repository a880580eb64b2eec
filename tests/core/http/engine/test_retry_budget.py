"""The retry budget: retries are a share of the traffic, and never become the traffic."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

from hypothesis import example, given
from hypothesis import strategies as st

from core.http.engine.call import Call
from core.http.engine.retry_budget import Budget
from core.http.engine.upstream import Upstream
from core.http.events import Target
from core.http.policy import Policy, RetryBudget

CALL = Call(
    Upstream("example", Policy(), clock=lambda: 0.0, random=lambda: 0.0, observe=lambda _: None),
    Target("GET", "https", "example.org", "/"),
)

STEPS = st.lists(
    st.tuples(st.sampled_from(["attempt", "retry"]), st.integers(1, 30), st.just(0.0) | st.floats(0, 15)), max_size=30
)


def taken(budget: Budget, now: float, times: int = 1000) -> int:
    """Take retries until the budget is used up; return their number."""
    return sum(budget.take(now) for _ in range(times))


def test_a_quiet_upstream_has_ten_retries() -> None:
    """Without traffic to have a share of, ten retries may be made, not eleven."""
    assert taken(Budget(RetryBudget()), 100.0) == 10


def test_a_fifth_of_the_attempts_may_be_retries() -> None:
    """After 100 attempts there are 20 retries more."""
    budget = Budget(RetryBudget())
    for _ in range(100):
        budget.ask(CALL, 100.0)
    assert taken(budget, 100.0) == 30


def test_the_share_is_not_rounded_up() -> None:
    """A fraction of a retry is no retry, so the limit holds for small numbers too."""
    budget = Budget(RetryBudget(minimum=0))
    for _ in range(4):
        budget.ask(CALL, 100.0)
    assert not budget.take(100.0)
    budget.ask(CALL, 100.0)
    assert budget.take(100.0)
    assert not budget.take(100.0)


def test_it_fills_up_again() -> None:
    """Ten seconds after the last retry, the ten are there again; before, only as many as have become old."""
    budget = Budget(RetryBudget())
    assert taken(budget, 100.0, 4) == 4
    assert taken(budget, 105.0) == 6
    assert taken(budget, 110.0) == 0
    assert taken(budget, 111.0) == 4
    assert taken(budget, 116.0) == 6


def test_what_remains_is_a_fraction() -> None:
    """The remaining budget is a fraction: 1 if no retry was used, 0 if all were."""
    budget = Budget(RetryBudget())
    assert budget.remaining(0.0) == 1
    for left in (0.9, 0.8, 0.7):
        budget.take(0.0)
        assert abs(budget.remaining(0.0) - left) < 1e-9
    taken(budget, 0.0)
    assert budget.remaining(0.0) == 0
    assert budget.remaining(100.0) == 1


def test_what_remains_is_never_negative() -> None:
    """When attempts leave the window before the retries they allowed, the remaining budget is 0, not negative."""
    budget = Budget(RetryBudget(minimum=0, ratio=1))
    for _ in range(10):
        budget.ask(CALL, 100.0)
    assert taken(budget, 109.0) == 10
    assert budget.remaining(112.0) == 0
    assert not budget.take(112.0)


def test_a_budget_of_nothing_allows_nothing() -> None:
    """ratio=0 and minimum=0 forbid every retry."""
    budget = Budget(RetryBudget(ratio=0, minimum=0))
    budget.ask(CALL, 0.0)
    assert not budget.take(0.0)
    assert budget.remaining(0.0) == 0


@given(steps=STEPS, minimum=st.integers(0, 12), share=st.sampled_from([0.0, 0.2, 0.5, 1.0]))
@example(steps=[("attempt", 4, 0.0), ("retry", 2, 0.0)], minimum=0, share=0.2)
def test_the_bound_holds_in_any_ten_seconds(steps: list[tuple[str, int, float]], minimum: int, share: float) -> None:
    """Whenever a retry is granted: those of the last 10 s are at most a share of the recent attempts, plus ten."""
    budget = Budget(RetryBudget(ratio=share, minimum=minimum))
    attempts: list[float] = []
    retries: list[float] = []
    now = 0.0
    for what, times, passed in steps:
        now += passed
        for _ in range(times):
            if what == "attempt":
                budget.ask(CALL, now)
                attempts.append(now)
            elif budget.take(now):
                retries.append(now)
                recent = sum(now - time < 11 for time in attempts)  # in buckets of a second
                assert sum(now - time <= 10 for time in retries) <= minimum + share * recent + 1e-9
        assert 0 <= budget.remaining(now) <= 1


@given(steps=STEPS)
def test_no_retry_is_refused_without_need(steps: list[tuple[str, int, float]]) -> None:
    """A retry is refused only when one more would break the bound."""
    budget = Budget(RetryBudget())
    attempts: list[float] = []
    retries: list[float] = []
    now = 0.0
    for what, times, passed in steps:
        now += passed
        for _ in range(times):
            if what == "attempt":
                budget.ask(CALL, now)
                attempts.append(now)
            elif budget.take(now):
                retries.append(now)
            else:
                certain = sum(now - time <= 10 for time in attempts)
                assert sum(now - time < 11 for time in retries) + 1 > 10 + 0.2 * certain


def test_threads_cannot_exceed_it() -> None:
    """Eight threads at the same moment get no more retries than one thread."""
    for _ in range(20):
        budget = Budget(RetryBudget())
        start = threading.Barrier(8)

        def work(_: int, budget: Budget = budget, start: threading.Barrier = start) -> int:
            start.wait()
            return taken(budget, 5.0, 50)

        with ThreadPoolExecutor(8) as pool:
            assert sum(pool.map(work, range(8))) == 10


def test_of_no_retries_none_remain() -> None:
    """A policy that allows none has nothing left, with or without attempts."""
    budget = Budget(RetryBudget(minimum=0, ratio=0))
    assert budget.remaining(100.0) == 0.0
