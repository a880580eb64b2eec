"""A run with several threads gives the same results as one thread."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from django.db.backends.base.base import BaseDatabaseWrapper
from django.test import override_settings
from django.utils import timezone

from core.http import process, registry
from core.http.testing import OutboundHTTP
from package.jobs import run_retries
from package.jobs.run import Run, run
from package.jobs.stopper import Stopper
from package.models import Category, Claim, Package, SourceStatus
from package.sources.client import Client
from package.sources.errors import LeftAlone, NotReady, Unusable
from package.sources.fetch_results import FetchResult
from package.sources.fields import Reading
from package.sources.package_parts import Part
from tests.package.conftest import DEADLINE, MakePackage, at_once, stub
from tests.package.jobs.thread_runs import SKIPPED, UPDATED, WORKERS, refresh
from tests.upstreams.faults import BlackHole
from tests.upstreams.server import Upstreams, serving
from tests.upstreams.world import World

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("threads_end")]


@pytest.fixture(scope="module")
def world() -> World:
    return World(14, shares={"github": 0.4, "gitlab": 0.2, "bitbucket": 0.2, "codeberg": 0.2})


class TestSite:
    """Runs against simulated servers of all sources."""

    @pytest.fixture
    def upstreams(self, world: World, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Upstreams]:
        monkeypatch.setattr(run_retries, "FIRST_PAUSE", 0.05)
        with serving(world, latency=0.003) as servers:
            named = {}
            for name, value in servers.environment.items():
                if name != "FORGEJO_URL":
                    setattr(settings, name, value)
                    host = value.removeprefix("http://").partition("/")[0]
                    named[name.partition("_")[0].lower()] = {"hosts": [host], "max_concurrency": 3}
            with override_settings(OUTBOUND_HTTP={"upstreams": named}):
                process.use(runtime=registry.Runtime())  # the servers take time of their own
                yield servers

    @staticmethod
    def store(world: World, upstreams: Upstreams, category: Category) -> list[Package]:
        Package.objects.all().delete()
        return Package.objects.bulk_create(
            Package(
                title=fake.title,
                slug=fake.slug,
                category=category,
                pypi_url=fake.pypi,
                repo_url=upstreams.repo_url(fake),
                repo_host=fake.kind,
            )
            for fake in world.packages
        )

    @staticmethod
    def stored() -> dict[str, Any]:
        """Return all fetched data, without times and primary keys."""
        moments = {"created", "modified", "last_fetched", "next_due", "latest_version_id", "id"}
        return {
            package.slug: {
                **{name: value for name, value in vars(package).items() if name[0] != "_" and name not in moments},
                "version": package.latest_version and package.latest_version.number,
                "ledger": {(row.name, row.outcome, row.error, row.attempts) for row in package.sources.all()},
            }
            for package in Package.objects.select_related("latest_version").prefetch_related("sources")
        }

    def test_the_number_of_threads_does_not_matter(
        self, world: World, upstreams: Upstreams, category: Category
    ) -> None:
        """Any number of threads gives the same data and summary, and fetches nothing twice."""
        came = []
        for workers in (8, 1, 8):  # the first time, GitHub has its statistics to compute
            upstreams.clear()
            summary = refresh(self.store(world, upstreams, category), workers=workers)
            asked = {upstream: Counter(upstream.requests.paths) for upstream in upstreams.all}
            came.append((self.stored(), summary.outcomes, summary.attempts, summary.tried, summary.left, asked))
        assert came[1] == came[2]
        assert not Claim.objects.exists()

    def test_no_server_gets_more_at_once_than_it_may(
        self, world: World, upstreams: Upstreams, category: Category
    ) -> None:
        """Each server gets as many concurrent requests as its limit allows, and no more."""
        packages, busy = self.store(world, upstreams, category), (upstreams.pypi, upstreams.github)
        for each in busy:
            each.fault = BlackHole()

        def answer_when_full() -> None:
            for each in busy:
                each.requests.wait_for_in_flight(3)
                each.fault = None

        thread = threading.Thread(target=answer_when_full)
        thread.start()
        refresh(packages, workers=30)
        thread.join(DEADLINE)
        assert {each.requests.max_in_flight for each in busy} == {3}
        assert all(each.requests.max_in_flight <= 3 for each in upstreams.all)


class TestProgress:
    """The calls of `progress`."""

    def test_each_package_has_one_turn(self, packages: list[Package], parts: list[Part]) -> None:
        """`progress` is called once for each package, with the results of all its sources."""
        parts += [stub("", Reading(), source=source) for source in ("a", "b", "c")]
        told: list[tuple[str, list[str], bool]] = []

        def tell(package: Package, results: list[FetchResult], again: bool) -> None:
            told.append((package.slug, sorted(result.source for result in results), again))

        summary = run([package.pk for package in packages], Stopper(), tell, workers=WORKERS)
        assert sorted(told) == sorted((package.slug, ["a", "b", "c"], False) for package in packages)
        assert (summary.tried, summary.left, summary.put_aside) == (12, 0, 0)
        assert summary.outcomes == {source: {UPDATED: 12} for source in "abc"}

    def test_it_is_called_in_the_thread_of_the_caller(self, packages: list[Package], parts: list[Part]) -> None:
        """`progress` is called in the thread of the caller."""
        parts.append(stub("", Reading()))
        threads: set[threading.Thread] = set()
        keys = [package.pk for package in packages]
        run(keys, Stopper(), lambda *_: threads.add(threading.current_thread()), workers=WORKERS)
        assert threads == {threading.current_thread()}

    def test_packages_without_sources_are_among_them(self, packages: list[Package], parts: list[Part]) -> None:
        """Packages without sources have their turn too."""
        summary = refresh(packages)
        assert (summary.tried, summary.left, summary.outcomes) == (0, 0, {"pypi": {SKIPPED: 12}})

    @pytest.mark.parametrize("workers", [2, 1000])
    def test_any_number_of_threads_will_do(self, packages: list[Package], parts: list[Part], workers: int) -> None:
        """More threads than packages or pooled connections do no harm."""
        parts.append(stub("", Reading()))
        summary = refresh(packages, workers=workers)
        assert (summary.tried, summary.outcomes) == (12, {"stub": {UPDATED: 12}})


def test_threads_have_no_need_of_the_database(
    packages: list[Package], parts: list[Part], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the run's own thread uses the database, so one connection is enough."""
    used: set[str] = set()
    ensure_connection = BaseDatabaseWrapper.ensure_connection

    def ensure(wrapper: BaseDatabaseWrapper) -> None:
        used.add(threading.current_thread().name)
        ensure_connection(wrapper)

    monkeypatch.setattr(BaseDatabaseWrapper, "ensure_connection", ensure)
    first = stub(
        "a", Reading({"repo_forks": 1}, moved_to="https://github.com/moved/away"), missing_since="repo_missing_since"
    )
    parts += [first, stub("b", Unusable("no JSON", "other")), stub("c", ZeroDivisionError("a bug"))]
    refresh(packages)
    assert used == {threading.current_thread().name}


