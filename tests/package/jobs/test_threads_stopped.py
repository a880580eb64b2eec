"""A run with several threads keeps what it has fetched, however it ends."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from functools import partial

import pytest
from django.db import OperationalError
from responses import RequestsMock

from core.http.testing import OutboundHTTP
from package.jobs import run as run_module
from package.jobs.due import due
from package.jobs.run import Run, run
from package.jobs.stopper import Stopper
from package.models import Claim, Package, SourceStatus
from package.sources.client import READING, Client
from package.sources.fetch_results import FetchOutcome
from package.sources.fields import Reading
from package.sources.package_parts import Part
from tests.package.conftest import DEADLINE, MakePackage, stub
from tests.package.jobs.thread_runs import UPDATED, WORKERS, pool_threads, refresh

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("threads_end")]


class Meeting:
    """A source that answers only when this many requests are in progress, or when it is opened."""

    def __init__(self, parties: int) -> None:
        self._parties = parties
        self._changed = threading.Condition()
        self.asked = 0
        self._open = False

    def __call__(self, _: Client) -> Reading:
        with self._changed:
            self.asked += 1
            self._changed.notify_all()
            assert self._changed.wait_for(lambda: self._open, DEADLINE)
        return Reading({"repo_forks": 7})

    def wait(self) -> None:
        """Wait until all requests are in progress."""
        with self._changed:
            assert self._changed.wait_for(lambda: self.asked >= self._parties, DEADLINE)

    def open(self) -> None:
        with self._changed:
            self._open = True
            self._changed.notify_all()


@pytest.fixture
def meeting(parts: list[Part]) -> Iterator[Meeting]:
    """Return the parts of every package, which hold each thread until the source is opened."""
    meeting = Meeting(WORKERS)
    parts.append(stub("", meeting))
    yield meeting
    meeting.open()


def when_all_are_there(meeting: Meeting, *actions: Callable[[], object]) -> threading.Thread:
    """Run these actions as soon as all threads are in a request, then let the threads continue."""

    def act() -> None:
        meeting.wait()
        for action in actions:
            action()
        meeting.open()

    thread = threading.Thread(target=act)
    thread.start()
    return thread


class TestStop:
    """Ctrl-C, SIGTERM and the time budget."""

    def test_current_fetches_are_finished_and_stored(self, packages: list[Package], meeting: Meeting) -> None:
        """After a stop from any thread, nothing new starts, and finished results are stored."""
        stopper = Stopper()
        thread = when_all_are_there(meeting, partial(stopper.stop, "enough"))
        summary = refresh(packages, stopper=stopper)
        thread.join(DEADLINE)
        assert meeting.asked == WORKERS
        assert (summary.tried, summary.left, summary.stopped) == (WORKERS, 12 - WORKERS, "enough")
        assert summary.outcomes == {"stub": {UPDATED: WORKERS}}
        assert Package.objects.filter(repo_forks=7).count() == WORKERS
        assert not Claim.objects.exists()

    def test_a_package_that_is_cut_short_keeps_fetched_parts(
        self, packages: list[Package], parts: list[Part], meeting: Meeting
    ) -> None:
        """Parts that were fetched before the stop are stored; the others stay due, and the package counts as left."""
        stopper = Stopper()

        def ask(client: Client) -> Reading:
            client.get("x")
            return Reading()

        parts.append(stub("b", ask))
        thread = when_all_are_there(meeting, partial(stopper.stop, "enough"))
        summary = refresh(packages, stopper=stopper)
        thread.join(DEADLINE)
        assert (summary.tried, summary.left, summary.stopped) == (0, 12, "enough")
        assert Package.objects.filter(repo_forks=7).count() == WORKERS
        assert due().count() == 12
        assert SourceStatus.objects.filter(part="", outcome=UPDATED).count() == WORKERS
        assert not Claim.objects.exists()

    def test_the_time_budget_ends_it_too(
        self, packages: list[Package], meeting: Meeting, outbound_http: OutboundHTTP
    ) -> None:
        """After the time budget, nothing new starts."""
        thread = when_all_are_there(meeting, partial(outbound_http.clock.advance, 60))
        summary = refresh(packages, stopper=Stopper(time_budget=60))
        thread.join(DEADLINE)
        assert (meeting.asked, summary.tried) == (WORKERS, WORKERS)
        assert summary.stopped == "the time budget is used up"

    def test_an_abort_does_not_wait_for_threads(
        self,
        packages: list[Package],
        make_package: MakePackage,
        meeting: Meeting,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """An abort does not wait for busy threads, and frees their claims."""
        quick = make_package("quick", repo_host="quick")
        monkeypatch.setattr(
            "package.sources.package_parts.parts_of",
            lambda package: [stub("", Reading() if package.repo_host else meeting)],
        )

        def abort(package: Package, *_: object) -> None:
            assert package == quick
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            run([package.pk for package in (*packages, quick)][-WORKERS:], Stopper(), abort, workers=WORKERS)
        assert pool_threads() != []
        assert not Claim.objects.exists()
        assert not Package.objects.exclude(pk=quick.pk).filter(repo_forks=7).exists()

    def test_an_abort_starts_no_further_attempt(
        self, packages: list[Package], parts: list[Part], meeting: Meeting, responses: RequestsMock
    ) -> None:
        """After an abort, threads start no further attempt, because no result would be stored."""
        responses.get("https://stub.test/x", json={})
        parts.append(stub("b", lambda client: client.get("x") and Reading()))

        def abort(*_: object) -> None:
            meeting.wait()
            raise KeyboardInterrupt

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Run, "_take_in", abort)
            with pytest.raises(KeyboardInterrupt):
                refresh(packages)
        meeting.open()
        for thread in pool_threads():
            thread.join(DEADLINE)
        assert len(responses.calls) == 0


class TestMishaps:
    """Unexpected errors."""

    @pytest.mark.parametrize("workers", [1, WORKERS])
    def test_a_bug_outside_of_all_parts_is_that_packages_own(
        self,
        packages: list[Package],
        parts: list[Part],
        caplog: pytest.LogCaptureFixture,
        workers: int,
    ) -> None:
        """The error is logged, recorded and counted; the others are refreshed, and the next run can succeed."""
        parts.append(stub("", Reading()))
        self.spoil(packages[3])
        summary = refresh(packages, workers=workers)
        assert (summary.tried, summary.outcomes) == (12, {"stub": {UPDATED: 11, FetchOutcome.FAILED: 1}})
        assert any(record.exc_info and "p3" in record.getMessage() for record in caplog.records)
        spoilt = Package.objects.get(slug="p3")
        assert (spoilt.last_exception, spoilt.last_exception_count) == ("unexpected KeyError; see the log", 1)
        assert spoilt not in due()
        assert not Claim.objects.exists()
        assert refresh(packages, everything=True).outcomes == {"stub": {UPDATED: 12}}

    def test_a_bug_in_every_package_fails_the_run(self, packages: list[Package], parts: list[Part]) -> None:
        """A run in which every package raised an unexpected error fails."""
        parts.append(stub("", Reading()))
        self.spoil(*packages)
        assert refresh(packages).reached_nothing

    @staticmethod
    def spoil(*packages: Package) -> None:
        """Store an unreadable value in a source status."""
        rows = [SourceStatus(package=package, source="stub", validators={"reading": READING}) for package in packages]
        SourceStatus.objects.bulk_create(rows)

    def test_the_database_fails_while_threads_are_busy(
        self, packages: list[Package], meeting: Meeting, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """If the database fails, the run ends when the threads are done, and sends no further request."""

        def fail(*_: object, **__: object) -> None:
            raise OperationalError("gone")

        monkeypatch.setattr(run_module, "store", fail)
        thread = when_all_are_there(meeting)
        summary = refresh(packages)
        thread.join(DEADLINE)
        assert meeting.asked == WORKERS
        assert (summary.tried, summary.left, summary.database_failed) == (0, 12, True)
        assert "OperationalError" in summary.stopped

    def test_the_database_fails_while_packages_are_read(
        self, packages: list[Package], parts: list[Part], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Packages that could not be read count as left."""

        def fail(*_: object, **__: object) -> None:
            raise OperationalError("gone")

        parts.append(stub("", Reading()))
        monkeypatch.setattr(run_module, "read", fail)
        summary = refresh(packages)
        assert (summary.tried, summary.left, summary.database_failed) == (0, 12, True)
