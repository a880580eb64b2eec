"""``python -m tests.conformance``: run the suites, compare, say what differs. See the package's docstring."""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TextIO

import tests.conformance
from tests.conformance.known import KNOWN
from tests.conformance.suites import CACHE, ROOT, SUITES, Suite

PLAIN, ONCE, DEFAULT = MODES = ("plain", "retries=0", "default")
_PLUGIN = Path(__file__).with_name("plugin")
_KEPT_VARIABLES = ("PATH", "HOME", "TMPDIR", "TEMP", "TMP", "SYSTEMROOT")
_ROW = "{:<10} {:<10} {:>7} {:>7} {:>7} {:>10} {:>7} {:>10}"
_LONGEST_RUN = 600.0
"""Seconds. They take about one minute."""
_NOT_RUN = ("not run", "")


class Results(NamedTuple):
    """How the tests of one run ended."""

    outcomes: dict[str, tuple[str, str]]
    """By test: the outcome, and the error."""
    resilient: int
    """Tests that sent something through core.http."""

    def count(self, *outcomes: str) -> int:
        return sum(outcome in outcomes for outcome, _ in self.outcomes.values())


class Failed(Exception):  # noqa: N818 - its text is the whole message
    """The comparison cannot be made."""


@dataclass
class Run:
    """A suite, run in a process of its own, in one mode."""

    suite: Suite
    directory: Path
    mode: str
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0

    def _file(self, suffix: str) -> Path:
        return CACHE / f"{self.suite.name}-{self.mode}.{suffix}"

    def start(self) -> None:
        """Start the suite, in an environment without variables that requests or httpx read.

        Raises `Failed` if its server could not listen.
        """
        if self.suite.port is not None and _is_taken(self.suite.port):
            raise Failed(f"{self.suite.name}: its tests need port {self.suite.port}, where something listens already")
        self._file("json").unlink(missing_ok=True)
        environment = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ} | {
            "LANG": "C.UTF-8",
            "PYTHONPATH": os.pathsep.join(map(str, (ROOT, _PLUGIN))),
            "CONFORMANCE_MODE": self.mode,
            "CONFORMANCE_RESULTS": str(self._file("json")),
            **self.suite.environment,
        }
        plugins = ["circumstances"]
        if self.mode != PLAIN:
            plugins += ["fresh_upstreams", self.suite.replacement]
        with self._file("log").open("wb") as log:
            self.process = subprocess.Popen(
                self.suite.command(*plugins), cwd=self.directory, env=environment, stdout=log, stderr=subprocess.STDOUT
            )
        self.started = time.monotonic()

    def is_over(self) -> bool:
        """Say whether it has ended. Raises `Failed` where it ought to have, long ago."""
        if self.process is None or self.process.poll() is not None:
            return True
        if time.monotonic() - self.started > _LONGEST_RUN:
            raise Failed(f"{self.suite.name}, {self.mode}: not finished after {_LONGEST_RUN:.0f} s{self._log_tail()}")
        return False

    def stop(self) -> None:
        """End it, if it has not ended."""
        if self.process is None or self.process.poll() is not None:
            return
        self.process.terminate()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def results(self) -> Results:
        """Read the results. Raises `Failed` if pytest did not finish."""
        if self.process is None or self.process.returncode not in {0, 1} or not self._file("json").exists():
            raise Failed(f"{self.suite.name}, {self.mode}: pytest did not run the tests{self._log_tail()}")
        results = Results(**json.loads(self._file("json").read_text()))
        if self.mode != PLAIN and not results.resilient:
            raise Failed(f"{self.suite.name}, {self.mode}: no test used core.http")
        return results

    def _log_tail(self) -> str:
        lines = self._file("log").read_text(errors="replace").splitlines()[-20:]
        return "\n" + "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the suites of the command line. Returns the exit status."""
    options = _parser().parse_args(arguments)
    begun = time.monotonic()
    CACHE.mkdir(exist_ok=True)
    (CACHE / ".gitignore").write_text("*\n")
    suites = [suite for suite in SUITES if options.suite in {None, suite.name}]
    try:
        runs = [Run(suite, directory, mode) for suite in suites for directory in [suite.fetch()] for mode in MODES]
        _run_all(runs, options.jobs)
        results = {(run.suite.name, run.mode): run.results() for run in runs}
    except (Failed, LookupError, RuntimeError, OSError) as exc:
        _say(str(exc), sys.stderr)
        return 2
    except KeyboardInterrupt:
        _say("Interrupted", sys.stderr)
        return 130
    unexpected = _report([suite.name for suite in suites], results)
    plural = "" if unexpected == 1 else "s"
    _say(f"\n{unexpected or 'No'} unexpected difference{plural} ({time.monotonic() - begun:.0f} s)")
    return 1 if unexpected else 0


