"""Parts that are asked for again later in the same run."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from django.utils import timezone

from core.http.testing import OutboundHTTP
from package.jobs import run_retries
from package.jobs.run import PATIENCE, run
from package.jobs.run_retries import MOST_FETCHES
from package.jobs.stopper import Stopper
from package.models import Package, SourceStatus
from package.sources.client import Client
from package.sources.errors import LeftAlone, NotReady, Unusable
from package.sources.fetch_results import FetchResult
from package.sources.fields import Reading
from package.sources.package_parts import Part
from tests.package.conftest import CannedPyPI, MakePackage, stub
from tests.package.jobs.running import (
    FAILED,
    LEFT_ALONE,
    NOT_READY,
    PUT_ASIDE,
    UPDATED,
    Told,
    answering,
    refresh,
    row,
)


class TestPutAside:
    """Parts that failed for now are tried again in the same run, after the others."""

    def test_comes_back(self, make_package: MakePackage, pypi: CannedPyPI) -> None:
        """A failure that outlasts the retries of a call is tried again in a second pass."""
        pypi.calls("a", answering(503, 503, 503, 503))
        pypi.knows("b")
        summary, told = refresh(make_package("a"), make_package("b"))
        assert told == [
            Told("a", {"pypi": PUT_ASIDE, "pypistats": UPDATED}, again=False),
            Told("b", {"pypi": UPDATED, "pypistats": UPDATED}, again=False),
            Told("a", {"pypi": UPDATED}, again=True),
        ]
        assert summary.outcomes == {"pypi": {UPDATED: 2}, "pypistats": {UPDATED: 2}}
        assert (summary.tried, summary.put_aside, summary.stopped) == (2, 1, "")
        kept = Package.objects.get(slug="a")
        assert (kept.pypi_license, kept.last_exception, kept.last_exception_count) == ("MIT", "", 0)
        assert (row("a").failures, row("a").error) == (0, "")

    def test_delays_between_passes_double(
        self, make_package: MakePackage, parts: list[Part], outbound_http: OutboundHTTP
    ) -> None:
        """The delay between fetches doubles, while the run's patience lasts."""
        asked: list[float] = []

        def fail(_: Client) -> Reading:
            asked.append(outbound_http.clock.now)
            raise NotReady("not yet", "not_ready")

        parts.append(stub("a", fail))
        summary, told = refresh(make_package())
        assert asked == pytest.approx([0, 3, 9, 21])
        assert outbound_http.clock.now <= PATIENCE
        assert [each.outcomes["stub"] for each in told] == [PUT_ASIDE] * 4
        assert summary.outcomes == {"stub": {NOT_READY: 1}}

    def test_is_asked_for_so_often_and_no_more(
        self, make_package: MakePackage, parts: list[Part], outbound_http: OutboundHTTP
    ) -> None:
        """The number of fetches of a part is limited, even if time is left."""
        part = stub("a", NotReady("not yet", "not_ready"))
        parts.append(part)
        summary, told = refresh(make_package(), stopper=Stopper(time_budget=10_000))
        assert len(told) == MOST_FETCHES
        assert told[-1].outcomes == {"stub": NOT_READY}
        assert outbound_http.clock.now == pytest.approx(3 + 6 + 12 + 24 + 48)
        assert (summary.outcomes, summary.stopped) == ({"stub": {NOT_READY: 1}}, "")

    def test_without_a_known_time_the_number_of_fetches_is_limited(
        self, make_package: MakePackage, parts: list[Part]
    ) -> None:
        """A part that is left alone without a known time has a limited number of fetches."""
        parts.append(stub("a", LeftAlone("there was no time left", "deadline_exceeded")))
        summary, told = refresh(make_package(), stopper=Stopper(time_budget=10_000))
        assert len(told) == MOST_FETCHES
        assert (summary.outcomes, summary.stopped) == ({"stub": {LEFT_ALONE: 1}}, "")
        assert SourceStatus.objects.get().error == "there was no time left"

    def test_is_one_failure(self, make_package: MakePackage, pypi: CannedPyPI) -> None:
        """Several failed fetches count as one failure, and the summary has the last result."""
        pypi.answers("a", 429)
        package = make_package("a")
        summary, told = refresh(package)
        assert len(told) > 2
        assert summary.outcomes["pypi"] == {FAILED: 1}
        assert (row("a").failures, Package.objects.get().last_exception_count) == (1, 1)
        assert 1 < (row("a").next_due - timezone.now()) / timedelta(hours=1) * 1.01 < 1.3

    def test_requests_only_failed_parts(self, make_package: MakePackage, pypi: CannedPyPI) -> None:
        """A pass requests only the parts that failed."""
        pypi.answers("a", 503)
        refresh(make_package("a"))
        statistics = [call for call in pypi.mock.calls if "pypistats" in call.request.url]
        assert len(statistics) == 1

    def test_an_unusable_answer_is_not_tried_again(self, make_package: MakePackage, parts: list[Part]) -> None:
        """A part whose answer is unusable is not tried again."""
        parts.append(stub("a", Unusable("no JSON", "other")))
        summary, told = refresh(make_package())
        assert (len(told), summary.put_aside, summary.outcomes) == (1, 0, {"stub": {FAILED: 1}})

    def test_a_part_that_was_not_ready_is_tried_again(
        self, make_package: MakePackage, parts: list[Part], outbound_http: OutboundHTTP
    ) -> None:
        """A part that was not ready is tried again after the others."""
        parts.append(stub("a", NotReady("not yet", "not_ready"), Reading({"repo_forks": 5})))
        summary, _ = refresh(make_package())
        assert summary.outcomes == {"stub": {UPDATED: 1}}
        assert Package.objects.get().repo_forks == 5
        assert outbound_http.clock.now == pytest.approx(3)

    def test_a_part_that_was_not_ready_and_then_fails_counts_as_failed(
        self, make_package: MakePackage, parts: list[Part]
    ) -> None:
        """A part that is not ready first and fails later counts as failed."""
        parts.append(stub("a", NotReady("not yet", "not_ready"), Unusable("no JSON", "other")))
        refresh(make_package())
        assert SourceStatus.objects.get().failures == 1
        assert Package.objects.get().last_exception_count == 1

    def test_waits_for_no_longer_than_patience_reaches(
        self, make_package: MakePackage, parts: list[Part], outbound_http: OutboundHTTP
    ) -> None:
        """The patience is a total for all waits."""
        parts.append(stub("a", NotReady("not yet", "not_ready")))
        refresh(*(make_package(f"p{number}") for number in range(20)))
        assert outbound_http.clock.now <= PATIENCE

    def test_of_a_package_that_has_another_address_by_now_is_dropped(
        self, make_package: MakePackage, parts: list[Part]
    ) -> None:
        """Parts that were put aside are dropped if the address of their package changes."""
        package = make_package()
        parts.append(stub("a", NotReady("not yet", "not_ready")))
        told: list[bool] = []

        def move(_: Package, __: list[FetchResult], again: bool) -> None:
            told.append(again)
            parts[:] = [stub("b", Reading())]

        summary = run([package.pk], Stopper(), move)
        assert (told, summary.outcomes) == ([False], {})


