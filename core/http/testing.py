"""A pytest fixture for code that uses core.http. It provides new upstreams, and a clock on which waiting takes no time.

In conftest.py:

    pytest_plugins = ["core.http.testing"]

In a test module:

    import responses

    from core import http

    @responses.activate
    def test_gives_up(outbound_http):
        responses.get("https://example.org/", status=503)
        assert http.get("https://example.org/").status_code == 503
        assert outbound_http.clock.waits == [1, 2, 4]

To use the fixture in all tests of a module: ``pytestmark = pytest.mark.usefixtures("outbound_http")``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from . import process
from .registry import Registry, Runtime


@dataclass
class FakeClock:
    """A clock that moves only when `advance` or `wait` is called."""

    now: float = 0.0
    waits: list[float] = field(default_factory=list)
    """The seconds of each wait, in order."""

    def __call__(self) -> float:
        return self.now

    def wait(self, seconds: float) -> None:
        """Advance the clock by `seconds` without waiting, and add them to `waits`."""
        self.waits.append(seconds)
        self.now += seconds

    def advance(self, seconds: float) -> None:
        """Advance the clock by `seconds` without waiting."""
        self.now += seconds


@dataclass
class OutboundHTTP:
    """The clock and the upstreams of this process, for a test."""

    clock: FakeClock

    @property
    def registry(self) -> Registry:
        """The registry of the process, built from the current settings."""
        return process.current()


@pytest.fixture
def outbound_http() -> Iterator[OutboundHTTP]:
    """Give the test new upstreams with a fake clock and without jitter.

    After the test, the process gets new upstreams with the real clock, and the observers that the test added
    (`core.http.observe`) are removed.
    """
    clock = FakeClock()
    with process.on(Runtime(clock, clock.wait, lambda: 0.0)):
        yield OutboundHTTP(clock)
