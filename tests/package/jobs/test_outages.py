"""Runs over a hundred packages during outages of PyPI."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from django.test import override_settings
from requests.adapters import HTTPAdapter
from responses import RequestsMock

from core.http import observe
from core.http.events import AttemptEnded, BreakerChanged, BreakerState
from core.http.testing import OutboundHTTP
from package.jobs.refresh_summary import RefreshSummary
from package.jobs.run import run
from package.jobs.stopper import Stopper
from package.models import Category, Package, SourceStatus
from package.sources.api_server import Server
from package.sources.client import Client
from package.sources.fetch_results import GOOD, FetchOutcome
from package.sources.fields import Reading
from package.sources.package_parts import Part
from tests.upstreams.faults import Half, Status
from tests.upstreams.server import Upstreams, serving
from tests.upstreams.world import World

pytestmark = pytest.mark.slow

PACKAGES = 100  # of which the brown-out takes all, the others a part
FEWER = 40


@pytest.fixture(scope="module")
def world() -> World:
    return World(120, shares={"": 1.0})


@pytest.fixture
def upstreams(world: World, settings: Any) -> Iterator[Upstreams]:
    with serving(world) as servers:
        hosts = {"pypi": servers.pypi.url, "pypistats": servers.pypistats.url}
        settings.PYPI_URL, settings.PYPISTATS_URL = hosts["pypi"], hosts["pypistats"]
        named = {name: {"hosts": [url.removeprefix("http://")]} for name, url in hosts.items()}
        with override_settings(OUTBOUND_HTTP={"upstreams": named}):
            yield servers


@pytest.fixture
def keys(world: World, category: Category) -> list[int]:
    listed = [fake for fake in world.packages if fake.pypi][:PACKAGES]
    packages = [Package(title=fake.title, slug=fake.slug, pypi_url=fake.pypi, category=category) for fake in listed]
    return [package.pk for package in Package.objects.bulk_create(packages)]


def refresh(keys: list[int], **how: Any) -> RefreshSummary:
    return run(keys, Stopper(), lambda *_: None, **how)


def up_to_date(world: World) -> int:
    """Count the packages whose newest version is stored."""
    stored = Package.objects.values_list("pypi_url", "latest_version__number")
    return sum(number == world.project(name).version for name, number in stored)  # type: ignore[union-attr]  # it has them all


def test_a_brown_out(upstreams: Upstreams, keys: list[int], world: World) -> None:
    """Half of PyPI's answers are 503: at least 99 % of the packages are up to date after one run."""
    upstreams.pypi.fault = Half(503)
    summary = refresh(keys)
    assert up_to_date(world) >= 0.99 * PACKAGES
    assert summary.outcomes["pypistats"][FetchOutcome.UPDATED] == PACKAGES


