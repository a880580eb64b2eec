"""update_packages: time budgets, SIGINT and SIGTERM end a run early."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from dataclasses import replace

import pytest

from core.http import process as outbound
from core.http.testing import OutboundHTTP
from package.models import Package
from tests.package.conftest import CannedPyPI, MakePackage
from tests.package.management.conftest import Command
from tests.upstreams.pypi import project


class TestStopping:
    """Time budgets, Ctrl-C and SIGTERM."""

    @pytest.fixture(autouse=True)
    def _packages(self, make_package: MakePackage, pypi: CannedPyPI) -> None:
        for slug in ("a", "b", "c"):
            make_package(slug)
            pypi.knows(slug)

    @staticmethod
    def during(pypi: CannedPyPI, name: str, action: Callable[[], object], status: int = 200) -> None:
        """Call something while a request for `name` to PyPI is in progress, then answer."""

        def answer(_: object) -> tuple[int, dict[str, str], str]:
            action()
            return status, {}, json.dumps(project(name))

        pypi.mock.remove("GET", pypi.url(name))
        pypi.calls(name, answer)

    def test_time_budget(
        self,
        update_packages: Command,
        pypi: CannedPyPI,
        outbound_http: OutboundHTTP,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        """After the time budget, no request is sent; finished results are saved, and the exit status is 0."""
        self.during(pypi, "b", lambda: outbound_http.clock.advance(8))
        assert update_packages("--time-budget", "8") == 0
        assert pypi.asked == ["a", "b"]
        assert Package.objects.filter(pypi_license="MIT").count() == 2
        assert "2 packages left for the next run: the time budget is used up" in capsys.readouterr().out

    def test_time_budget_cuts_waiting_short(
        self, update_packages: Command, pypi: CannedPyPI, outbound_http: OutboundHTTP
    ) -> None:
        """A long pause that PyPI asks for does not extend a run beyond its time budget."""
        pypi.answers("b", 429, headers={"Retry-After": "55"})
        assert update_packages("--time-budget", "8") == 0
        assert pypi.asked == ["a", "b"]
        assert outbound_http.clock.now <= 8.5
        assert set(Package.objects.filter(next_due=None).values_list("slug", flat=True)) == {"b", "c"}

    def test_time_budget_allows_another_fetch(
        self, update_packages: Command, pypi: CannedPyPI, outbound_http: OutboundHTTP
    ) -> None:
        """A run waits for parts that were put aside as long as its time budget allows, and no longer."""
        answers = iter([(429, {"Retry-After": "300"}, "")])
        pypi.calls("b", lambda _: next(answers, (200, {}, json.dumps(project("b")))))
        assert update_packages("--time-budget", "600") == 0
        assert sorted(pypi.asked) == ["a", "b", "b", "c"]
        assert Package.objects.filter(pypi_license="MIT").count() == 3
        assert 300 <= outbound_http.clock.now < 310

    def test_without_a_time_budget_the_wait_is_short(
        self, update_packages: Command, pypi: CannedPyPI, outbound_http: OutboundHTTP
    ) -> None:
        """Without a time budget, a run waits only a short time for parts that were put aside."""
        pypi.answers("b", 429, headers={"Retry-After": "300"})
        assert update_packages() == 0
        assert outbound_http.clock.now <= 30

    @pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
    def test_the_first_signal_ends_the_run_cleanly(
        self,
        update_packages: Command,
        pypi: CannedPyPI,
        capfd: pytest.CaptureFixture[str],
        number: signal.Signals,
        status: int,
    ) -> None:
        """The current attempt ends and is saved, nothing new starts, and the summary is printed."""
        self.during(pypi, "b", lambda: signal.raise_signal(number))
        assert update_packages() == status
        assert pypi.asked == ["a", "b"]
        assert set(Package.objects.filter(pypi_license="MIT").values_list("slug", flat=True)) == {"a", "b"}
        captured = capfd.readouterr()
        assert f"2 packages left for the next run: {number.name} received" in captured.out
        assert "Repeat the signal to abort" in captured.err

    def test_the_json_of_a_stopped_run(
        self, update_packages: Command, pypi: CannedPyPI, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """The JSON of a stopped run says what was done and what is left."""
        self.during(pypi, "b", lambda: signal.raise_signal(signal.SIGTERM))
        assert update_packages("--json") == 143
        summary = json.loads(capsys.readouterr().out)
        assert (summary["tried"], summary["left"], summary["stopped"]) == (1, 2, "SIGTERM received")

    def test_a_signal_during_the_last_package(self, update_packages: Command, pypi: CannedPyPI) -> None:
        """After a signal, the exit status is that of the signal, even if no package was left."""
        self.during(pypi, "c", lambda: signal.raise_signal(signal.SIGINT))
        assert update_packages() == 130
        assert Package.objects.filter(pypi_license="MIT").count() == 3

    def test_a_signal_ends_a_wait(
        self, update_packages: Command, pypi: CannedPyPI, outbound_http: OutboundHTTP
    ) -> None:
        """Ctrl-C ends a wait of a minute at once."""

        def wait(seconds: float) -> None:
            outbound_http.clock.wait(seconds)
            if len(outbound_http.clock.waits) == 1:
                signal.raise_signal(signal.SIGINT)

        outbound.use(runtime=replace(outbound.current().runtime, wait=wait))
        pypi.answers("b", 429, headers={"Retry-After": "50"})
        assert update_packages() == 130
        assert pypi.asked == ["a", "b"]
        assert outbound_http.clock.now <= 0.5

    def test_a_signal_ends_the_wait_for_a_paused_source(
        self,
        update_packages: Command,
        pypi: CannedPyPI,
        outbound_http: OutboundHTTP,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        """Ctrl-C also ends the wait for a paused source, and the output says what is left."""

        def wait(seconds: float) -> None:
            outbound_http.clock.wait(seconds)
            if len(outbound_http.clock.waits) == 1:
                signal.raise_signal(signal.SIGINT)

        outbound.use(runtime=replace(outbound.current().runtime, wait=wait))
        for slug in ("a", "b", "c"):
            pypi.answers(slug, 429, headers={"Retry-After": "300"})
        assert update_packages("--time-budget", "600", "--json") == 130
        assert pypi.asked == ["a"]
        assert outbound_http.clock.now <= 0.5
        summary = json.loads(capsys.readouterr().out)
        assert (summary["tried"], summary["left"], summary["stopped"]) == (3, 0, "SIGINT received")
        assert summary["sources"]["pypi"]["left_alone"] == 3

    @pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
    def test_the_second_signal_aborts(
        self,
        update_packages: Command,
        pypi: CannedPyPI,
        capsys: pytest.CaptureFixture[str],
        number: signal.Signals,
        status: int,
    ) -> None:
        """The current attempt is dropped; results saved before it stay."""
        self.during(pypi, "b", lambda: [signal.raise_signal(number) for _ in range(2)])
        assert update_packages() == status
        assert list(Package.objects.filter(pypi_license="MIT").values_list("slug", flat=True)) == ["a"]
        captured = capsys.readouterr()
        assert "Aborted" in captured.err
        assert "Traceback" not in captured.err

    def test_signal_handlers_are_restored(self, update_packages: Command, pypi: CannedPyPI) -> None:
        """After the command, the signal handlers are those from before it."""
        before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
        self.during(pypi, "b", lambda: signal.raise_signal(signal.SIGINT))
        update_packages()
        assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
