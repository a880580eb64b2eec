"""A run while a source is down, out of quota, or answers with errors."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from prometheus_client import REGISTRY
from pytest_django import Settings

import config.settings as site
from core.http import ResilientSession, process
from core.http.origin import origin_of
from core.http.testing import OutboundHTTP
from package.jobs.due import due
from package.jobs.pauses import RESERVE
from package.jobs.run import run
from package.jobs.stopper import Stopper
from package.models import Package, SourceStatus
from package.sources.client import Client
from package.sources.fetch_results import FetchResult
from package.sources.fields import Reading
from package.sources.package_parts import Part
from tests.package.conftest import CannedPyPI, MakePackage, stub
from tests.package.jobs.running import (
    FAILED,
    LEFT_ALONE,
    PUT_ASIDE,
    UPDATED,
    ago,
    answering,
    at_first,
    body,
    refresh,
    row,
    slugs,
    warnings,
)
from tests.upstreams.pypi import project


class TestSourceThatIsDown:
    """Upstreams that are down, or ask for a pause, get no requests; the others continue."""

    @pytest.fixture
    def packages(self, make_package: MakePackage) -> list[Package]:
        return [make_package(f"p{number}") for number in range(6)]

    @staticmethod
    def out_of_order(
        pypi: CannedPyPI, packages: list[Package], outbound_http: OutboundHTTP, until: float
    ) -> list[float]:
        """Let PyPI answer 503 until that time; return the times of its requests."""
        asked: list[float] = []

        def answer(request: Any) -> tuple[int, dict[str, str], str]:
            asked.append(outbound_http.clock.now)
            return (200, {}, body(request)) if outbound_http.clock.now >= until else (503, {}, "")

        for package in packages:
            pypi.calls(package.slug, answer)
        return asked

    def test_costs_one_probe_for_each_of_its_pauses(
        self, packages: list[Package], pypi: CannedPyPI, outbound_http: OutboundHTTP
    ) -> None:
        """While a source is down, only one probe per pause is sent."""
        asked = self.out_of_order(pypi, packages, outbound_http, until=1e9)
        summary, told = refresh(*packages)
        assert at_first(told) == slugs(packages)
        opened = asked[9]
        assert [moment - opened for moment in asked[10:]] == pytest.approx([15])
        assert summary.outcomes == {"pypi": {FAILED: 4, LEFT_ALONE: 2}, "pypistats": {UPDATED: 6}}

    def test_is_probed_as_long_as_there_is_time(
        self, packages: list[Package], pypi: CannedPyPI, outbound_http: OutboundHTTP
    ) -> None:
        """In a long run, an outage costs only the probes of the breaker, however many packages wait."""
        asked = self.out_of_order(pypi, packages, outbound_http, until=1e9)
        summary, _ = refresh(*packages, stopper=Stopper(time_budget=3600))
        pauses = [later - earlier for earlier, later in pairwise(asked[9:])]
        assert pauses == pytest.approx([15, 30, 60, 120, 240, *[300] * (len(pauses) - 5)])
        assert 3600 - 300 < sum(pauses) <= 3600
        assert outbound_http.clock.now <= 3600
        assert summary.outcomes["pypi"].total() == 6

    def test_may_have_been_down_before(
        self, packages: list[Package], pypi: CannedPyPI, outbound_http: OutboundHTTP
    ) -> None:
        """A run that begins while the breaker is open waits, and then fetches everything."""
        asked = self.out_of_order(pypi, packages, outbound_http, until=20)
        for _ in range(3):
            ResilientSession().get(pypi.url("p0"))
        opened = asked[-1]
        asked.clear()
        summary, told = refresh(*packages)
        assert [each.outcomes["pypi"] for each in told[:6]] == [PUT_ASIDE] * 6
        assert min(asked) >= opened + 15
        assert summary.outcomes["pypi"] == {UPDATED: 6}

    def test_is_noticed_in_the_middle_of_a_package(
        self, make_package: MakePackage, parts: list[Part], pypi: CannedPyPI, outbound_http: OutboundHTTP
    ) -> None:
        """If a source goes down during a package, its remaining parts wait until the source is back."""

        def answer(_: object) -> tuple[int, dict[str, str], str]:
            return (200 if outbound_http.clock.now >= 20 else 503), {}, "{}"

        def ask(client: Client) -> Reading:
            client.get("x")
            return Reading()

        pypi.mock.add_callback("GET", "https://api.github.test/x", callback=answer)
        parts += [stub(name, ask, source="github", api="https://api.github.test") for name in "abcde"]
        first: list[list[FetchResult]] = []
        package = make_package()
        summary = run([package.pk], Stopper(), lambda _, results, __: first.append(results))
        assert [result.reason for result in first[0]] == ["http_5xx"] * 3 + ["breaker_open"] * 2
        assert summary.outcomes == {"github": {UPDATED: 5}}
        assert Package.objects.get().last_exception == ""

    def test_is_caught_up_with_when_it_heals(
        self, packages: list[Package], pypi: CannedPyPI, outbound_http: OutboundHTTP
    ) -> None:
        """After an outage of some seconds, all packages are refreshed in the same run."""
        self.out_of_order(pypi, packages, outbound_http, until=25)
        summary, _ = refresh(*packages)
        assert summary.outcomes == {"pypi": {UPDATED: 6}, "pypistats": {UPDATED: 6}}
        assert summary.put_aside > 0
        assert Package.objects.filter(pypi_license="MIT", last_exception="", last_exception_count=0).count() == 6
        assert not due().exists()
        assert outbound_http.clock.now < 60

    def test_is_said_to_be_once(
        self, packages: list[Package], pypi: CannedPyPI, outbound_http: OutboundHTTP, caplog: pytest.LogCaptureFixture
    ) -> None:
        """One WARNING for all the packages that wait for it."""
        self.out_of_order(pypi, packages, outbound_http, until=1e9)
        refresh(*packages)
        [warning] = warnings(caplog)
        assert "PyPI is down; nothing is sent before " in warning

    def test_is_left_to_the_next_run_in_the_end(
        self, packages: list[Package], pypi: CannedPyPI, outbound_http: OutboundHTTP
    ) -> None:
        """Parts of a source that stays down are left with a reason; they do not fail and stay due."""
        self.out_of_order(pypi, packages, outbound_http, until=1e9)
        summary, _ = refresh(*packages)
        assert "is down; nothing is sent before " in summary.left_alone["pypi"].why
        assert (summary.left, summary.stopped) == (0, "")
        left = SourceStatus.objects.filter(source="pypi", outcome="left alone")
        assert left.count() == 2
        for status in left:
            assert status.error == summary.left_alone["pypi"].why
            assert (status.reason, status.attempts, status.failures) == ("left_alone", 0, 0)
            assert (status.last_attempt, status.next_due) == (None, None)
        assert Package.objects.filter(last_exception_count=0).count() == 2
        assert set(left.values_list("package__slug", flat=True)) <= set(slugs(due()))

    def test_keeps_its_place_in_the_ledger(
        self, packages: list[Package], pypi: CannedPyPI, outbound_http: OutboundHTTP
    ) -> None:
        """A part that is left alone keeps the data of its source status."""
        for package in packages:
            pypi.says(package.slug, project(package.slug), headers={"ETag": '"1"'})
        refresh(*packages)
        SourceStatus.objects.update(next_due=ago(1))
        before = {status.pk: status for status in SourceStatus.objects.filter(source="pypi")}
        self.out_of_order(pypi, packages, outbound_http, until=1e9)
        refresh(*packages)
        for status in SourceStatus.objects.filter(source="pypi", outcome="left alone"):
            same = before[status.pk]
            assert (status.validators, status.last_success) == (same.validators, same.last_success)
            assert (status.http_status, status.next_due, status.failures) == (200, same.next_due, 0)

    def test_reaches_nothing_if_it_is_all_there_is(self, packages: list[Package], pypi: CannedPyPI) -> None:
        """A run in which every part failed or was left alone has reached nothing."""
        for package in packages:
            pypi.answers(package.slug, 503)
        pypi.statistics_answer(503)
        summary, _ = refresh(*packages)
        assert summary.reached_nothing
        assert set(summary.left_alone) == {"pypi", "pypistats"}

    def test_that_limits_our_rate_is_left_alone(
        self, packages: list[Package], pypi: CannedPyPI, caplog: pytest.LogCaptureFixture
    ) -> None:
        """After a 429 that asks for a long pause, no further request is sent."""
        for package in packages:
            pypi.answers(package.slug, 429, headers={"Retry-After": "300"})
        summary, _ = refresh(*packages)
        assert len(pypi.asked) == 1
        assert summary.outcomes["pypi"] == {LEFT_ALONE: 6}
        assert "limits our rate; nothing is sent before " in summary.left_alone["pypi"].why
        assert len(warnings(caplog)) == 1

    def test_that_limits_our_rate_and_names_no_time_is_left_alone_for_a_minute(
        self, packages: list[Package], pypi: CannedPyPI, settings: Settings, outbound_http: OutboundHTTP
    ) -> None:
        """A 429 without a time pauses the source for a minute, by the site's settings."""
        settings.OUTBOUND_HTTP = {**settings.OUTBOUND_HTTP, "default": site.OUTBOUND_HTTP["default"]}
        for package in packages:
            pypi.answers(package.slug, 429)
        summary, _ = refresh(*packages)
        assert len(pypi.asked) == 1
        assert summary.outcomes["pypi"] == {LEFT_ALONE: 6}
        origin = origin_of("https://pypi.test")
        refusal = process.current().upstream(origin).refusal(outbound_http.clock())
        assert refusal is not None
        assert 59 <= refusal.retry_in <= 60

    def test_that_limits_our_rate_is_waited_for_where_there_is_time(
        self, packages: list[Package], pypi: CannedPyPI, outbound_http: OutboundHTTP
    ) -> None:
        """With enough time, a run waits for the end of a rate limit, and fetches other sources meanwhile."""
        answers = iter([(429, {"Retry-After": "70"}, "")])
        for package in packages:
            pypi.calls(package.slug, lambda request: next(answers, (200, {}, body(request))))
        summary, told = refresh(*packages, stopper=Stopper(time_budget=600))
        assert [each.again for each in told] == [False] * 6 + [True] * 6
        assert summary.outcomes == {"pypi": {UPDATED: 6}, "pypistats": {UPDATED: 6}}
        assert 70 <= outbound_http.clock.now < 75

    def test_is_known_by_its_host_where_it_has_no_name(self, make_package: MakePackage, pypi: CannedPyPI) -> None:
        """Servers without an upstream of their own are paused separately, by host."""
        packages = [make_package(f"p{number}", repo_host=host) for number, host in enumerate(["one", "two"] * 4)]
        pypi.mock.get("https://git.one.test/x", status=503)
        pypi.mock.get("https://git.two.test/x", json={})

        def parts_of(package: Package) -> list[Part]:
            host = package.repo_host
            return [
                stub("x", lambda client: client.get("x") and Reading(), source=host, api=f"https://git.{host}.test")
            ]

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("package.sources.package_parts.parts_of", parts_of)
            summary, _ = refresh(*packages)
        assert summary.outcomes["two"] == {UPDATED: 4}
        assert summary.outcomes["one"].total() == 4
        assert sum("one" in str(call.request.url) for call in pypi.mock.calls) <= 12


