"""The requests that Prometheus counts equal those that were sent, despite kills, deployments and containers.

tests/observability/counting.py says how exactly, and why.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from itertools import count
from typing import Any

import pytest

from tests.observability.counting import Stand
from tests.servers.celery import worker
from tests.servers.common import LONGEST, cannot, free_port, wait_until
from tests.servers.program import Program
from tests.servers.prometheus import running_prometheus
from tests.servers.redis import running_redis
from tests.servers.site import database
from tests.servers.web import TOKEN, measured_site
from tests.upstreams.server import serving
from tests.upstreams.world import World

pytestmark = pytest.mark.slow

SHARES = {"github": 0.4, "gitlab": 0.2, "bitbucket": 0.2, "codeberg": 0.2}
_databases = count(1)
"""Of the broker: each worker has one of its own, so that none gets what another, who was killed, left undone."""


@pytest.fixture(scope="module")
def stand(tmp_path_factory: pytest.TempPathFactory, django_db_blocker: Any) -> Iterator[Stand]:
    directory, port = tmp_path_factory.mktemp("counts"), free_port()
    with ExitStack() as stack:
        upstreams = stack.enter_context(serving(World(16, shares=SHARES), latency=0.02))
        broker = stack.enter_context(running_redis())
        stack.enter_context(django_db_blocker.unblock())
        stack.enter_context(database(f"sqlite:///{directory / 'site.sqlite3'}"))
        site = measured_site(upstreams, directory)
        scrape = running_prometheus(directory, [f"127.0.0.1:{port}"], token=TOKEN)
        stand = Stand(upstreams, site, broker, directory / "metrics", port, stack.enter_context(scrape))
        try:
            yield stand
        finally:
            stand.web.kill()


@pytest.fixture(autouse=True)
def _in_order(stand: Stand) -> Iterator[None]:
    yield
    stand.prometheus.resume()
    stand.restore()


@contextmanager
def celery(stand: Stand, *, executables: Sequence[Sequence[str]] = ((sys.executable,),)) -> Iterator[list[Program]]:
    """Run workers of two processes each, and let the site's commands queue for them."""
    site, before = stand.site, stand.site.environment
    broker = stand.broker.url.rpartition("/")[0]
    site.environment = {**before, "CELERY_BROKER_URL": f"{broker}/{next(_databases)}"}
    try:
        with ExitStack() as stack:
            yield [
                stack.enter_context(
                    worker(site.environment, site.log("worker"), name=f"worker{number}", executable=executable)
                )
                for number, executable in enumerate(executables)
            ]
    finally:
        site.environment = before
        site.drop_the_queue()


def test_visitors(stand: Stand) -> None:
    """Each request of several processes of gunicorn is counted once, with the role web."""
    with stand.watched() as window:
        stand.visit(stand.slugs[:8])
    assert window.sent > 25
    assert stand.increase(window) == {"web": window.sent}


def test_a_job_between_two_scrapes(stand: Stand) -> None:
    """Requests of a command that ran between two scrapes are counted too."""
    with stand.watched() as window:
        stand.prometheus.suspend()
        began = time.time()
        stand.site.run("update_packages", *stand.slugs)
        ended = time.time() - 0.01  # Prometheus cuts its times to milliseconds
        stand.prometheus.resume()
    assert stand.prometheus.query(f"count_over_time(up[{(ended - began) * 1000:.0f}ms])", ended) == []
    assert window.sent > 50
    assert stand.increase(window) == {"job": window.sent}


def test_all_at_once(stand: Stand) -> None:
    """Web, workers and a job count in one directory, and none takes from another."""
    with stand.watched() as window, celery(stand), ThreadPoolExecutor(3) as pool:
        visits = pool.submit(stand.visit, stand.slugs[:5])
        queued = pool.submit(stand.site.run, "update_packages", "--celery", *stand.slugs[5:10])
        job = pool.submit(stand.site.run, "update_packages", *stand.slugs[10:])
        for each in visits, queued, job:
            each.result()
        wait_until(stand.site.settled, LONGEST, "all is done", every=0.1)
    increase = stand.increase(window)
    assert set(increase) == {"web", "worker", "job"}
    assert sum(increase.values()) == window.sent


