"""The pytest plugin that puts `ResilientSession` in the place of `requests.Session`, before a suite imports that.

The environment variable ``CONFORMANCE_MODE`` says with which policy: retries=0 or default.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import requests

from core.http import Policy, ResilientSession, observe, process, registry
from core.http.testing import FakeClock


def pytest_configure(config: pytest.Config) -> None:
    retries = os.environ["CONFORMANCE_MODE"] != "retries=0"
    config.pluginmanager.register(Replacement(retries=retries), "resilient_session.Replacement")


class Replacement:
    """Makes every session of the tests a resilient one, with state that is fresh for each test."""

    def __init__(self, *, retries: bool) -> None:
        self._retries = retries
        self.tests = 0
        """How many of the tests sent something through core.http."""
        self._begin_afresh()
        requests.Session = requests.sessions.Session = ResilientSession

    def _begin_afresh(self) -> None:
        if self._retries:
            clock = FakeClock()
            process.use(process.ProcessRegistry, runtime=registry.Runtime(clock, clock.wait, lambda: 0.0))
        else:
            once = registry.Config(default=Policy(retries=0))
            process.use(lambda: process.ProcessRegistry(once), runtime=registry.Runtime())

    @pytest.fixture(autouse=True)
    def _fresh_upstreams(self) -> Iterator[None]:
        self._begin_afresh()
        sent = []
        with observe(sent.append):
            yield
        self.tests += bool(sent)
        self._begin_afresh()
