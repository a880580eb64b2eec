"""The pytest plugin of every conformance run: the same circumstances for all, and a note of each outcome.

The plugins are not imported as parts of the package `tests`, because the suites have packages of that name
themselves: the runner puts this directory on the path. The environment variable ``CONFORMANCE_RESULTS`` names the
file that the outcomes are written to.
"""

from __future__ import annotations

import contextlib
import functools
import ipaddress
import json
import os
import socket
import sys
from pathlib import Path
from socketserver import ThreadingMixIn

import pytest
from pytest_httpbin import serve
from uvicorn.config import LOGGING_CONFIG

_WORST_FIRST = ("error", "failed", "xpassed", "xfailed", "skipped", "passed")
_LONGEST_REASON = 200
_LONGEST_FAREWELL = 1.0


def pytest_configure(config: pytest.Config) -> None:
    sys.addaudithook(_keep_to_this_machine)
    LOGGING_CONFIG["loggers"]["uvicorn.access"]["level"] = (
        "WARNING"  # or httpx's tests find its lines among those of httpx
    )
    serve.make_server = functools.partial(serve.make_server, server_class=_ThreadingServer)
    config.pluginmanager.register(Outcomes(Path(os.environ["CONFORMANCE_RESULTS"])))


class Outcomes:
    """Notes how each test ended, and why."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._found: dict[str, tuple[str, str]] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        outcome: str = report.outcome
        if hasattr(report, "wasxfail"):
            outcome = {"skipped": "xfailed", "passed": "xpassed"}.get(outcome, outcome)
        elif report.failed and report.when != "call":
            outcome = "error"
        before, _ = self._found.setdefault(report.nodeid, (outcome, _reason(report)))
        if _WORST_FIRST.index(outcome) < _WORST_FIRST.index(before):
            self._found[report.nodeid] = (outcome, _reason(report))

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self._found[report.nodeid] = ("error", _reason(report))

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        fresh_upstreams = session.config.pluginmanager.get_plugin("fresh_upstreams.FreshUpstreams")
        tests = 0 if fresh_upstreams is None else fresh_upstreams.tests
        self._path.write_text(json.dumps({"outcomes": self._found, "resilient": tests}))


def _reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    crash = getattr(report.longrepr, "reprcrash", None)
    return " ".join(crash.message.split())[:_LONGEST_REASON] if crash else ""


class _ThreadingServer(ThreadingMixIn, serve.WSGIServer):
    """Answers several requests at a time, and resets no connection."""

    daemon_threads = True

    def shutdown_request(self, request: socket.socket) -> None:
        """Hear a client out that is sending still. To close before that resets its connection, if it is slow."""
        with contextlib.suppress(OSError):
            request.shutdown(socket.SHUT_WR)
            request.settimeout(_LONGEST_FAREWELL)
            while request.recv(65536):
                pass
        self.close_request(request)


def _keep_to_this_machine(event: str, args: tuple[object, ...]) -> None:
    if event == "socket.getaddrinfo" and args[0] not in {None, "", "localhost", b"localhost"}:
        if _address(args[0]) is None:
            raise socket.gaierror(socket.EAI_NONAME, "Only this machine can be reached in a conformance run")
    elif event == "socket.connect" and isinstance(args[1], tuple):
        address = _address(args[1][0])
        if address is not None and not (address.is_loopback or address.is_unspecified):
            raise TimeoutError("Only this machine can be reached in a conformance run")


def _address(host: object) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host.decode("latin-1") if isinstance(host, bytes) else str(host))
    except ValueError:
        return None
