"""Refreshing one package: sources without the package, silent or moved sources, ends of runs, and unchanged data."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from prometheus_client import REGISTRY

from package.jobs import fetching
from package.jobs.fallback_metric import count_fallback
from package.jobs.refresh_one import refresh_one
from package.jobs.refresh_schedule import FRESH
from package.jobs.stopper import Stopped
from package.models import Package, SourceStatus
from package.repos.base import NotARepository
from package.sources.client import Client
from package.sources.errors import NotModified
from package.sources.fetch_results import FetchOutcome, FetchResult
from package.sources.fields import Reading
from package.sources.package_parts import Part
from tests.package.conftest import CannedPyPI, MakePackage, of, stub
from tests.package.jobs.one_package import DOWN, GONE, forks, ledger, outcomes, reloaded, watchers
from tests.upstreams.pypi import project


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


class TestGone:
    """Packages that a source does not have."""

    PARTS = ("metadata", "commits")

    def gone(self, since: str, *answers: Any) -> list[Part]:
        """Return two parts of a source; the first one shows whether the source has the package."""
        return [stub("metadata", *answers, missing_since=since), stub("commits", forks(5))]

    @pytest.mark.parametrize("since", ["repo_missing_since", "pypi_missing_since"])
    def test_is_marked_until_it_is_back(
        self, package: Package, parts: list[Part], caplog: pytest.LogCaptureFixture, since: str
    ) -> None:
        """The time since when it is gone stays, it is logged once, and an answer clears it."""
        parts += self.gone(since, GONE, GONE, DOWN, NotModified())
        refresh_one(package)
        moment = getattr(reloaded(package), since)
        assert moment
        for _ in range(2):
            refresh_one(reloaded(package))
            assert getattr(reloaded(package), since) == moment
        assert warnings(caplog) == ["fortune: The stub has no such resource (HTTP 404)"]
        refresh_one(reloaded(package))
        assert getattr(reloaded(package), since) is None

    def test_is_no_failure(self, package: Package, parts: list[Part]) -> None:
        """A package that is gone is marked, but has no failure."""
        parts += self.gone("repo_missing_since", GONE)
        refresh_one(package)
        kept = reloaded(package)
        assert (kept.last_exception, kept.last_exception_count) == ("", 0)

    def test_is_not_asked_for_in_parts(self, package: Package, parts: list[Part]) -> None:
        """The other parts of a repository that is gone are not requested; their source statuses say why."""
        parts += [*self.gone("repo_missing_since", GONE), stub("other", watchers(9), source="elsewhere")]
        assert outcomes(refresh_one(package)) == {"metadata": "not found", "other": "updated"}
        kept = reloaded(package)
        assert (kept.repo_forks, kept.repo_watchers) == (0, 9)
        row = ledger(package)["commits"]
        assert (row.outcome, row.attempts, row.last_attempt) == ("not found", 0, None)
        assert row.next_due > timezone.now() + timedelta(hours=20)

    def test_in_one_part_only_is_gone_there_only(
        self, package: Package, parts: list[Part], caplog: pytest.LogCaptureFixture
    ) -> None:
        """If only one part is gone, the repository is not marked."""
        parts += [stub("metadata", watchers(9), missing_since="repo_missing_since"), stub("commits", GONE)]
        assert outcomes(refresh_one(package)) == {"metadata": "updated", "commits": "not found"}
        assert reloaded(package).repo_missing_since is None
        assert warnings(caplog) == []


class TestSilence:
    """Sources that do not answer at all."""

    def test_is_not_asked_for_its_other_parts(self, package: Package, parts: list[Part]) -> None:
        """The other parts of a silent source are not requested; other sources are."""
        asked: list[str] = []

        def read(client: Client) -> Reading:
            asked.append(client.server.name)
            return forks(5)

        parts += [stub("a", DOWN), stub("b", read), stub("c", watchers(9), source="elsewhere")]
        results = refresh_one(package)
        assert outcomes(results) == {"a": "failed", "b": "failed", "c": "updated"}
        assert (results[1].error, results[1].again, asked) == (str(DOWN), True, [])
        tried, untried = ledger(package)["a"], ledger(package)["b"]
        assert (tried.failures, tried.last_attempt is None) == (1, False)
        assert (untried.failures, untried.last_attempt, untried.attempts) == (0, None, 0)
        assert untried.next_due > timezone.now() + timedelta(minutes=59), "nor is it asked at once the next time"

    def test_of_one_answer_is_not_silence(self, package: Package, parts: list[Part]) -> None:
        """After a 503, the other parts are still requested."""

        def limited(client: Client) -> Reading:
            client.status = 503
            raise DOWN

        parts += [stub("a", limited), stub("b", forks(5))]
        assert outcomes(refresh_one(package)) == {"a": "failed", "b": "updated"}


class TestMoved:
    """Repositories that have moved."""

    @pytest.fixture(autouse=True)
    def _repositories(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def find(url: str, host: str = "") -> object:
            if not url.startswith("https://shelf.test/"):
                raise NotARepository(f"{url!r} is no repository")
            return object()

        monkeypatch.setattr(fetching, "get_repo_for_repo_url", find)

    @pytest.fixture
    def package(self, make_package: MakePackage) -> Package:
        return make_package(repo_url="https://shelf.test/old/name")

    def test_is_found_there_the_next_time(
        self, package: Package, parts: list[Part], caplog: pytest.LogCaptureFixture
    ) -> None:
        """The new address is stored with the data, and a WARNING is logged."""
        parts.append(stub("a", Reading({"repo_forks": 5}, moved_to="https://shelf.test/new/name")))
        refresh_one(package)
        kept = reloaded(package)
        assert (kept.repo_url, kept.repo_forks) == ("https://shelf.test/new/name", 5)
        [warning] = warnings(caplog)
        assert "fortune" in warning
        assert "has moved to https://shelf.test/new/name" in warning

    def test_an_address_that_is_no_repository_is_not_stored(
        self, package: Package, parts: list[Part], caplog: pytest.LogCaptureFixture
    ) -> None:
        """A new address that is not that of a repository is not stored."""
        parts.append(stub("a", Reading({"repo_forks": 5}, moved_to="https://evil.test/")))
        refresh_one(package)
        kept = reloaded(package)
        assert (kept.repo_url, kept.repo_forks) == ("https://shelf.test/old/name", 5)
        [warning] = warnings(caplog)
        assert "has moved, but 'https://evil.test/' is no repository" in warning


def stopped(client: Client) -> Reading:
    """End the run during a request."""
    client.asked = True
    raise Stopped("the time budget is used up")


class TestStopped:
    """The run ends in the middle of a package."""

    def test_stores_results_from_before(self, package: Package, parts: list[Part]) -> None:
        """Results before the stop are stored; the current part and those without a turn are due at once."""
        parts += [stub("a", forks(5)), stub("b", stopped), stub("c", watchers(9))]
        with pytest.raises(Stopped):
            refresh_one(package)
        kept, rows = reloaded(package), ledger(package)
        assert (kept.repo_forks, kept.repo_watchers) == (5, 0)
        assert kept.last_exception == "the run ended before an attempt succeeded: the time budget is used up"
        assert set(rows) == {"a", "b"}
        assert rows["a"].outcome == "updated"
        assert (rows["b"].outcome, rows["b"].reason) == ("failed", "stopped")
        assert rows["b"].next_due <= timezone.now()

    def test_parts_without_a_request_are_not_recorded(self, package: Package, parts: list[Part]) -> None:
        """Parts that were not requested are not recorded."""
        parts += [stub("a", forks(5)), stub("b", Stopped("the time budget is used up"))]
        with pytest.raises(Stopped):
            refresh_one(package)
        kept = reloaded(package)
        assert set(ledger(package)) == {"a"}
        assert (kept.last_exception, kept.last_exception_at) == ("", None)
        assert kept.next_due is None

    def test_is_no_failure_of_the_source(self, package: Package, parts: list[Part]) -> None:
        """A part that was cut short does not count as failed."""
        parts.append(stub("a", stopped))
        with pytest.raises(Stopped):
            refresh_one(package)
        assert ledger(package)["a"].failures == 0


class TestConditional:
    """Data that has not changed since the last fetch."""

    @pytest.fixture
    def fetched(self, package: Package, pypi: CannedPyPI) -> Package:
        """Return a package that was refreshed three days ago, from a PyPI that gives ETags."""
        pypi.says("fortune", project("fortune"), headers={"ETag": '"1"'})
        refresh_one(package)
        before = timezone.now() - timedelta(days=3)
        SourceStatus.objects.update(last_success=before, last_attempt=before, next_due=before + FRESH)
        Package.objects.update(last_fetched=before)
        return reloaded(package)

    @staticmethod
    def conditions(pypi: CannedPyPI) -> list[str | None]:
        return [
            call.request.headers.get("If-None-Match") for call in pypi.mock.calls if "pypi.test" in call.request.url
        ]

    def test_costs_no_transfer_and_changes_nothing(self, fetched: Package, pypi: CannedPyPI) -> None:
        """The second request is conditional; a 304 counts as an answer and empties nothing."""
        pypi.answers("fortune", 304)
        before = timezone.now()
        result = of(refresh_one(fetched))
        assert self.conditions(pypi) == [None, '"1"']
        assert (result.outcome, result.updated, result.error) == (FetchOutcome.UNCHANGED, (), "")
        kept, row = reloaded(fetched), ledger(fetched)["pypi"]
        assert (kept.pypi_license, kept.latest_version.number) == ("MIT", "2.1")
        assert (row.outcome, row.http_status, row.failures) == ("unchanged", 304, 0)
        assert row.last_success >= before
        assert row.next_due >= before + FRESH
        assert kept.last_fetched >= before

    def test_stays_so(self, fetched: Package, pypi: CannedPyPI) -> None:
        """The validators stay after a 304."""
        pypi.answers("fortune", 304)
        for _ in range(3):
            assert of(refresh_one(fetched)).outcome is FetchOutcome.UNCHANGED
        assert self.conditions(pypi) == [None, '"1"', '"1"', '"1"']

    def test_outlives_a_failure(self, fetched: Package, pypi: CannedPyPI) -> None:
        """The validators stay after an outage."""
        pypi.answers("fortune", 400)
        refresh_one(fetched)
        pypi.answers("fortune", 304)
        assert of(refresh_one(fetched)).outcome is FetchOutcome.UNCHANGED

    def test_a_partly_usable_response_is_read_again(self, fetched: Package, pypi: CannedPyPI) -> None:
        """After a partly usable response, the next request is unconditional."""
        pypi.says("fortune", {"info": {"classifiers": 5}}, headers={"ETag": '"2"'})
        for _ in range(2):
            assert of(refresh_one(fetched)).outcome is FetchOutcome.PARTLY
        assert self.conditions(pypi) == [None, '"1"', None]

    def test_another_address_is_another_thing(self, fetched: Package, pypi: CannedPyPI) -> None:
        """Validators of a previous project are not sent for the new one."""
        Package.objects.update(pypi_url="cookie")
        pypi.knows("cookie")
        assert of(refresh_one(reloaded(fetched))).outcome is FetchOutcome.UPDATED
        assert self.conditions(pypi)[-1] is None


class TestFallback:
    """count_fallback: stored data replaces an answer."""

    @pytest.mark.parametrize(
        ("result", "served"),
        [
            ({"outcome": FetchOutcome.LEFT_ALONE}, 1),
            ({"outcome": FetchOutcome.FAILED, "reached": False}, 1),
            ({"outcome": FetchOutcome.LEFT_ALONE, "stored": None}, 0),
            ({"outcome": FetchOutcome.FAILED, "reached": False, "stored": None}, 0),
            ({"outcome": FetchOutcome.FAILED}, 0),
            ({"outcome": FetchOutcome.UPDATED}, 0),
            ({"outcome": FetchOutcome.UNCHANGED}, 0),
            ({"outcome": FetchOutcome.NOT_FOUND}, 0),
        ],
        ids=str,
    )
    def test_is_counted_where_there_is_something_stored(self, result: dict[str, Any], served: int) -> None:
        """A fallback counts if a source was not asked or did not answer, and data of it is stored."""
        before = fallbacks()
        count_fallback(FetchResult("pypi", **{"upstream": "pypi", "stored": timezone.now(), **result}))
        assert fallbacks() - before == served

    def test_is_known_to_who_refreshes(self, package: Package, pypi: CannedPyPI) -> None:
        """A result has the time of the last success, if there was one."""
        pypi.answers("fortune", 503)
        assert of(refresh_one(package)).stored is None
        pypi.knows("fortune")
        refresh_one(package)
        pypi.answers("fortune", 503)
        result = of(refresh_one(package))
        assert (result.stored, result.upstream) == (ledger(package)["pypi"].last_success, "pypi")


def fallbacks(upstream: str = "pypi") -> float:
    labels = {"upstream": upstream, "source": "database"}
    return REGISTRY.get_sample_value("outbound_http_fallbacks_total", labels) or 0.0