class TestPutAside:
    """Parts that are tried again in the same run."""

    def test_parts_of_one_source_that_wait_for_different_reasons(
        self, packages: list[Package], parts: list[Part]
    ) -> None:
        """Two parts of a source that wait for different reasons both get their second try."""
        answered: set[tuple[int, str]] = set()

        def parts_of(package: Package) -> list[Part]:
            def once(name: str, error: Exception) -> Part:
                def fetch(client: Client) -> Reading:
                    client.status = 200
                    if (package.pk, name) not in answered:
                        answered.add((package.pk, name))
                        raise error
                    return Reading()

                return stub(name, fetch)

            return [once("a", NotReady("not yet", "not_ready")), once("b", LeftAlone("no time", "deadline_exceeded"))]

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("package.sources.package_parts.parts_of", parts_of)
            summary = refresh(packages, stopper=Stopper(time_budget=600))
        assert summary.outcomes == {"stub": {UPDATED: 24}}
        assert not Claim.objects.exists()

    def test_a_source_that_is_down_is_probed_by_one_and_caught_up_with(
        self, packages: list[Package], outbound_http: OutboundHTTP, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """While a source is down, one probe at a time is sent; when it is back, all parts are fetched."""
        lock, under_way, down, probes = threading.Lock(), 0, True, []

        def parts_of(package: Package) -> list[Part]:
            def fetch(client: Client) -> Reading:
                nonlocal under_way, down
                with lock:
                    under_way += 1
                    probing = down and len(probes) >= WORKERS  # the first of them do not know yet
                    probes.append(under_way if probing else 1)
                try:
                    if down:
                        down = len(probes) < WORKERS + 5
                        raise LeftAlone("it is down", "breaker_open", timezone.now() + timedelta(seconds=15))
                    client.status = 200
                    return Reading()
                finally:
                    with lock:
                        under_way -= 1

            return [stub("", fetch)]

        monkeypatch.setattr("package.sources.package_parts.parts_of", parts_of)
        summary = refresh(packages, stopper=Stopper(time_budget=3600))
        assert set(probes) == {1}
        assert len(probes) == WORKERS + 5 + 12
        assert summary.outcomes == {"stub": {UPDATED: 12}}
        assert summary.put_aside > 0
        assert outbound_http.clock.now < 600


@pytest.mark.usefixtures("shared_database")
class TestTwoRuns:
    """Two runs over the same packages at the same time, as on two machines."""

    @pytest.fixture
    def asked(self, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, str]]:
        """Return the requests; each package has two sources."""
        asked: list[tuple[int, str]] = []

        def parts_of(package: Package) -> list[Part]:
            def fetch(source: str, _: Client) -> Reading:
                asked.append((package.pk, source))
                return Reading({"repo_forks": 7} if source == "a" else {"repo_watchers": 8})

            return [stub("", partial(fetch, source), source=source) for source in ("a", "b")]

        monkeypatch.setattr("package.sources.package_parts.parts_of", parts_of)
        return asked

    def test_nothing_is_fetched_twice(self, make_package: MakePackage, asked: list[tuple[int, str]]) -> None:
        """Each run skips what the other fetches or has fetched; together they fetch everything."""
        keys = [make_package(f"p{number}").pk for number in range(60)]
        orders = [keys, keys[::-1]]
        runs = [Run(order, Stopper(), lambda *_: None, everything=False, workers=3) for order in orders]
        summaries = at_once(*(each.run for each in runs))
        assert sorted(asked) == sorted((key, source) for key in keys for source in ("a", "b"))
        for summary in summaries:
            assert (summary.left, summary.stopped, summary.database_failed) == (0, "", False)
        assert 60 <= sum(summary.tried for summary in summaries) <= 120, "each by one of them, or a source by each"
        for source in ("a", "b"):
            first, second = (summary.outcomes[source] for summary in summaries)
            # Fewer if one run lists what is due after the other has fetched some packages.
            assert first[SKIPPED] + second[SKIPPED] <= 60
            assert first[UPDATED] + second[UPDATED] == 60
            assert {*first, *second} <= {UPDATED, SKIPPED}
        assert Package.objects.filter(repo_forks=7, repo_watchers=8, last_exception="").count() == 60
        assert SourceStatus.objects.filter(outcome=UPDATED).count() == 120
        assert not Claim.objects.exists()

    def test_the_next_run_does_the_work_of_a_killed_one(
        self, make_package: MakePackage, asked: list[tuple[int, str]]
    ) -> None:
        """The next run skips the sources of a killed run until their leases expire, and says so."""
        keys = [make_package(f"p{number}").pk for number in range(3)]
        Claim.objects.create(package_id=keys[0], source="a", owner="dead", until="2099-01-01T00:00:00Z")
        Claim.objects.create(package_id=keys[1], source="a", owner="dead", until="2001-01-01T00:00:00Z")
        summary = run(keys, Stopper(), lambda *_: None, workers=3)
        assert summary.outcomes == {"a": {UPDATED: 2, SKIPPED: 1}, "b": {UPDATED: 3}}
        assert (keys[0], "a") not in asked
        assert Claim.objects.get().owner == "dead"