class TestQuota:
    """A part of each quota is reserved for visitors."""

    @staticmethod
    def answer(pypi: CannedPyPI, *names: str, remaining: int, reset: str = "7", limit: str = "100") -> None:
        headers = {"X-RateLimit-Limit": limit, "X-RateLimit-Remaining": str(remaining), "X-RateLimit-Reset": reset}
        for name in names:
            pypi.says(name, project(name), headers={key: value for key, value in headers.items() if value})

    @pytest.fixture
    def packages(self, make_package: MakePackage) -> list[Package]:
        return [make_package(slug) for slug in ("a", "b", "c")]

    @pytest.mark.parametrize(
        ("remaining", "held"), [(0, True), (5, True), (int(100 * RESERVE), True), (11, False), (100, False)]
    )
    def test_near_its_end_the_source_is_left_alone(
        self, packages: list[Package], pypi: CannedPyPI, remaining: int, held: bool
    ) -> None:
        """At a tenth of its quota, a source is paused; the others continue."""
        self.answer(pypi, "a", "b", "c", remaining=remaining, reset="3600")
        summary, _ = refresh(*packages)
        assert pypi.asked == (["a"] if held else ["a", "b", "c"])
        assert summary.outcomes["pypistats"] == {UPDATED: 3}
        assert summary.outcomes["pypi"][LEFT_ALONE] == (2 if held else 0)

    def test_it_is_said_why(self, packages: list[Package], pypi: CannedPyPI) -> None:
        """The summary says how many calls are reserved, for whom, and until when."""
        self.answer(pypi, "a", "b", "c", remaining=7, reset="3600")
        summary, _ = refresh(*packages)
        assert "7 of 100 calls are reserved for visitors until " in summary.left_alone["pypi"].why
        assert row("b").error == summary.left_alone["pypi"].why

    def test_when_it_is_full_again_the_rest_is_fetched(
        self, packages: list[Package], pypi: CannedPyPI, outbound_http: OutboundHTTP
    ) -> None:
        """If the quota is full again within the patience, the rest is fetched."""
        self.answer(pypi, "a", remaining=10)
        self.answer(pypi, "b", "c", remaining=100)
        summary, _ = refresh(*packages)
        assert summary.outcomes["pypi"] == {UPDATED: 3}
        assert outbound_http.clock.now == pytest.approx(7)

    @pytest.mark.parametrize(("reset", "limit"), [("", "100"), ("0", "100"), ("3600", ""), ("3600", "0")])
    def test_that_is_implausible_pauses_nothing(
        self, packages: list[Package], pypi: CannedPyPI, reset: str, limit: str
    ) -> None:
        """A quota without a limit or a reset pauses nothing."""
        self.answer(pypi, "a", "b", "c", remaining=1, reset=reset, limit=limit)
        refresh(*packages)
        assert pypi.asked == ["a", "b", "c"]


