"""Checks of examples: which are taken, in which order, and what is reported of each."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from responses import RequestsMock

from package.jobs.example_checks import APART, PERMANENT_IN_A_ROW, CheckOutcome, ExamplesSummary, check, to_check
from package.jobs.stopper import Stopper
from package.models import Package, PackageExample

MakeExample = Callable[..., PackageExample]
DAY = timedelta(days=1)


@pytest.fixture
def make_example(package: Package) -> MakeExample:
    def make(title: str = "a", **fields: Any) -> PackageExample:
        url = f"https://{title}.test/"
        return PackageExample.objects.create(package=package, title=title, url=url, **fields)

    return make


def checked(*examples: PackageExample) -> tuple[ExamplesSummary, list[str]]:
    """Check these examples; return the summary, and each result that was told."""
    told: list[str] = []
    keys = [example.pk for example in examples]
    return check(keys, Stopper(), lambda line, note: told.append(f"{line}: {note}")), told


@pytest.mark.parametrize(("status", "activated"), [(200, True), (404, False), (500, False)])
def test_only_an_inactive_example_that_answers_becomes_active(
    make_example: MakeExample, responses: RequestsMock, status: int, activated: bool
) -> None:
    """The summary lists the examples that changed, and no others."""
    responses.get("https://a.test/", status=status)
    summary, _ = checked(make_example(active=False, failures=PERMANENT_IN_A_ROW))
    assert [name.partition(":")[0] for name in summary.activated] == ["fortune"] * activated
    assert summary.deactivated == []


def test_an_active_example_that_answers_does_not_become_active(
    make_example: MakeExample, responses: RequestsMock
) -> None:
    """It was active before."""
    responses.get("https://a.test/", status=200)
    example = make_example()
    summary, told = checked(example)
    assert (summary.activated, summary.outcomes) == ([], {CheckOutcome.ANSWERS: 1})
    assert told == [f"fortune: example {example.pk} (a.test): answers: HTTP 200"]


@pytest.mark.parametrize("fields", [{"active": False}, {"active": False, "failures": PERMANENT_IN_A_ROW - 1}])
def test_an_example_that_a_person_has_hidden_is_skipped(make_example: MakeExample, fields: dict[str, Any]) -> None:
    """No request is sent, also if it was hidden after the run had begun."""
    hidden = make_example(**fields)
    deleted = make_example("b")
    PackageExample.objects.filter(pk=deleted.pk).delete()
    deleted.pk = hidden.pk + 1
    summary, told = checked(hidden, deleted)
    assert summary.outcomes == {CheckOutcome.SKIPPED: 2}
    assert told == [f"example {pk}: skipped: was deleted or hidden meanwhile" for pk in (hidden.pk, deleted.pk)]


def test_which_are_checked(make_example: MakeExample) -> None:
    """Inactive examples are checked only on request, and those that a person has hidden never."""
    make_example("hidden", active=False)
    make_example("gone", active=False, failures=PERMANENT_IN_A_ROW)
    make_example("fine")
    assert {example.title for example in to_check()} == {"fine"}
    assert {example.title for example in to_check(inactive=True)} == {"fine", "gone"}
    assert {example.title for example in to_check(["fortune"])} == {"fine"}
    assert not to_check(["other"])


def test_examples_whose_answer_would_not_count_come_last(make_example: MakeExample) -> None:
    """Until `APART` has passed since a permanent answer, another one does not count, so others are checked first."""
    now = timezone.now()
    make_example("too soon", failures=1, last_checked=now - APART / 2)
    make_example("again", failures=1, last_checked=now - APART)
    make_example("fine", last_checked=now - APART / 3)
    make_example("activated by hand", failures=PERMANENT_IN_A_ROW, last_checked=now - APART / 4)
    make_example("long ago", last_checked=now - DAY)
    make_example("never", failures=1)
    order = ["never", "long ago", "again", "fine", "activated by hand", "too soon"]
    assert [example.title for example in to_check()] == order


@pytest.mark.parametrize(
    ("outcomes", "nothing"),
    [
        ([], False),
        ([CheckOutcome.UNREACHABLE], True),
        ([CheckOutcome.FAILED, CheckOutcome.LEFT_ALONE], True),
        ([CheckOutcome.SKIPPED, CheckOutcome.REFUSED], False),
        ([CheckOutcome.UNREACHABLE, CheckOutcome.UNCLEAR], False),
        ([CheckOutcome.UNREACHABLE, CheckOutcome.GONE], False),
        ([CheckOutcome.ANSWERS], False),
    ],
)
def test_reached_nothing(outcomes: list[CheckOutcome], nothing: bool) -> None:
    """A run reached nothing if a server was to be asked, and none answered."""
    summary = ExamplesSummary()
    summary.outcomes.update(outcomes)
    assert summary.reached_nothing is nothing


def test_figures_for_the_metrics() -> None:
    """Only unexpected errors are failures of the job; an answer that a page is gone is a success."""
    summary = ExamplesSummary()
    summary.outcomes.update([*CheckOutcome, CheckOutcome.ANSWERS, CheckOutcome.FAILED])
    assert summary.items == {"success": 6, "failure": 2, "skipped": 2}