def swallowing(outbound_http: OutboundHTTP, monkeypatch: pytest.MonkeyPatch, begins: str = "") -> list[str]:
    """Let attempts to addresses with these prefixes time out on the fake clock. Returns the host of each attempt."""
    made: list[str] = []
    send = HTTPAdapter.send

    def swallow(adapter: HTTPAdapter, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> Any:
        if not str(request.url).startswith(begins):
            return send(adapter, request, *args, **kwargs)
        made.append(urlsplit(str(request.url)).netloc)
        outbound_http.clock.advance(10)
        raise requests.ReadTimeout("no answer")

    monkeypatch.setattr(HTTPAdapter, "send", swallow)
    return made


@pytest.fixture
def some(keys: list[int]) -> list[int]:
    Package.objects.filter(pk__in=keys[FEWER:]).delete()
    return keys[:FEWER]


def test_an_outage_that_ends_in_time(upstreams: Upstreams, some: list[int], world: World) -> None:
    """PyPI goes down and comes back during a run: all packages are refreshed in that run, with few requests."""
    sent = 0

    def direct(event: object) -> None:
        nonlocal sent
        if isinstance(event, AttemptEnded) and event.upstream == "pypi":
            sent += 1
            if sent == 20:
                upstreams.pypi.fault = Status(503)
        elif isinstance(event, BreakerChanged) and event.state is BreakerState.OPEN:
            upstreams.pypi.fault = None

    with observe(direct):
        summary = refresh(some)
    assert up_to_date(world) == FEWER
    assert sent <= FEWER + 11
    assert summary.left_alone == {}


def test_an_outage_that_lasts(upstreams: Upstreams, some: list[int], world: World) -> None:
    """PyPI stays down: stored data stays, other sources are refreshed, and the source status says why."""
    refresh(some)
    before = list(Package.objects.order_by("pk").values("pypi_info", "latest_version", "pypi_classifiers"))
    upstreams.clear()
    upstreams.pypi.fault = Status(503)
    summary = refresh(some, everything=True)
    assert list(Package.objects.order_by("pk").values("pypi_info", "latest_version", "pypi_classifiers")) == before
    assert len(upstreams.pypi.requests) <= 12
    assert summary.outcomes["pypistats"][FetchOutcome.UPDATED] == FEWER
    rows = SourceStatus.objects.filter(source="pypi")
    assert not rows.filter(outcome__in=GOOD).exists()
    assert not rows.filter(last_success=None).exists()
    assert rows.filter(outcome=FetchOutcome.LEFT_ALONE, error__contains="pypi is down").count() >= FEWER - 4


def test_a_second_run_asks_conditionally(upstreams: Upstreams, some: list[int]) -> None:
    """Unchanged data costs only a 304."""
    refresh(some)
    upstreams.clear()
    summary = refresh(some, everything=True)
    assert summary.outcomes["pypi"] == {FetchOutcome.UNCHANGED: FEWER}
    assert upstreams.pypi.requests.statuses == {304: FEWER}
    assert all(request.conditional for request in upstreams.pypi.requests)


def test_a_black_hole(
    upstreams: Upstreams, some: list[int], outbound_http: OutboundHTTP, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PyPI accepts connections and never answers: ten attempts in a row open the breaker."""
    attempts = swallowing(outbound_http, monkeypatch, upstreams.pypi.url)
    summary = refresh(some)
    assert summary.outcomes["pypistats"][FetchOutcome.UPDATED] == FEWER
    assert summary.seconds < 3 * 60
    assert len(attempts) == 11, "ten, and a probe"
    assert summary.outcomes["pypi"][FetchOutcome.LEFT_ALONE] == FEWER - 4
    assert "PyPI is down; nothing is sent before " in summary.left_alone["pypi"].why
    assert Package.objects.filter(last_exception_count=0, next_due=None).count() == FEWER - 4


def test_black_holes_everywhere(
    category: Category, outbound_http: OutboundHTTP, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No source answers, and one worker goes round them: it learns of each that it is down, and the run ends.

    Where each source had its turn after all others, its failures would be minutes apart, and open no breaker.
    """
    attempts = swallowing(outbound_http, monkeypatch)
    packages = [
        Package(title=slug, slug=slug, pypi_url=slug, repo_url=f"https://{host}/o/{slug}", category=category)
        for host in ("github.com", "gitlab.com")
        for slug in (f"{host[:6]}-{number}" for number in range(30))
    ]
    summary = refresh([package.pk for package in Package.objects.bulk_create(packages)])
    assert summary.reached_nothing
    assert set(summary.left_alone) == {"pypi", "pypistats", "github", "gitlab"}
    assert max(Counter(attempts).values()) <= 13
    assert summary.seconds < 4 * 3 * 60


def test_nothing_can_be_reached(upstreams: Upstreams, some: list[int]) -> None:
    """All sources are down at once, and the run ends soon."""
    upstreams.pypi.fault = upstreams.pypistats.fault = Status(503)
    summary = refresh(some)
    assert summary.reached_nothing
    assert summary.seconds < 3 * 60
    assert len(upstreams.pypi.requests) + len(upstreams.pypistats.requests) < 60


def test_one_server_does_not_make_the_run_its_own(
    category: Category, responses: RequestsMock, outbound_http: OutboundHTTP, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that answers slowly, page after page, is cut off after two minutes."""

    def slow(_: object) -> tuple[int, dict[str, str], str]:
        outbound_http.clock.advance(9)
        return 200, {}, "{}"

    def ask(client: Client) -> Reading:
        for _ in range(1000):
            client.get("x")
        return Reading()

    responses.add_callback("GET", "https://stub.test/x", callback=slow)
    part = Part("stub", "", Server("The stub", "https://stub.test"), ask)
    monkeypatch.setattr("package.sources.package_parts.parts_of", lambda _: [part])
    package = Package.objects.create(title="x", slug="x", category=category)
    run([package.pk], Stopper(time_budget=125), lambda *_: None)
    assert outbound_http.clock.now < 140