class TestFallbacks:
    """outbound_http_fallbacks_total: stored data replaces an answer."""

    @staticmethod
    def served(upstream: str) -> float:
        labels = {"upstream": upstream, "source": "database"}
        return REGISTRY.get_sample_value("outbound_http_fallbacks_total", labels) or 0.0

    def test_are_counted_once_for_each_part(self, make_package: MakePackage, pypi: CannedPyPI) -> None:
        """A part with stored data counts once, however often it was fetched."""
        packages = [make_package(f"p{number}") for number in range(6)]
        for package in packages:
            pypi.knows(package.slug)
        refresh(*packages)
        for package in packages:
            pypi.answers(package.slug, 503)
        before = self.served("pypi"), self.served("pypistats")
        summary, _ = refresh(*packages, everything=True)
        assert summary.put_aside > 6
        assert (self.served("pypi") - before[0], self.served("pypistats") - before[1]) == (6, 0)

    def test_are_not_counted_where_nothing_is_stored(self, make_package: MakePackage, pypi: CannedPyPI) -> None:
        """A part without stored data does not count."""
        before = self.served("pypi")
        pypi.answers("a", 503)
        refresh(make_package("a"))
        assert self.served("pypi") == before

    def test_are_not_counted_where_a_later_pass_went_well(self, make_package: MakePackage, pypi: CannedPyPI) -> None:
        """A part that succeeds in a later pass does not count."""
        package = make_package("a")
        pypi.knows("a")
        refresh(package)
        before = self.served("pypi")
        pypi.calls("a", answering(503, 503, 503, 503))
        refresh(package, everything=True)
        assert self.served("pypi") == before
