"""Fetching the parts of one package: which parts are not requested, because their source is paused."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from typing import Protocol

import pytest
from django.utils import timezone

from package.jobs.refresh_one import refresh_one
from package.jobs.stopper import Stopped
from package.models import Package, SourceStatus
from package.sources.client import Client
from package.sources.errors import LeftAlone
from package.sources.fetch_results import FetchOutcome
from package.sources.fields import Reading
from package.sources.package_parts import Part
from tests.package.conftest import stub

LEFT_ALONE, UPDATED = FetchOutcome.LEFT_ALONE, FetchOutcome.UPDATED
HOUR = timedelta(hours=1)


class Answering(Protocol):
    """Makes a part whose source answers."""

    def __call__(self, name: str, source: str = "stub") -> Part: ...


@pytest.fixture
def asked() -> list[str]:
    """Return the names of the parts that were requested."""
    return []


@pytest.fixture
def answering(asked: list[str]) -> Answering:
    """Return a function that makes a part and notes each request for it in `asked`."""

    def make(name: str, source: str = "stub") -> Part:
        def answer(_: Client) -> Reading:
            asked.append(name)
            return Reading({"repo_forks": 5})

        return stub(name, answer, source=source)

    return make


@pytest.mark.parametrize(
    ("reason", "of_the_others"),
    [("breaker_open", "breaker_open"), ("rate_limited", "rate_limited"), ("unauthorized", "rate_limited")],
)
def test_the_other_parts_of_a_paused_source_are_not_requested(
    package: Package,
    parts: list[Part],
    answering: Answering,
    asked: list[str],
    reason: str,
    of_the_others: str,
) -> None:
    """If the answer to one part pauses its source, the other parts get the same result, as calls that were not sent."""
    until = datetime.now(UTC) + HOUR
    elsewhere = answering("c", source="elsewhere")
    parts += [stub("a", LeftAlone("The stub is paused", reason, until)), answering("b"), elsewhere]
    first, second, third = refresh_one(package)
    assert asked == ["c"]
    assert (first.outcome, first.reason) == (LEFT_ALONE, reason)
    assert (second.outcome, second.reason, second.part) == (LEFT_ALONE, of_the_others, "b")
    assert (second.error, second.retry_at) == ("The stub is paused", until)
    assert third.outcome is UPDATED


@pytest.mark.parametrize("until", [None, datetime.now(UTC) - HOUR])
def test_the_other_parts_are_requested_once_the_pause_is_over(
    package: Package, parts: list[Part], answering: Answering, asked: list[str], until: datetime | None
) -> None:
    """A pause that is over by then, or whose end is unknown, does not keep the other parts from being requested."""
    parts += [stub("a", LeftAlone("The stub is paused", "deadline_exceeded", until)), answering("b")]
    assert [result.outcome for result in refresh_one(package)] == [LEFT_ALONE, UPDATED]
    assert asked == ["b"]


@pytest.mark.parametrize(("seconds", "outcome"), [(10.0, UPDATED), (10.1, LEFT_ALONE)])
def test_a_call_waits_ten_seconds_for_the_end_of_a_pause(
    package: Package,
    parts: list[Part],
    answering: Answering,
    monkeypatch: pytest.MonkeyPatch,
    seconds: float,
    outcome: FetchOutcome,
) -> None:
    """If core.http refuses calls for longer than 10 s, the part is not requested, so no thread waits for it."""
    refusal = seconds, LeftAlone("The stub is down", "breaker_open", datetime.now(UTC) + HOUR)
    monkeypatch.setattr(Part, "refusal", lambda _: refusal)
    parts.append(answering("a"))
    [result] = refresh_one(package)
    assert result.outcome is outcome


@pytest.mark.parametrize(("name", "what"), [("commits", "commits"), ("", "data")])
def test_an_unexpected_error_names_the_part(
    package: Package, parts: list[Part], caplog: pytest.LogCaptureFixture, name: str, what: str
) -> None:
    """The log says which part of which source was fetched when a bug showed; a source with one part has no name."""
    parts.append(stub(name, ZeroDivisionError()))
    refresh_one(package)
    [record] = [record for record in caplog.records if record.exc_info]
    assert record.getMessage() == f"fortune: unexpected error fetching {what} from stub"


@pytest.mark.parametrize(("before", "told"), [("Tells fortunes", True), ("", False)])
def test_a_value_that_the_source_no_longer_has_is_logged(
    package: Package, parts: list[Part], caplog: pytest.LogCaptureFixture, before: str, told: bool
) -> None:
    """The log has the old value of a field that is emptied, so that an operator can restore it."""
    Package.objects.update(repo_description=before)
    reading = Reading()
    reading.take("repo_description", lambda: None, withdraw=True)
    parts.append(stub("a", reading))
    refresh_one(Package.objects.get())
    assert Package.objects.get().repo_description == ""
    line = "fortune: repo_description emptied, as stub no longer has it: 'Tells fortunes'"
    assert [record.getMessage() for record in caplog.records if "emptied" in record.getMessage()] == [line] * told


def test_when_a_source_knows_the_package_again_its_other_parts_are_due(package: Package, parts: list[Part]) -> None:
    """Only the other parts of that source become due, because they were not fetched meanwhile."""
    later = timezone.now() + 5 * HOUR
    first = stub("a", Reading(), missing_since="repo_missing_since")
    parts += [first, stub("b", Reading()), stub("c", Reading(), source="elsewhere")]
    for part in parts:
        SourceStatus.objects.create(package=package, source=part.source, part=part.name, next_due=later)
    package.repo_missing_since = later
    refresh_one(package, parts=[first])
    due = dict(SourceStatus.objects.values_list("part", "next_due"))
    assert (due["b"], due["c"]) == (None, later)
    assert due["a"] > later


def test_a_part_that_a_stop_cut_short_is_not_logged_as_a_failure(
    package: Package, parts: list[Part], caplog: pytest.LogCaptureFixture
) -> None:
    """The end of the run is in its summary; a WARNING for the part would blame the source."""

    def stop(client: Client) -> Reading:
        client.asked = True
        raise Stopped("the time budget is used up")

    parts.append(stub("a", stop))
    with pytest.raises(Stopped):
        refresh_one(package)
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
