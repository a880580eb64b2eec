"""A Prometheus server of the tests, which scrapes the processes of a test.

with running_prometheus(tmp_path, ["127.0.0.1:8000"], token="secret") as prometheus:
    prometheus.wait_for_scrape()
    print(prometheus.query("sum(up)"))
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode

from tests.servers.common import DIRECT, LONGEST, cannot, free_port, wait_until
from tests.servers.program import Program

JOB = "site"
_ALIGNED = 0.01
"""Seconds, and some more, by which Prometheus may shift the time of a scrape to have them at regular intervals."""

Sample = tuple[dict[str, str], float]
Series = tuple[dict[str, str], list[tuple[float, float]]]


class Prometheus:
    """It listens on this machine only."""

    def __init__(self, directory: Path, configuration: dict[str, Any], binary: str, *, targets: int) -> None:
        """Start it, with its data below `directory`. `targets`: how many it is to scrape."""
        self._targets = targets
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        file = directory / "prometheus.yml"
        file.write_text(json.dumps(configuration))  # which is YAML too
        self._program = Program(
            [
                f"--config.file={file}",
                f"--storage.tsdb.path={directory / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}",
                "--rules.alert.resend-delay=1s",  # Alertmanager may not have been known yet
                "--log.level=warn",
            ],
            os.environ,
            directory / "prometheus.log",
            executable=[binary],
        )

    @property
    def said(self) -> str:
        """The log, for the message of a failing test."""
        return self._program.said

    def query(self, expression: str, at: float | None = None) -> list[Sample]:
        """Evaluate `expression`, now or at a time: labels and value of each series."""
        asked = {"query": expression} if at is None else {"query": expression, "time": f"{at:.3f}"}
        data = self.ask("query", **asked)
        if data["resultType"] in {"scalar", "string"}:
            return [({}, float(data["result"][1]))]
        return [(series["metric"], float(series["value"][1])) for series in data["result"]]

    def query_range(self, expression: str, start: float, end: float, step: float) -> list[Series]:
        """Evaluate `expression` every `step` seconds: labels, and times and values, of each series."""
        data = self.ask("query_range", query=expression, start=f"{start:.3f}", end=f"{end:.3f}", step=f"{step:g}")
        return [
            (series["metric"], [(float(at), float(value)) for at, value in series["values"]])
            for series in data["result"]
        ]

    def targets(self) -> list[dict[str, Any]]:
        """Return its targets, with the results of the last scrapes."""
        found: list[dict[str, Any]] = self.ask("targets", state="active")["activeTargets"]
        return found

    def wait_for_scrape(self) -> float:
        """Wait until every target was scraped once more, beginning now. Return when the last of these scrapes began."""
        now, times = time.time(), [0.0]

        def scraped() -> bool:
            times[:] = [at for _, at in self.query("timestamp(up) and up == 1")]
            return len(times) == self._targets and min(times) > now + _ALIGNED

        wait_until(scraped, LONGEST, "a scrape of each target", every=0.1)
        return max(times)

    def suspend(self) -> None:
        """Let it scrape nothing for a while."""
        self._program.signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._program.signal(signal.SIGCONT)

    def stop(self) -> None:
        self.resume()
        self._program.stop(LONGEST)

    def wait_until_ready(self) -> None:
        self._program.wait_for_answer(f"{self.url}/-/ready", LONGEST)

    def ask(self, path: str, **parameters: str) -> Any:
        """Return the data of an answer of its API; an expression with a mistake in it fails the test."""
        try:
            with DIRECT.open(f"{self.url}/api/v1/{path}?{urlencode(parameters)}", timeout=LONGEST) as answer:
                return json.load(answer)["data"]
        except HTTPError as error:
            message = f"{path} {parameters}: {error.read().decode()}"
        raise AssertionError(message)


@contextmanager
def running_prometheus(
    directory: Path,
    targets: Sequence[str],
    *,
    token: str = "",
    interval: float = 1.0,
    rules: Iterable[Path] = (),
    alertmanagers: Sequence[str] = (),
) -> Iterator[Prometheus]:
    """Run a server on a free port. Skips if it is not installed.

    :param targets: addresses, as `host:port`, whose /metrics it scrapes.
    :param token: the token that it sends to them.
    :param interval: seconds between scrapes, and between evaluations of the rules.
    :param alertmanagers: addresses, as `host:port`, that it sends alerts to.
    """
    binary = shutil.which("prometheus") or cannot("prometheus is not there; Debian's package prometheus has it")
    period = f"{int(interval * 1000)}ms"
    scrape: dict[str, Any] = {"job_name": JOB, "static_configs": [{"targets": list(targets)}]}
    if token:
        scrape["authorization"] = {"credentials": token}
    receivers = {"timeout": "5s", "static_configs": [{"targets": list(alertmanagers)}]}
    configuration = {
        "global": {"scrape_interval": period, "scrape_timeout": period, "evaluation_interval": period},
        "scrape_configs": [scrape],
        "rule_files": [str(rule.resolve()) for rule in rules],
        "alerting": {"alertmanagers": [receivers] if alertmanagers else []},
    }
    directory = directory / "prometheus"
    directory.mkdir()
    server = Prometheus(directory, configuration, binary, targets=len(targets))
    try:
        server.wait_until_ready()
        yield server
    finally:
        server.stop()
