"""Which packages and parts a run takes, and in what order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.utils import timezone

from package.jobs import claims
from package.jobs.due import due, in_order, stale
from package.jobs.run import run
from package.jobs.stopper import Stopper
from package.models import Package, SourceStatus
from package.sources.client import Client
from package.sources.fields import Reading
from package.sources.package_parts import Part
from tests.package.conftest import CannedPyPI, MakePackage, stub
from tests.package.jobs.running import Told, ago, refresh, slugs


class TestQueue:
    """due, stale and in_order."""

    @pytest.fixture
    def queue(self, make_package: MakePackage) -> None:
        soon, past = ago(-1), ago(0.1)
        make_package("fresh", last_fetched=ago(1), next_due=soon)
        make_package("stale", last_fetched=ago(48), next_due=past)
        make_package("new")
        make_package("failing", last_fetched=ago(72), last_exception_at=ago(0.5), last_exception="x", next_due=soon)
        make_package("never-went-well", last_exception_at=ago(2), last_exception="x", next_due=past)
        make_package("recovered", last_fetched=ago(3), last_exception_at=ago(90), next_due=past)

    @pytest.mark.usefixtures("queue")
    def test_those_tried_longest_ago_come_first(self) -> None:
        """A package that failed moves back too, so that it cannot block the queue."""
        ordered = in_order(Package.objects.all())
        assert slugs(ordered) == ["new", "stale", "recovered", "never-went-well", "fresh", "failing"]

    @pytest.mark.usefixtures("queue")
    def test_due_times_are_those_of_the_ledger(self) -> None:
        """Failed parts wait longer each time, successful ones are due tomorrow, new ones at once."""
        assert slugs(due()) == ["new", "stale", "recovered", "never-went-well"]

    @pytest.mark.usefixtures("queue")
    def test_due_packages_at_another_time(self) -> None:
        """The packages due at another time can be queried."""
        assert slugs(due(ago(-1))) == ["new", "stale", "recovered", "never-went-well", "fresh", "failing"]
        assert slugs(due(ago(24))) == ["new"]

    @pytest.mark.usefixtures("queue")
    def test_stale_packages(self) -> None:
        """`stale` depends on the last success only."""
        assert slugs(stale(ago(20))) == ["new", "stale", "never-went-well", "failing"]

    def test_ties_are_broken_by_age(self, make_package: MakePackage) -> None:
        """The order is the same in every run."""
        for slug in ("b", "a", "c"):
            make_package(slug)
        assert slugs(due()) == ["b", "a", "c"]

    def test_every_tried_package_moves_to_the_end(self, make_package: MakePackage, pypi: CannedPyPI) -> None:
        """Every tried package moves to the end of the queue, with any result."""
        tried = [make_package(slug) for slug in ("good", "missing", "down", "odd")]
        tried += [make_package("bare", pypi_url=""), make_package("elsewhere", pypi_url="https://example.org/x")]
        make_package("waiting")
        pypi.knows("good")
        pypi.answers("missing", 404)
        pypi.answers("down", 503)
        pypi.says("odd", [])
        pypi.statistics_answer(404)
        refresh(*tried)
        assert slugs(in_order(Package.objects.all()))[0] == "waiting"
        assert slugs(due()) == ["waiting"]


class TestWhatIsDue:
    """Only the parts that are due are fetched."""

    @pytest.fixture
    def asked(self, parts: list[Part]) -> list[str]:
        """Return the parts that are requested, of two that always succeed."""
        asked: list[str] = []

        def read(name: str) -> Callable[[Client], Reading]:
            return lambda _: asked.append(name) or Reading()

        parts += [stub("a", read("a")), stub("b", read("b"))]
        return asked

    def test_is_all_that_is_asked_for(self, make_package: MakePackage, asked: list[str]) -> None:
        """Parts that are not due are not requested."""
        package = make_package()
        refresh(package)
        SourceStatus.objects.filter(part="b").update(next_due=ago(1))
        refresh(package)
        assert asked == ["a", "b", "b"]

    def test_does_not_matter_where_everything_is_asked_for(self, make_package: MakePackage, asked: list[str]) -> None:
        """With `everything`, all parts are requested."""
        package = make_package()
        for _ in range(2):
            refresh(package, everything=True)
        assert asked == ["a", "b", "a", "b"]

    def test_may_be_nothing(self, make_package: MakePackage, asked: list[str]) -> None:
        """If another run has fetched all due parts, nothing is requested, and the package has had its turn."""
        package = make_package()
        refresh(package)
        summary, told = refresh(package)
        assert asked == ["a", "b"]
        assert (summary.tried, summary.left, summary.outcomes) == (0, 0, {})
        assert told == [Told(package.slug, {}, again=False)]

    def test_is_due_when_it_is_claimed(
        self, make_package: MakePackage, asked: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Parts that another run finishes after this run began are not fetched again."""
        package = make_package()
        began = timezone.now()
        refresh(package)
        SourceStatus.objects.update(next_due=None)
        claim = claims.claim

        def finish_first(*args: Any, **how: Any) -> Any:
            SourceStatus.objects.update(last_attempt=began, last_success=began, next_due=ago(-1))
            return claim(*args, **how)

        monkeypatch.setattr(claims, "claim", finish_first)
        refresh(package)
        assert asked == ["a", "b"]

    def test_is_a_part_that_was_never_fetched(
        self, make_package: MakePackage, asked: list[str], parts: list[Part]
    ) -> None:
        """A part that was never fetched is due, without the others."""
        package = make_package()
        refresh(package)
        parts.append(stub("c", lambda _: asked.append("c") or Reading()))
        refresh(package)
        assert asked == ["a", "b", "c"]


def test_only_due_parts_are_fetched_unless_all_are_wanted(package: Package, parts: list[Part]) -> None:
    """Without `everything`, a run fetches no part that is not due."""
    parts.append(stub("a", Reading()))
    SourceStatus.objects.create(package=package, source="stub", part="a", next_due=ago(-1))
    assert run([package.pk], Stopper(), lambda *_: None).outcomes == {}