def _parser() -> argparse.ArgumentParser:
    description = tests.conformance.__doc__ or ""
    parser = argparse.ArgumentParser(
        prog="python -m tests.conformance",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--suite", choices=[suite.name for suite in SUITES], help="only this one (default: all)")
    parser.add_argument(
        "--jobs", type=int, default=3, metavar="N", help="runs at a time; they mostly wait (default: 3)"
    )
    return parser


def _run_all(runs: Sequence[Run], jobs: int) -> None:
    """Run all suites, several at a time. An early end stops them."""
    waiting, running = list(runs), list[Run]()
    try:
        while waiting or running:
            while len(running) < max(jobs, 1) and (run := _next(waiting, running)):
                waiting.remove(run)
                running.append(run)
                run.start()
            time.sleep(0.1)
            for run in [run for run in running if run.is_over()]:
                running.remove(run)
                _say(f"{run.suite.name}, {run.mode}: run in {time.monotonic() - run.started:.0f} s")
    finally:
        for run in runs:
            run.stop()


def _next(waiting: Sequence[Run], running: Sequence[Run]) -> Run | None:
    """Return the first run whose server's port no other run uses."""
    ports = {run.suite.port for run in running} - {None}
    return next((run for run in waiting if run.suite.port not in ports), None)


def _is_taken(port: int) -> bool:
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False


def _report(suites: Sequence[str], results: dict[tuple[str, str], Results]) -> int:
    """Print the table, and each difference. Returns how many of them are not known."""
    _say(_ROW.format("suite", "mode", "passed", "failed", "skipped", "core.http", "known", "unexpected"))
    texts, unexpected = [], 0
    for suite in suites:
        plain = results[suite, PLAIN]
        for mode in MODES:
            result = results[suite, mode]
            known = KNOWN[suite] if mode == DEFAULT else {}
            differing = _differing(plain, result)
            new = [test for test in differing if test not in known]
            unexpected += len(new)
            row = [result.count("passed", "xfailed", "xpassed"), result.count("failed", "error")]
            row += [result.count("skipped"), result.resilient, len(differing) - len(new), len(new)]
            _say(_ROW.format(suite, mode, *row))
            for test in differing:
                (before, _), (after, why) = (found.outcomes.get(test, _NOT_RUN) for found in (plain, result))
                label = f"known: {known[test]}" if test in known else f"DIFFERS: {why}"
                texts.append(f"{suite}, {mode}: {test}\n    {before} -> {after}; {label}")
            texts += [f"{suite}, {mode}: {test}\n    no longer differs" for test in known if test not in differing]
    _say("\n".join(["", *texts]))
    return unexpected


def _differing(plain: Results, other: Results) -> list[str]:
    names = dict.fromkeys([*plain.outcomes, *other.outcomes])
    return [test for test in names if plain.outcomes.get(test, _NOT_RUN)[0] != other.outcomes.get(test, _NOT_RUN)[0]]


def _say(text: str, stream: TextIO | None = None) -> None:
    (stream or sys.stdout).write(f"{text}\n")


if __name__ == "__main__":
    sys.exit(main())