@pytest.mark.parametrize("slugs", ["a", "ab"])
def test_a_paused_source_is_logged_once(
    make_package: MakePackage, parts: list[Part], caplog: pytest.LogCaptureFixture, slugs: str
) -> None:
    """The first part that is put aside because its source is paused is logged with the reason, the others are not."""
    until = timezone.now() + timedelta(hours=1)
    for source in ("one", "two"):
        refusal = LeftAlone(f"{source} is down", "breaker_open", until)
        parts.append(stub("a", refusal, source=source, api=f"https://{source}.test"))
    refresh(*map(make_package, slugs))
    lines = [record.getMessage() for record in caplog.records if "paused" in record.getMessage()]
    assert lines == ["Refreshing one paused: one is down", "Refreshing two paused: two is down"]


def test_a_part_comes_again_while_another_is_still_fetched(
    make_package: MakePackage, parts: list[Part], outbound_http: OutboundHTTP, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With several workers, an idle one fetches a part again as soon as it is ready, whatever the others do."""
    monkeypatch.setattr(run_retries, "FIRST_PAUSE", 0.05)
    again = threading.Event()
    answers = iter((NotReady("not yet", "not_ready"), None))
    in_time: list[bool] = []

    def quick(_: Client) -> Reading:
        if error := next(answers):
            raise error
        again.set()
        return Reading()

    def long(_: Client) -> Reading:
        for _step in range(6000):
            if again.wait(0.01):
                break
            outbound_http.clock.advance(0.01)
        in_time.append(again.is_set())
        return Reading()

    parts += [
        stub("a", long, source="one", api="https://one.test"),
        stub("b", quick, source="two", api="https://two.test"),
    ]
    run([make_package().pk], Stopper(), lambda *_: None, workers=2)
    assert in_time == [True]
