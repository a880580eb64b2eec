"""A site of several programs that Prometheus scrapes, and servers that count the site's requests.

`increase()` is exact up to one scrape: it knows a counter at its scrapes only, so requests between the edge of the
window and the nearest scrape may be counted or not, and it extrapolates them. Here the edges of a window *are* scrapes,
each made while no request is in flight. So nothing is extrapolated: `increase()` has to equal the number of requests,
however many scrapes were missed in between.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.servers.common import LONGEST, wait_until
from tests.servers.program import Program
from tests.servers.prometheus import Prometheus
from tests.servers.redis import RedisServer
from tests.servers.site import Site
from tests.servers.web import Visitor, gunicorn
from tests.upstreams.faults import BlackHole
from tests.upstreams.server import Upstreams

ATTEMPTS = "outbound_http_attempts_total"
ACTIVE = "outbound_http_active_requests"


@dataclass
class Window:
    """From one scrape to another, both at rest."""

    began: float
    ended: float = 0.0
    sent: int = 0
    """Requests that the upstreams got between them."""


@dataclass
class Stand:
    """The site, its servers and Prometheus, with actions on them."""

    upstreams: Upstreams
    site: Site
    broker: RedisServer
    metrics: Path
    port: int
    prometheus: Prometheus
    web: Program = field(init=False)
    visitor: Visitor = field(init=False)

    def __post_init__(self) -> None:
        self.web = gunicorn(self.site, self.port, workers=2)
        self.visitor = Visitor(self.port)

    @property
    def slugs(self) -> list[str]:
        return [package.slug for package in self.upstreams.world.packages]

    def in_flight(self) -> int:
        return sum(upstream.requests.in_flight for upstream in self.upstreams.all)

    def arrived(self) -> int:
        """Count the requests that the upstreams got, whether or not they were answered."""
        return sum(len(upstream.requests) for upstream in self.upstreams.all)

    @contextmanager
    def watched(self) -> Iterator[Window]:
        """Record the window of the block; at its end, no request may be in flight."""
        before = self.arrived()
        window = Window(self.prometheus.wait_for_scrape())
        assert self.arrived() == before, "somebody sent something at the edge of the window"
        yield window
        wait_until(lambda: not self.in_flight(), LONGEST, "the upstreams are left alone")
        window.sent = self.arrived() - before
        window.ended = self.prometheus.wait_for_scrape()
        assert self.arrived() - before == window.sent, "somebody sent something at the edge of the window"

    def increase(self, window: Window) -> dict[str, int]:
        """Return the requests in `window` by role according to Prometheus, without zeros."""
        # One millisecond more: later releases of Prometheus exclude the left edge.
        milliseconds = round((window.ended - window.began) * 1000) + 1
        found = self.prometheus.query(f"sum by (role) (increase({ATTEMPTS}[{milliseconds}ms]))", window.ended)
        return {labels.get("role", ""): round(value) for labels, value in found if round(value)}

    def active(self) -> dict[str, float]:
        """Return the requests in flight as the last scrape saw them, by role; without the zeros."""
        found = self.prometheus.query(f"sum by (role) ({ACTIVE})")
        return {labels.get("role", ""): value for labels, value in found if value}

    def visit(self, slugs: Sequence[str]) -> None:
        """Refresh packages through the site, several at once."""
        with ThreadPoolExecutor(6) as pool:
            assert set(pool.map(self.visitor.fetch, slugs)) == {302}

    def hang(self) -> None:
        """Let no upstream answer any more."""
        for upstream in self.upstreams.all:
            upstream.fault = BlackHole()

    def restore(self) -> None:
        for upstream in self.upstreams.all:
            upstream.restore()

    def waiting(self) -> list[int]:
        """Return the processes that wait for an answer, as the last scrape shows too."""
        found: set[int] = set()

        def seen() -> bool:
            names = [name for upstream in self.upstreams.all for name in upstream.fetches.under_way]
            found.clear()
            found.update(int(name.partition(".")[0]) for name in names)
            return bool(found) and sum(self.active().values()) == len(names)

        wait_until(seen, LONGEST, "Prometheus sees the calls in flight", every=0.1)
        return sorted(found)

    def redeploy_web(self) -> None:
        """End all processes of a role, wipe its files, and start it again."""
        self.web.kill()
        for pattern in ("*_web-*.db", "web-*.lock"):
            for file in self.metrics.glob(pattern):
                file.unlink()
        self.web = gunicorn(self.site, self.port, workers=2)
