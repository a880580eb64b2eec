"""A run over 300 packages against simulated servers with many failures, which succeeds.

    python -m tests.upstreams.demo

PyPI fails in the middle and recovers, GitHub's quota is used up, and some servers are hostile. Exits with 0
only if everything that can be updated was.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server
from wsgiref.types import StartResponse

from rich.console import Console

from tests.upstreams.faults import JSON, FirstOf, Huge, Mistyped, NotJSON, Status, Truncated
from tests.upstreams.judging import differences
from tests.upstreams.quota import Quota
from tests.upstreams.server import Upstreams, serving
from tests.upstreams.world import FakePackage, World

PACKAGES = 300
_OUTAGE_AFTER = 100  # answers of PyPI
_OUTAGE_LASTS = 10.0  # seconds from the moment at which the breaker opens
_QUOTA = 700  # calls to GitHub: fewer than the run needs
_REFILLED_EVERY = 25.0  # seconds


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.upstreams.demo", description=__doc__)
    parser.add_argument("--packages", type=int, default=PACKAGES, metavar="N", help="default: %(default)s")
    parser.add_argument("--keep", metavar="FILE", help="keep the database in FILE")
    parser.add_argument(
        "--metrics-port",
        type=int,
        metavar="PORT",
        help="serve http://127.0.0.1:PORT/metrics for a Prometheus of yours, and go on with that until Ctrl-C",
    )
    args = parser.parse_args(arguments)
    world = World(args.packages)
    with serving(world, latency=0.005) as upstreams, tempfile.TemporaryDirectory() as folder:
        database = Path(args.keep or f"{folder}/demo.sqlite3").absolute()
        os.environ.update(upstreams.environment)
        os.environ.update(
            DEBUG="true",
            DATABASE_URL=f"sqlite:///{database}",
            EXPECTED_JOBS="update_packages=24h",
            GITHUB_TOKEN="demo",  # with one, a 304 costs no quota
            NO_PROXY="127.0.0.1",
            DJANGO_SETTINGS_MODULE="config.settings",
        )
        import django  # noqa: PLC0415 - reads the environment above

        from core.http import multiprocess  # noqa: PLC0415 - as above

        multiprocess.take_part(multiprocess.ProcessRole("job", "update_packages"))
        django.setup()
        if args.metrics_port is None:
            return _Demo(world, upstreams).run()
        with _scraped(args.metrics_port):
            status = _Demo(world, upstreams).run()
            _console.print(f"http://127.0.0.1:{args.metrics_port}/metrics is there until Ctrl-C.")
            with suppress(KeyboardInterrupt):
                threading.Event().wait()
        return status


_console = Console(markup=False, highlight=False, soft_wrap=True)


class _Demo:
    def __init__(self, world: World, upstreams: Upstreams) -> None:
        self._world = world
        self._upstreams = upstreams
        self._answers = 0
        self._opened: float | None = None
        self._healed = False
        self._hostile: dict[str, str] = {}
        """What is wrong with a package's servers, by its slug."""

    def run(self) -> int:
        from django.core.management import call_command  # noqa: PLC0415 - needs the settings

        from core.http import observe  # noqa: PLC0415 - as above

        call_command("migrate", verbosity=0)
        self._arrange()
        self._store()
        _console.print(
            f"{len(self._world.packages)} packages. PyPI will break down after {_OUTAGE_AFTER} answers and come back, "
            f"GitHub's quota of {_QUOTA} calls will run out, {len(self._hostile)} packages have hostile servers."
        )
        _let_through(self._upstreams.forgejo.url)
        with observe(self._direct):
            try:
                call_command("update_packages")
            except SystemExit as exc:
                if exc.code:
                    return int(str(exc.code))
        return self._judge()

    def _arrange(self) -> None:
        """Give some packages hostile servers, and GitHub a quota that is too small."""
        self._upstreams.github.quota = Quota(_QUOTA, window=_REFILLED_EVERY)
        by_kind: dict[str, list[FakePackage]] = {}
        for package in self._world.packages[20:]:
            by_kind.setdefault(package.kind, []).append(package)
        github, gitlab, codeberg = (by_kind[kind] for kind in ("github", "gitlab", "codeberg"))
        faults = [NotJSON(on=_on(github[0])), Mistyped(on=_on(github[1])), Status(403, on=_on(github[2]))]
        self._upstreams.github.fault = FirstOf(*faults)
        self._upstreams.gitlab.fault = FirstOf(Huge(40 * 2**20, on=_on(gitlab[0])), JSON([1], on=_on(gitlab[1])))
        self._upstreams.codeberg.fault = Truncated(on=_on(codeberg[0]))
        self._upstreams.codeberg.page_endlessly(codeberg[1].full_name)
        self._upstreams.github.page_elsewhere(github[3].full_name, "http://127.0.0.2:9/")
        self._upstreams.github.remove(github[4].full_name, status=451)
        self._upstreams.github.rename(github[5].full_name, f"{github[5].owner}/renamed")
        texts = ("not JSON", "mistyped", "forbidden (403)", "a page's link leads away", "taken down (451)")
        for package, text in zip((*github[:4], github[4]), texts, strict=True):
            self._hostile[package.slug] = text
        self._hostile |= {gitlab[0].slug: "40 MiB", gitlab[1].slug: "not an object", codeberg[0].slug: "cut short"}
        self._hostile[codeberg[1].slug] = "pages without end"
        self._hostile[by_kind["forgejo"][0].slug] = "a Forgejo server inside our network"
        self._inside = by_kind["forgejo"][0].slug

    def _store(self) -> None:
        from package.models import Category, Package  # noqa: PLC0415 - as above

        Package.objects.all().delete()
        category, _ = Category.objects.get_or_create(title="App", slug="app")
        Package.objects.bulk_create(
            Package(
                title=package.title,
                slug=package.slug,
                category=category,
                pypi_url=package.pypi,
                repo_url=self._address(package),
                repo_host=package.kind,
            )
            for package in self._world.packages
        )

    def _address(self, package: FakePackage) -> str:
        if package.slug == self._inside:
            return f"http://127.0.0.2:8080/{package.full_name}"
        return self._upstreams.repo_url(package) if package.kind else ""

    def _direct(self, event: object) -> None:
        """Break PyPI, and mend it, when the time has come."""
        from core.http.events import (  # noqa: PLC0415 - as above
            AttemptEnded,
            BreakerChanged,
            BreakerState,
        )

        upstream = getattr(event, "upstream", "")
        if isinstance(event, AttemptEnded) and upstream == "pypi" and not self._healed:
            self._answers += 1
            if self._answers == min(_OUTAGE_AFTER, len(self._world.packages) // 3):
                _say("PyPI breaks down: it answers 503 to everything")
                self._upstreams.pypi.fault = Status(503)
        elif isinstance(event, BreakerChanged) and upstream == "pypi":
            _say(f"PyPI's breaker: {event.state.value}")
            if event.state is BreakerState.OPEN and self._opened is None:
                self._opened = time.monotonic()
        if self._opened is not None and not self._healed and time.monotonic() > self._opened + _OUTAGE_LASTS:
            self._healed = True
            _say("PyPI is back")
            self._upstreams.pypi.fault = None

    def _judge(self) -> int:
        """Compare the stored data with those of the servers. Returns the exit status."""
        from package.models import Package  # noqa: PLC0415 - as above

        stored = {p.slug: p for p in Package.objects.select_related("latest_version").prefetch_related("sources")}
        good, excused, bad = 0, [], []
        for package in self._world.packages:
            wrong = list(differences(self._world, package, stored[package.slug]))
            if not wrong:
                good += 1
                continue
            errors = [row.error for row in stored[package.slug].sources.all() if row.error]
            why = "; ".join(dict.fromkeys(errors)) or "no error is noted"
            line = f"{package.slug}: {', '.join(wrong)} not up to date: {why}"
            if package.slug in self._hostile and not set(wrong) & {"version", "downloads", "classifiers"}:
                excused.append(f"({self._hostile[package.slug]}) {line}")
            else:
                bad.append(line)
        _console.print(f"\n{good} of {len(self._world.packages)} packages are up to date.")
        for line in excused:
            _console.print(f"  hostile {line}")
        for line in bad:
            _console.print(f"  WRONG {line}")
        if bad or not self._healed:
            _console.print("Something that can be updated was not.")
            return 1
        _console.print("Everything that can be updated was.")
        return 0


@contextmanager
def _scraped(port: int) -> Iterator[None]:
    """Serve the site's /metrics. Waits for the first scrape, because `increase()` ignores counts from before."""
    from django.core.wsgi import get_wsgi_application  # noqa: PLC0415 - needs the settings

    site = get_wsgi_application()
    seen = threading.Event()

    def answer(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/metrics":
            seen.set()
        return site(environ, start_response)

    class Silent(WSGIRequestHandler):
        def log_message(self, *_: object) -> None:
            """Say nothing of a scrape every few seconds."""

    with make_server("127.0.0.1", port, answer, handler_class=Silent) as server:
        threading.Thread(target=server.serve_forever, name="metrics").start()
        try:
            _console.print(f"Waiting for a scrape of http://127.0.0.1:{port}/metrics")
            seen.wait()
            yield
        finally:
            server.shutdown()


def _on(package: FakePackage) -> str:
    return f"/{package.full_name}"


def _say(text: str) -> None:
    logging.getLogger("demo").warning(text)  # which goes above the bar


def _let_through(address: str) -> None:
    """Allow untrusted sessions to call the simulated Forgejo server, which is on this machine."""
    from urllib.parse import urlsplit  # noqa: PLC0415 - as above

    from core.http.wire import address_guard  # noqa: PLC0415 - as above

    check_addresses, check_port = address_guard.check_addresses, address_guard.check_port
    port = urlsplit(address).port

    address_guard.check_addresses = lambda addresses: check_addresses(a for a in addresses if a != "127.0.0.1")
    address_guard.check_port = lambda url: None if url.port == port else check_port(url)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