# Killed processes. Only requests in flight are lost, because no process is left to count them.


def test_a_process_of_gunicorn_is_killed(stand: Stand) -> None:
    """After a process was killed, all counts stay, and its calls are no longer in flight."""
    with stand.watched() as window, ThreadPoolExecutor(1) as pool:
        stand.visit(stand.slugs[:8])
        stand.hang()
        unlucky = pool.submit(stand.visitor.fetch, stand.slugs[0])
        [process] = stand.waiting()
        assert process in stand.web.children
        os.kill(process, signal.SIGKILL)
        stand.restore()
        assert unlucky.result() == 0
        stand.visit(stand.slugs[8:])
    assert window.sent - 1 <= stand.increase(window)["web"] <= window.sent
    assert stand.active() == {}


def test_a_worker_of_celery_is_killed(stand: Stand) -> None:
    """The counts of a killed process of its pool stay, and those of the one that started them, which is killed next."""
    with stand.watched() as window, celery(stand) as [works]:
        stand.site.run("update_packages", "--celery", "--detach", *stand.slugs)
        os.kill(hung_process(stand, works), signal.SIGKILL)
        stand.restore()
        hung_process(stand, works)
        works.signal(signal.SIGKILL)
        stand.restore()
    assert window.sent - 4 <= stand.increase(window)["worker"] <= window.sent
    assert stand.active() == {}


def hung_process(stand: Stand, works: Program) -> int:
    """Let further requests be answered, then none; return a process of the pool that waits for an answer."""
    before = stand.arrived()
    wait_until(lambda: stand.arrived() > before + 20, LONGEST, "it is in its midst")
    stand.hang()
    process = stand.waiting()[0]
    assert process in works.children
    return process


def test_a_job_is_killed(stand: Stand) -> None:
    """After a job was killed with several calls in flight, its next run continues its counters."""
    with stand.watched() as window:
        for upstream in stand.upstreams.all:
            upstream.latency = 0.2
        job = stand.site.start("update_packages", "--workers=4", *stand.slugs)
        with job:
            before = stand.arrived()
            wait_until(lambda: stand.arrived() > before + 20, LONGEST, "it is in its midst")
            job.kill()
        for upstream in stand.upstreams.all:
            upstream.latency = 0.02
        stand.site.run("update_packages", *stand.slugs[:6])
    assert window.sent - 4 <= stand.increase(window)["job"] <= window.sent
    assert stand.active() == {}


# Deployed anew, and in containers.


def test_a_deployment_deletes_the_files_of_one_role(stand: Stand) -> None:
    """The counters of that role restart at 0, which Prometheus handles as a reset, without a spike or a loss."""
    with stand.watched() as window:
        stand.visit(stand.slugs[:8])
        stand.site.run("update_packages", *stand.slugs[:6])
        stand.prometheus.wait_for_scrape()  # counts since the last scrape are lost with the files: ± 1 scrape
        stand.redeploy_web()
        stand.prometheus.wait_for_scrape()
        stand.visit(stand.slugs[8:])
    increase = stand.increase(window)
    assert set(increase) == {"web", "job"}
    assert sum(increase.values()) == window.sent


def test_containers_with_the_same_process_ids(stand: Stand) -> None:
    """Two workers of Celery in pid namespaces of their own share the directory, and lose nothing to each other."""
    with stand.watched() as window, celery(stand, executables=[in_namespace(), in_namespace()]) as workers:
        stand.site.run("update_packages", "--celery", *stand.slugs)
        wait_until(stand.site.settled, LONGEST, "all is done", every=0.1)
    assert all("succeeded" in each.said for each in workers)
    assert stand.increase(window) == {"worker": window.sent}


def in_namespace() -> list[str]:
    """Return a command that runs Python as process 1 of a namespace of its own."""
    command = [shutil.which("unshare") or cannot("unshare is not there; Debian's package util-linux has it")]
    command += ["--pid", "--fork", "--mount-proc", *([] if os.geteuid() == 0 else ["--map-root-user"])]
    done = subprocess.run([*command, "true"], capture_output=True, text=True, check=False)
    if done.returncode:
        cannot(f"pid namespaces cannot be made here: {done.stderr.strip()}")
    return [*command, "--kill-child", sys.executable]
