"""Messages to Celery's workers that no worker receives, and runs with several threads over twelve packages."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest

from package import tasks
from package.jobs import dispatch
from package.models import Package
from tests.package.conftest import DEADLINE, MakePackage
from tests.package.jobs.thread_runs import pool_threads
from tests.package.jobs.tickets import Message, Queue


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Message]]:
    """Return the messages that are sent; no worker receives them."""
    messages: list[Message] = []

    def apply_async(args: Any, kwargs: Any, queue: str, eta: datetime | None = None) -> None:
        messages.append(Message(args, kwargs, queue, eta))

    monkeypatch.setattr(tasks.fetch, "apply_async", apply_async)
    yield messages
    tasks._pauses.cache_clear()


@pytest.fixture
def queue(sent: list[Message]) -> Queue:
    """Queue packages as `plan` does, and discard the first messages."""

    def enqueue(*packages: Package, everything: bool = False) -> None:
        for _ in dispatch.enqueue([package.pk for package in packages], tasks.send, everything=everything):
            pass
        sent.clear()

    return enqueue


@pytest.fixture
def packages(make_package: MakePackage) -> list[Package]:
    return [make_package(f"p{number}") for number in range(12)]


@pytest.fixture
def threads_end() -> Iterator[None]:
    """Assert after the test that the threads of each run have ended."""
    yield
    for thread in pool_threads():
        thread.join(DEADLINE)
    assert pool_threads() == []
