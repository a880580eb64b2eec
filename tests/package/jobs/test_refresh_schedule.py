"""When a part of a package is due again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from package.jobs.refresh_schedule import FRESH, NOT_READY, next_due
from package.sources.fetch_results import GOOD, FetchOutcome
from tests.package.jobs.outcomes import BAD, RECORDED

NOW = datetime(2030, 1, 1, 12, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


def wait(outcome: FetchOutcome, failures: int = 0, chance: float = 0.0) -> timedelta:
    return next_due(outcome, failures, NOW, lambda: chance) - NOW


class TestNextDue:
    """next_due."""

    @pytest.mark.parametrize("outcome", sorted(GOOD))
    def test_after_an_answer(self, outcome: FetchOutcome) -> None:
        """After a success, a part is due before the next daily run, even if that starts some hours early."""
        assert wait(outcome) == FRESH
        assert DAY / 2 < FRESH < DAY

    def test_while_the_source_works_on_it(self) -> None:
        """A part that was not ready is due in an hour."""
        assert wait(FetchOutcome.NOT_READY, failures=9) == NOT_READY == HOUR

    def test_after_failures(self) -> None:
        """After failures, the interval doubles each time, up to a week."""
        waits = [wait(FetchOutcome.FAILED, failures) / HOUR for failures in range(1, 11)]
        assert waits == [1, 2, 4, 8, 16, 32, 64, 128, 168, 168]

    def test_of_a_part_that_is_gone(self) -> None:
        """A part that is gone is due after a day at first, up to a month later."""
        assert [wait(FetchOutcome.NOT_FOUND, failures) / DAY for failures in range(1, 8)] == [1, 2, 4, 8, 16, 30, 30]

    def test_of_what_the_source_does_not_offer(self) -> None:
        """A part that the source does not offer is due in a week, or a little later."""
        assert wait(FetchOutcome.SKIPPED, failures=1) == 7 * DAY
        assert wait(FetchOutcome.SKIPPED, chance=0.5) == 7.7 * DAY

    def test_is_spread(self) -> None:
        """Parts that failed together are due at different times."""
        assert wait(FetchOutcome.FAILED, 1, chance=0.5) == HOUR * 1.1
        assert wait(FetchOutcome.NOT_FOUND, 9, chance=1.0) == 36 * DAY

    def test_draws_a_number_of_its_own(self) -> None:
        """The random source has a default."""
        assert len({next_due(FetchOutcome.FAILED, 5, NOW) for _ in range(20)}) > 1

    @given(outcome=st.sampled_from(RECORDED), failures=st.integers(0, 2**31 - 1), chance=st.floats(0, 1))
    def test_is_always_in_the_future_and_never_too_far_off(
        self, outcome: FetchOutcome, failures: int, chance: float
    ) -> None:
        """After any number of failures, a part is due within 36 days."""
        longest = 30 * DAY if outcome is FetchOutcome.NOT_FOUND else 7 * DAY
        assert HOUR <= wait(outcome, failures, chance) <= longest * 1.2

    @given(outcome=st.sampled_from(BAD), failures=st.integers(1, 10_000), chance=st.floats(0, 1))
    def test_never_comes_sooner_after_one_more_failure(
        self, outcome: FetchOutcome, failures: int, chance: float
    ) -> None:
        """With the same random number, a further failure never shortens the interval."""
        assert wait(outcome, failures, chance) <= wait(outcome, failures + 1, chance)
