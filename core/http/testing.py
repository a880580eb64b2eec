"""For the tests of code that uses core.http: fresh upstreams, and time that passes at once.

In conftest.py:

    pytest_plugins = ["core.http.testing"]

and in a test, or for all of them with ``pytestmark = pytest.mark.usefixtures("outbound_http")``:

    @responses.activate
    def test_gives_up(outbound_http):
        responses.get("https://example.org/", status=503)
        assert http.get("https://example.org/").status_code == 503
        assert outbound_http.clock.waits == [1, 2, 4]
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from . import process
from .registry import Registry, Runtime


@dataclass
class FakeClock:
    """A clock that moves only when told to, or when somebody waits on it."""

    now: float = 0.0
    waits: list[float] = field(default_factory=list)
    """What was waited, in order; seconds."""

    def __call__(self) -> float:
        return self.now

    def wait(self, seconds: float) -> None:
        """Let `seconds` pass at once, and note them."""
        self.waits.append(seconds)
        self.now += seconds

    def advance(self, seconds: float) -> None:
        """Let `seconds` pass at once."""
        self.now += seconds


@dataclass
class OutboundHTTP:
    """What a test sees of the upstreams of this process."""

    clock: FakeClock

    @property
    def registry(self) -> Registry:
        """The process's registry, as the settings describe it now."""
        return process.current()


@pytest.fixture
def outbound_http() -> Iterator[OutboundHTTP]:
    """Fresh upstreams on a fake clock, without jitter; afterwards fresh ones on the real clock.

    Observers that the test adds (`core.http.observe`) are removed with its end.
    """
    clock = FakeClock()
    with process.on(Runtime(clock, clock.wait, lambda: 0.0)):
        yield OutboundHTTP(clock)
