"""How a run ends: stopped, out of time, or with parts that are left for the next one."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import pytest
from django.db import InterfaceError, OperationalError

from core.http.testing import OutboundHTTP
from package.jobs.run import run
from package.jobs.stopper import Stopped, Stopper
from package.models import Package, SourceStatus
from package.sources.client import Client
from package.sources.errors import NotReady
from package.sources.fetch_results import FetchResult
from package.sources.fields import Reading
from package.sources.package_parts import Part
from package.sources.sessions import Sessions
from tests.package.conftest import CannedPyPI, MakePackage, stub
from tests.package.jobs.running import FAILED, LEFT_ALONE, NOT_READY, UPDATED, during_waits, refresh, row


class TestStopper:
    """Stopper."""

    def test_waits_for_as_long_as_it_is_asked(self, outbound_http: OutboundHTTP) -> None:
        """Without a stop, a wait takes as long as requested."""
        Stopper().wait(1.5)
        assert outbound_http.clock.now == pytest.approx(1.5)

    def test_cuts_waiting_short(self, outbound_http: OutboundHTTP) -> None:
        """A stop ends a long wait at once."""
        stopper = Stopper()
        during_waits(lambda: stopper.stop("enough"), outbound_http)
        with pytest.raises(Stopped, match="enough"):
            stopper.wait(60)
        assert outbound_http.clock.now <= 0.5

    def test_ends_when_the_time_is_up(self, outbound_http: OutboundHTTP) -> None:
        """The time budget ends a wait as well."""
        stopper = Stopper(time_budget=3)
        with pytest.raises(Stopped, match="time budget"):
            stopper.wait(60)
        assert 3 <= outbound_http.clock.now <= 3.5
        assert stopper.reason

    def test_has_less_time_left_as_time_passes(self, outbound_http: OutboundHTTP) -> None:
        """`left` counts down from the time budget, and is None without one."""
        outbound_http.clock.advance(100)
        stopper = Stopper(time_budget=10)
        outbound_http.clock.advance(4)
        assert (stopper.left, Stopper().left) == (6, None)

    def test_without_a_budget_time_does_not_matter(self, outbound_http: OutboundHTTP) -> None:
        """A run may take hours."""
        stopper = Stopper()
        outbound_http.clock.advance(1e6)
        assert stopper.reason == ""


@pytest.mark.parametrize("error", [None, KeyboardInterrupt()])
def test_connections_are_closed(
    make_package: MakePackage, parts: list[Part], monkeypatch: pytest.MonkeyPatch, error: BaseException | None
) -> None:
    """A run closes its sessions when it ends, also if it is aborted."""
    closed: list[Sessions] = []

    def close(self: Sessions) -> None:
        closed.append(self)

    monkeypatch.setattr(Sessions, "close", close)

    def ask(_: Client) -> Reading:
        if error is not None:
            raise error
        return Reading()

    parts.append(stub("a", ask))
    with nullcontext() if error is None else pytest.raises(KeyboardInterrupt):
        refresh(make_package())
    assert len(closed) == 1


class TestEndOfARun:
    """Parts that are still put aside when the run ends."""

    @pytest.fixture
    def packages(self, make_package: MakePackage, pypi: CannedPyPI) -> list[Package]:
        """Return packages, with a PyPI that asks for a pause of 15 minutes."""
        packages = [make_package(slug) for slug in ("a", "b", "c")]
        for package in packages:
            pypi.answers(package.slug, 429, headers={"Retry-After": "900"})
        return packages

    def test_a_stop_while_waiting_is_heard_at_once(
        self, packages: list[Package], pypi: CannedPyPI, outbound_http: OutboundHTTP
    ) -> None:
        """A stop during the wait for parts that were put aside ends the run at once, with summary and source status."""
        stopper = Stopper(time_budget=3600)
        during_waits(lambda: stopper.stop("SIGINT received"), outbound_http)
        summary, _ = refresh(*packages, stopper=stopper)
        assert outbound_http.clock.now <= 0.5
        assert (summary.tried, summary.left, summary.stopped) == (3, 0, "SIGINT received")
        assert summary.outcomes["pypi"] == {LEFT_ALONE: 3}
        assert row("c").outcome == "left alone"

    def test_a_time_budget_is_not_waited_out_in_vain(
        self, packages: list[Package], pypi: CannedPyPI, outbound_http: OutboundHTTP
    ) -> None:
        """A pause that ends after the time budget is not waited for."""
        summary, _ = refresh(*packages, stopper=Stopper(time_budget=600))
        assert outbound_http.clock.now < 1
        assert summary.stopped == ""
        assert summary.outcomes["pypi"].total() == 3

    def test_a_time_budget_that_is_long_enough_gets_everything_done(
        self, packages: list[Package], pypi: CannedPyPI, outbound_http: OutboundHTTP
    ) -> None:
        """A pause that ends within the time budget is waited for."""

        def heal(_: object) -> None:
            if outbound_http.clock.now > 800:
                for package in packages:
                    pypi.knows(package.slug)

        during_waits(lambda: heal(None), outbound_http)
        summary, _ = refresh(*packages, stopper=Stopper(time_budget=3600))
        assert summary.outcomes["pypi"] == {UPDATED: 3}
        assert (summary.left, summary.stopped) == (0, "")
        assert 900 <= outbound_http.clock.now < 1000

    def test_a_stop_during_the_last_package_is_reported(
        self, make_package: MakePackage, pypi: CannedPyPI, outbound_http: OutboundHTTP
    ) -> None:
        """A stop during the last package is in the summary."""
        pypi.answers("a", 503)
        summary, _ = refresh(make_package("a"), stopper=Stopper(time_budget=5))
        assert (summary.tried, summary.left, summary.stopped) == (0, 1, "the time budget is used up")

    def test_a_stop_during_a_second_pass_is_reported(
        self, make_package: MakePackage, pypi: CannedPyPI, outbound_http: OutboundHTTP
    ) -> None:
        """A part that is cut short in a second pass counts with its earlier result."""
        pypi.answers("a", 503)
        summary, _ = refresh(make_package("a"), stopper=Stopper(time_budget=12))
        assert (summary.tried, summary.left, summary.stopped) == (1, 0, "the time budget is used up")
        assert summary.outcomes["pypi"] == {FAILED: 1}

    def test_results_before_a_stop_in_a_second_pass_count(self, make_package: MakePackage, parts: list[Part]) -> None:
        """If a second pass is cut short, fetched parts count as fetched, the others with their earlier result."""
        stopper, not_ready = Stopper(), NotReady("not yet", "not_ready")

        def stop(_: Client) -> Reading:
            stopper.stop("enough")
            return Reading()

        def ask(client: Client) -> Reading:
            client.get("x")
            return Reading()

        parts += [stub("a", not_ready, stop), stub("b", not_ready, ask)]
        summary, _ = refresh(make_package(), stopper=stopper)
        assert summary.outcomes == {"stub": {UPDATED: 1, NOT_READY: 1}}
        assert (summary.tried, summary.left, summary.stopped) == (1, 0, "enough")

    @pytest.mark.django_db(transaction=True)
    def test_a_package_that_was_deleted_meanwhile_is_passed_over(
        self, packages: list[Package], pypi: CannedPyPI
    ) -> None:
        """Deleting a package with parts that were put aside does not affect the others."""

        def delete(package: Package, _: list[FetchResult], again: bool) -> None:
            if package.slug == "b":
                Package.objects.filter(slug="b").delete()

        summary = run([package.pk for package in packages], Stopper(), delete)
        assert not summary.database_failed
        assert set(SourceStatus.objects.filter(source="pypi").values_list("package__slug", flat=True)) == {"a", "c"}

    @pytest.mark.parametrize("error", [OperationalError("gone"), InterfaceError("closed")])
    @pytest.mark.parametrize(
        "when",
        [(Package.objects, "filter", 1), (SourceStatus.objects, "bulk_create", 3)],
        ids=["between two packages", "at the end"],
    )
    def test_a_database_that_fails_at_the_end_is_reported(
        self, packages: list[Package], monkeypatch: pytest.MonkeyPatch, when: tuple[Any, str, int], error: Exception
    ) -> None:
        """If the database fails at the end, the run still returns its summary."""
        told: list[str] = []
        manager, method, turn = when

        def refuse(*_: object, **__: object) -> None:
            raise error

        def tell(package: Package, *_: object) -> None:
            told.append(package.slug)
            if len(told) == turn:
                monkeypatch.setattr(manager, method, refuse)

        summary = run([package.pk for package in packages], Stopper(), tell)
        assert summary.database_failed
        assert type(error).__name__ in summary.stopped
