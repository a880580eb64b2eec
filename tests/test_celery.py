"""The configuration of Celery: its queues, their workers and its schedule."""

from __future__ import annotations

import re
import shlex

import pytest
from celery import current_app
from django.conf import settings

from config import celery_app
from config.settings import OUTBOUND_HTTP
from package.jobs.claims import LEASE
from package.jobs.fetching import LONGEST
from package.models import Package
from package.repos import base
from package.sources import package_parts, pypi, pypistats
from tests.deployment import WORKERS, services

URLS = {
    "github": "https://github.com/owner/name",
    "gitlab": "https://gitlab.test/group/name",
    "bitbucket": "https://bitbucket.org/owner/name",
    "codeberg": "https://codeberg.test/owner/name",
    "forgejo": "https://git.example.org/owner/name",
    "repository": "https://example.org/nothing",
}
"""A package on each of the hosts."""


def kinds(cls: type[base.Repository] = base.Repository) -> set[str]:
    """Return the sources of all hosts that the site has a class for."""
    ours = [each for each in cls.__subclasses__() if each.__module__.startswith("package.")]
    return {each.source for each in ours} | {source for each in ours for source in kinds(each)}


def listened_to() -> list[str]:
    """Return the queues that the workers of compose.yaml listen to."""
    queues = []
    for name, service in services().items():
        words = shlex.split(service.get("command", "")) if name.startswith("worker-") else []
        if "--queues" in words:
            queues += words[words.index("--queues") + 1].split(",")
    return queues


def test_every_source_has_a_queue_with_a_worker() -> None:
    """Each source has a queue, and each queue has one kind of worker."""
    own = {pypi.SOURCE, pypistats.SOURCE, package_parts.NOWHERE} | kinds()
    assert sorted(listened_to()) == sorted({*own, settings.CELERY_TASK_DEFAULT_QUEUE})


@pytest.mark.parametrize("host", URLS)
def test_every_package_is_queued_for_a_worker(host: str) -> None:
    """Packages of every host, and without a repository, are queued for a worker."""
    package = Package(slug="a", pypi_url="a", repo_url=URLS[host], repo_host="forgejo" if host == "forgejo" else "")
    queues = {part.source for part in package_parts.parts_of(package)}
    assert queues == {"pypi", "pypistats", host}
    assert queues <= set(listened_to())


@pytest.mark.django_db  # Celery has Django check the models
def test_tasks_are_known_to_workers() -> None:
    """Workers have tasks with the names in the messages."""
    assert current_app == celery_app
    celery_app.loader.import_default_modules()
    assert {"package.tasks.plan", "package.tasks.fetch"} <= set(celery_app.tasks)


@pytest.mark.django_db  # Celery has Django check the models
def test_scheduled_tasks_exist() -> None:
    """Scheduled tasks go to the default queue, which has a worker, and expire before the next one."""
    celery_app.loader.import_default_modules()
    for entry in settings.CELERY_BEAT_SCHEDULE.values():
        assert entry["task"] in celery_app.tasks
        assert "queue" not in entry["options"]
        assert entry["options"]["expires"] <= entry["schedule"].total_seconds()


def test_a_task_that_a_worker_did_not_live_to_finish_comes_back() -> None:
    """A task is acknowledged when it is done, and workers prefetch no messages."""
    for task in ("package.tasks.plan", "package.tasks.fetch"):
        assert celery_app.tasks[task].acks_late
        assert celery_app.tasks[task].reject_on_worker_lost
        assert celery_app.tasks[task].ignore_result
    assert celery_app.conf.worker_prefetch_multiplier == 1


def test_a_task_ends_before_its_lease() -> None:
    """A task is ended before its lease, so that no other worker takes over its ticket while it runs."""
    fetch = celery_app.tasks["package.tasks.fetch"]
    assert LONGEST < fetch.soft_time_limit < fetch.time_limit < LEASE.total_seconds()


def test_workers_are_stopped_no_sooner_than_their_task_may_take() -> None:
    """compose.yaml gives them the time that one source of a package gets at most."""
    for name in WORKERS:
        [seconds] = re.fullmatch(r"(\d+)s", services()[name]["stop_grace_period"]).groups()
        assert int(seconds) > LONGEST


def test_every_source_has_an_upstream_with_a_limit() -> None:
    """Each source that several threads or workers call has an upstream with a limit."""
    default = OUTBOUND_HTTP["default"]
    assert {"pypi", "pypistats", "github"} <= OUTBOUND_HTTP["upstreams"].keys()
    assert all({**default, **upstream}.get("max_concurrency") for upstream in OUTBOUND_HTTP["upstreams"].values())
    assert default["max_concurrency"]
