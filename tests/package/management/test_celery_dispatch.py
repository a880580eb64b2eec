"""`update_packages --celery` queues the packages that are due, and shows the workers' progress."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from django.db import OperationalError
from kombu.exceptions import OperationalError as BrokerError

from core.http import process
from core.http.testing import OutboundHTTP
from package import tasks
from package.jobs import dispatch
from package.management.celery_dispatch import TELL
from package.models import Claim, Package, SourceStatus
from tests.package.conftest import MakePackage
from tests.package.management.conftest import Command
from tests.pages import documented_keys

Sent = list[tuple[int, str]]


@pytest.fixture
def update_packages(manage: Command) -> Command:
    """Run update_packages; its tests pass --celery."""
    return lambda *args: manage("update_packages", *args)


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> Sent:
    """Return the messages that are sent; no worker receives them."""
    messages: Sent = []
    monkeypatch.setattr(tasks.fetch, "apply_async", lambda args, *_, **__: messages.append(args))
    return messages


@pytest.fixture
def broker_away(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise BrokerError("Error 111 connecting to localhost:6379. Connection refused.")

    monkeypatch.setattr(tasks.fetch, "apply_async", refuse)


@pytest.fixture(autouse=True)
def packages(make_package: MakePackage) -> list[Package]:
    """Return three packages that are due, each with two sources."""
    return [make_package(slug) for slug in ("a", "b", "c")]


def at_each_look(outbound_http: OutboundHTTP, *actions: Callable[[], object]) -> None:
    """Simulate workers: run one of these actions in each second of waiting."""
    left = list(actions)
    seconds = 0.0

    def wait(slept: float) -> None:
        nonlocal seconds
        outbound_http.clock.wait(slept)
        seconds += slept
        if left and seconds >= 0.99:
            seconds = 0.0
            left.pop(0)()

    process.use(runtime=replace(process.current().runtime, wait=wait))


def finish(number: int) -> Callable[[], object]:
    """Simulate workers that have done `number` tickets."""
    return lambda: Claim.objects.filter(pk__in=list(Claim.objects.values_list("pk", flat=True)[:number])).delete()


class TestWaiting:
    """Without --detach, the command waits until the workers are done."""

    def test_shows_the_progress_of_the_workers(
        self,
        update_packages: Command,
        sent: Sent,
        outbound_http: OutboundHTTP,
        capsys: pytest.CaptureFixture[str],
        packages: list[Package],
    ) -> None:
        """The command reports what is queued, and when it is done; the work itself is left to the workers."""
        at_each_look(outbound_http, finish(2), finish(4))
        assert update_packages("--celery") == 0
        assert sorted(sent) == [(package.pk, source) for package in packages for source in ("pypi", "pypistats")]
        out = capsys.readouterr().out
        assert "3 packages, 6 sources of packages queued" in out
        assert "[6/6] sources of packages are done" in out
        assert "All done after 2.0 s" in out
        assert "Is a worker running?" not in out

    def test_logs_progress_only_now_and_then(
        self, update_packages: Command, sent: Sent, outbound_http: OutboundHTTP, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """A log is not filled with a line for each second."""
        at_each_look(outbound_http, *[lambda: None] * 20, finish(1), *[lambda: None] * 20, finish(9))
        assert update_packages("--celery") == 0
        lines = [line for line in capsys.readouterr().out.splitlines() if "are done" in line]
        assert lines == ["[1/6] sources of packages are done", "[6/6] sources of packages are done"]

    def test_asks_for_workers_while_there_is_no_progress(
        self, update_packages: Command, sent: Sent, outbound_http: OutboundHTTP, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Without progress, the command says how to start a worker; while there is progress, it does not."""
        nothing = [lambda: None] * int(TELL - 2)
        at_each_look(outbound_http, *nothing, finish(1), *nothing, finish(1), *[lambda: None] * 65, finish(9))
        assert update_packages("--celery") == 0
        out = capsys.readouterr().out
        assert out.count("Is a worker running? celery --app config worker --queues") == 2

    def test_slugs_queue_packages_that_are_not_due(
        self, update_packages: Command, sent: Sent, packages: list[Package]
    ) -> None:
        """Packages that are named by their slugs are queued even if they are not due, as without --celery."""
        assert update_packages("--celery", "--detach", "b") == 0
        assert {args[0] for args in sent} == {packages[1].pk}
        assert Claim.objects.filter(everything=True).count() == 2

    def test_nothing_is_due(self, update_packages: Command, sent: Sent, capsys: pytest.CaptureFixture[str]) -> None:
        """The command says so and succeeds."""
        Package.objects.all().delete()
        assert update_packages("--celery") == 0
        assert "No package is due." in capsys.readouterr().out
        assert sent == []

    def test_on_a_terminal_there_is_a_bar(
        self,
        update_packages: Command,
        sent: Sent,
        outbound_http: OutboundHTTP,
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """The bar is drawn on stderr, so that a file with the output contains only text."""
        monkeypatch.setenv("TTY_COMPATIBLE", "1")
        at_each_look(outbound_http, finish(6))
        assert update_packages("--celery") == 0
        captured = capsys.readouterr()
        assert "6/6" in captured.err
        assert "6/6" not in captured.out


class TestJSON:
    """--json."""

    def test_is_the_whole_of_stdout(
        self, update_packages: Command, sent: Sent, outbound_http: OutboundHTTP, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Stdout has the JSON for programs, and stderr has the lines for people."""
        at_each_look(outbound_http, finish(6))
        assert update_packages("--celery", "--json") == 0
        captured = capsys.readouterr()
        done = {"version": 1, "packages": 3, "queued": 6, "left": 0, "left_alone": {}, "stopped": "", "seconds": 1.0}
        assert json.loads(captured.out) == done
        assert set(done) == documented_keys("`--celery`")
        assert "[6/6] sources of packages are done" in captured.err

    def test_reports_what_is_left(
        self, update_packages: Command, sent: Sent, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """With --detach, all tickets are left."""
        assert update_packages("--celery", "--detach", "--json") == 0
        told = json.loads(capsys.readouterr().out)
        assert (told["packages"], told["queued"], told["left"], told["stopped"]) == (3, 6, 6, "")


class TestLeftAlone:
    """Tickets that workers dropped, because their source was paused for longer than tickets are kept."""

    @pytest.fixture(autouse=True)
    def _worker(self, outbound_http: OutboundHTTP, packages: list[Package]) -> None:
        def give_up() -> None:
            for package in packages[:2]:
                SourceStatus.objects.create(package=package, source="pypi", outcome="left alone", error="PyPI is down")
            SourceStatus.objects.create(package=packages[0], source="pypistats", outcome="updated")
            finish(6)()

        at_each_look(outbound_http, give_up)

    def test_are_not_reported_as_done(
        self, update_packages: Command, sent: Sent, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """The output names the source, the number of parts and the reason."""
        assert update_packages("--celery") == 0
        out = capsys.readouterr().out
        assert "Nothing is left for the workers after 1.0 s\npypi: 2 parts are not done: PyPI is down\n" in out
        assert "All done" not in out

    def test_are_in_the_json(self, update_packages: Command, sent: Sent, capsys: pytest.CaptureFixture[str]) -> None:
        """`until` is null, because only the workers know the time."""
        assert update_packages("--celery", "--json") == 0
        left = json.loads(capsys.readouterr().out)["left_alone"]
        assert left == {"pypi": {"parts": 2, "why": "PyPI is down", "until": None}}

    def test_of_other_packages_are_not_reported(
        self, update_packages: Command, sent: Sent, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Only the packages of this command are reported."""
        assert update_packages("--celery", "b") == 0
        assert "pypi: 1 parts are not done" in capsys.readouterr().out


class TestDetach:
    """--detach."""

    def test_does_not_wait(
        self, update_packages: Command, sent: Sent, outbound_http: OutboundHTTP, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """The command queues the packages and ends."""
        assert update_packages("--celery", "--detach") == 0
        assert outbound_http.clock.waits == []
        assert "6 are left for the workers\n" in capsys.readouterr().out

    def test_twice_queues_once(self, update_packages: Command, sent: Sent) -> None:
        """A cron job that comes too often does no harm."""
        for _ in range(2):
            assert update_packages("--celery", "--detach") == 0
        assert len(sent) == Claim.objects.count() == 6

    def test_requires_celery(self, update_packages: Command, sent: Sent, capsys: pytest.CaptureFixture[str]) -> None:
        """--detach without --celery is misuse, and nothing is done."""
        assert update_packages("--detach") == 2
        assert "--detach requires --celery" in capsys.readouterr().err
        assert not Claim.objects.exists()

    def test_a_number_of_threads_is_refused_with_celery(
        self, update_packages: Command, sent: Sent, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """--workers with --celery is misuse, because workers have an option of their own; nothing is queued."""
        assert update_packages("--celery", "--workers=3") == 2
        assert "--concurrency" in capsys.readouterr().err
        assert not Claim.objects.exists()


@pytest.mark.usefixtures("broker_away")
class TestBrokerAway:
    """Exit status 1, and a clear message."""

    @pytest.mark.parametrize("options", [[], ["--detach"], ["--json"]])
    def test_is_reported(
        self, update_packages: Command, capsys: pytest.CaptureFixture[str], options: list[str]
    ) -> None:
        """The error message says what is wrong, what happens to queued packages and how to run without a broker."""
        assert update_packages("--celery", *options) == 1
        captured = capsys.readouterr()
        assert "The broker at CELERY_BROKER_URL cannot be reached" in captured.err
        assert "Packages that are queued already will be sent later" in captured.err
        assert "`update_packages --workers N` works without a broker" in captured.err
        assert "Traceback" not in captured.err
        assert captured.out == ""

    def test_loses_nothing(self, update_packages: Command, monkeypatch: pytest.MonkeyPatch) -> None:
        """Queued packages are sent by the next plan, or by the next run of the command."""
        update_packages("--celery")
        messages: Sent = []
        monkeypatch.setattr(tasks.fetch, "apply_async", lambda args, *_, **__: messages.append(args))
        assert dispatch.unsent().count() == 6
        assert update_packages("--celery", "--detach") == 0
        assert len(messages) == 6


class TestStopping:
    """Ctrl-C, SIGTERM and the time budget during the wait for workers."""

    @pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
    def test_a_signal_ends_only_the_waiting(
        self,
        update_packages: Command,
        sent: Sent,
        outbound_http: OutboundHTTP,
        capsys: pytest.CaptureFixture[str],
        number: signal.Signals,
        status: int,
    ) -> None:
        """The workers continue, and the command says how much is left for them."""
        at_each_look(outbound_http, finish(2), lambda: signal.raise_signal(number))
        assert update_packages("--celery") == status
        assert f"4 are left for the workers: {number.name} received" in capsys.readouterr().out
        assert Claim.objects.count() == 4
        assert outbound_http.clock.now < 3

    def test_a_time_budget(
        self, update_packages: Command, sent: Sent, outbound_http: OutboundHTTP, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """The command waits no longer than the time budget."""
        assert update_packages("--celery", "--time-budget", "90", "--json") == 0
        assert 90 <= outbound_http.clock.now < 92
        assert json.loads(capsys.readouterr().out)["stopped"] == "the time budget is used up"

    @pytest.mark.parametrize("options", [[], ["--detach"]])
    def test_a_signal_while_packages_are_queued(
        self,
        update_packages: Command,
        sent: Sent,
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
        options: list[str],
    ) -> None:
        """Packages queued until then are left to the workers, and the command says that it was stopped."""
        monkeypatch.setattr(dispatch, "_CHUNK", 1)

        def send(args: Any, *_: object, **__: object) -> None:
            sent.append(args)
            if len(sent) == 3:
                signal.raise_signal(signal.SIGINT)

        monkeypatch.setattr(tasks.fetch, "apply_async", send)
        assert update_packages("--celery", "--json", *options) == 130
        told = json.loads(capsys.readouterr().out)
        assert told | {"seconds": 0} == {
            "version": 1,
            "packages": 2,
            "queued": 4,
            "left": 4,
            "left_alone": {},
            "stopped": "SIGINT received",
            "seconds": 0,
        }

    def test_the_database_fails_meanwhile(
        self,
        update_packages: Command,
        sent: Sent,
        outbound_http: OutboundHTTP,
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """Exit status 1 and the summary, as without workers; queued packages stay queued."""

        def fail(_: object) -> int:
            raise OperationalError("gone")

        at_each_look(outbound_http, lambda: monkeypatch.setattr(dispatch, "left", fail))
        assert update_packages("--celery") == 1
        captured = capsys.readouterr()
        assert "6 are left for the workers: the database failed: OperationalError" in captured.out
        assert Claim.objects.count() == 6
