"""Refreshing one package: the package's last_fetched, last_exception and next_due summarize the source statuses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone
from hypothesis import given, settings
from hypothesis import strategies as st

from package.jobs.refresh_one import refresh_one
from package.models import Category, Package, SourceStatus
from package.sources import package_parts
from package.sources.errors import Gone, LeftAlone, NotModified, NotReady
from package.sources.fetch_results import SkippedField
from package.sources.fields import Reading
from package.sources.package_parts import Part
from tests.package.conftest import MakePackage, stub
from tests.package.jobs.one_package import BROKEN, DOWN, GONE, forks, ledger, reloaded, watchers


def left_alone() -> LeftAlone:
    return LeftAlone("The stub is down; nothing is sent before 12:00:00 UTC", "breaker_open", datetime.now(UTC))


class TestWhatThePackageSays:
    """last_fetched, last_exception and next_due summarize the source statuses."""

    @pytest.mark.parametrize(
        ("answer", "moves"),
        [
            (forks(5), True),
            (Reading(skipped=[SkippedField("repo_forks", "is not a valid count")]), True),
            (NotModified(), True),
            (GONE, True),
            (BROKEN, False),
            (DOWN, False),
            (NotReady("not yet", "not_ready"), False),
            (left_alone(), False),
        ],
        ids=lambda value: type(value).__name__,
    )
    def test_last_fetched_is_when_something_answered(
        self, make_package: MakePackage, parts: list[Part], answer: Any, moves: bool
    ) -> None:
        """last_fetched does not change if no source answered."""
        before = timezone.now() - timedelta(days=3)
        package = make_package(last_fetched=before)
        parts.append(stub("a", answer))
        refresh_one(package)
        assert (reloaded(package).last_fetched != before) is moves

    def test_last_exception_is_of_all_that_fail(self, package: Package, parts: list[Part]) -> None:
        """last_exception has each error of the failing parts once, in order."""
        parts += [stub("a", BROKEN), stub("b", forks(1)), stub("c", DOWN, source="x"), stub("d", BROKEN, source="y")]
        refresh_one(package)
        kept = reloaded(package)
        assert kept.last_exception == "The stub answered HTTP 400; The stub answered HTTP 503"
        assert kept.last_exception_count == 1, "one refresh that did not go well, whatever it was that did not"

    def test_failures_of_parts_without_a_request_stay(self, package: Package, parts: list[Part]) -> None:
        """The failure of a part that was not requested now stays."""
        parts += [stub("a", BROKEN), stub("b", forks(1))]
        refresh_one(package)
        refresh_one(package, parts=parts[1:])
        kept = reloaded(package)
        assert (kept.last_exception, kept.last_exception_count) == ("The stub answered HTTP 400", 1)
        refresh_one(package, parts=[stub("a", forks(2))])
        kept = reloaded(package)
        assert (kept.last_exception, kept.last_exception_at, kept.last_exception_count) == ("", None, 0)

    def test_counts_one_failure_however_often_it_is_tried_again(self, package: Package, parts: list[Part]) -> None:
        """The failed fetches of one run are one failure."""
        parts.append(stub("a", DOWN))
        refresh_one(package)
        for _ in range(4):
            refresh_one(package, again=True)
        assert (reloaded(package).last_exception_count, ledger(package)["a"].failures) == (1, 1)

    def test_passes_without_a_request_do_not_split_a_failure(self, package: Package, parts: list[Part]) -> None:
        """A pass in which nothing was sent does not split one failure into two."""
        parts.append(stub("a", DOWN, left_alone(), DOWN))
        refresh_one(package)
        for _ in range(2):
            refresh_one(reloaded(package), again=True)
        assert (reloaded(package).last_exception_count, ledger(package)["a"].failures) == (1, 1)

    def test_a_success_ends_a_failure(self, package: Package, parts: list[Part]) -> None:
        """A part that succeeds ends the failure, even if a part that never failed was left alone."""
        parts += [stub("a", BROKEN, forks(5)), stub("b", left_alone(), source="elsewhere")]
        for _ in range(2):
            refresh_one(package)
        kept = reloaded(package)
        assert (kept.last_exception, kept.last_exception_at, kept.last_exception_count) == ("", None, 0)

    def test_a_source_that_is_left_alone_does_not_mend_the_package(self, package: Package, parts: list[Part]) -> None:
        """A source that is left alone keeps its failures, their time and the error."""
        parts.append(stub("a", BROKEN, BROKEN, left_alone()))
        for _ in range(2):
            refresh_one(package)
        before = reloaded(package)
        refresh_one(package)
        after = reloaded(package)
        assert before.last_exception_count == after.last_exception_count == 2
        assert after.last_exception_at == before.last_exception_at
        assert after.last_exception

    def test_next_due_is_that_of_the_first_part(self, package: Package, parts: list[Part]) -> None:
        """A package is due when one of its parts is."""
        parts += [stub("a", forks(1)), stub("b", BROKEN)]
        refresh_one(package)
        rows = ledger(package)
        assert reloaded(package).next_due == rows["b"].next_due
        assert rows["b"].next_due < rows["a"].next_due

    def test_next_due_is_now_while_a_part_was_never_tried(self, package: Package, parts: list[Part]) -> None:
        """A part that was never tried makes the package due now."""
        parts += [stub("a", forks(1)), stub("b", watchers(1))]
        refresh_one(package, parts=parts[:1])
        assert reloaded(package).next_due is None


SAID: dict[str, Callable[[int], Any]] = {
    "a value": forks,
    "nothing new": lambda _: NotModified(),
    "nonsense": lambda _: BROKEN,
    "503": lambda _: DOWN,
    "not yet": lambda _: NotReady("not yet", "not_ready"),
    "nothing, being left alone": lambda _: left_alone(),
    "gone": lambda _: GONE,
}
FIELDS = ("repo_forks", "repo_watchers", "commit_count")


@settings(max_examples=50)
@given(refreshes=st.lists(st.tuples(*[st.sampled_from(sorted(SAID))] * len(FIELDS)), min_size=1, max_size=6))
def test_the_package_agrees_with_its_ledger_for_any_results(
    category: Category, refreshes: list[tuple[str, ...]]
) -> None:
    """For any results, the package agrees with its source statuses: values, errors and when it is due."""
    Package.objects.all().delete()
    package = Package.objects.create(title="x", slug="x", category=category, pypi_url="x")
    expected = dict.fromkeys(FIELDS, 0)
    failures = dict.fromkeys(FIELDS, 0)
    for number, answers in enumerate(refreshes, 1):
        parts = []
        for field, said in zip(FIELDS, answers, strict=True):
            answer = SAID[said](number)
            if isinstance(answer, Reading):
                answer = Reading({field: number})
                expected[field] = number
            parts.append(stub(field, answer, source=field))
            good = said in {"a value", "nothing new"}
            failures[field] = 0 if good else failures[field] + (said in {"nonsense", "503", "gone"})
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(package_parts, "parts_of", lambda _, parts=parts: parts)
            refresh_one(reloaded(package))
        kept, rows = reloaded(package), ledger(package)
        assert {field: getattr(kept, field) for field in FIELDS} == expected
        assert {field: rows[field].failures for field in FIELDS} == failures
        dues = [rows[field].next_due for field in FIELDS]
        assert kept.next_due == (None if None in dues else min(dues))
        failing = [rows[field].error for field in FIELDS if rows[field].outcome == "failed"]
        left = any(row.outcome == "left alone" and row.failures for row in rows.values())
        if failing or not left:
            assert set(filter(None, kept.last_exception.split("; "))) == set(failing)
        assert bool(kept.last_exception) == bool(kept.last_exception_at) == bool(kept.last_exception_count)


def test_all_parts_of_a_repository_that_is_back_are_due(package: Package, parts: list[Part]) -> None:
    """When a repository is back, all its parts are due."""
    first = replace(stub("a", forks(1), Gone("gone"), forks(2)), missing_since="repo_missing_since")
    parts += [first, stub("b", forks(1))]
    for _ in range(2):
        refresh_one(package)
    refresh_one(reloaded(package), parts=[first])
    assert reloaded(package).next_due is None


def test_a_refresh_by_a_visitor_does_not_delay_the_next_one(package: Package, parts: list[Part]) -> None:
    """Refreshes by visitors do not delay when a failing part is due."""
    parts.append(stub("a", DOWN))
    refresh_one(package)
    due = timezone.now() + timedelta(minutes=30)  # sooner than any pause after a failure, with any jitter
    SourceStatus.objects.update(next_due=due)
    for _ in range(3):
        refresh_one(reloaded(package), again=True)
    kept = reloaded(package)
    assert kept.next_due == due
    assert (kept.last_exception_count, ledger(package)["a"].failures) == (1, 1)
