"""The pytest plugin that gives core.http a policy, and state that is fresh for each test.

The environment variable ``CONFORMANCE_MODE`` says which policy: retries=0 or default.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from core.http import Policy, observe, process, registry
from core.http.testing import FakeClock


def pytest_configure(config: pytest.Config) -> None:
    retries = os.environ["CONFORMANCE_MODE"] != "retries=0"
    config.pluginmanager.register(FreshUpstreams(retries=retries), "fresh_upstreams.FreshUpstreams")


class FreshUpstreams:
    """Resets the state of core.http before and after each test."""

    def __init__(self, *, retries: bool) -> None:
        self._retries = retries
        self.tests = 0
        """How many of the tests sent something through core.http."""
        self._begin_afresh()

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
