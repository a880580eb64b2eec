"""Directories of metrics, as processes leave them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.mmap_dict import MmapedDict, mmap_key

from core.http.multiprocess import Collector
from core.http.multiprocess.directory import hold, lock_of


class Write(Protocol):
    def __call__(self, kind: str, identity: str, values: dict[str, float], *, at: float = 0.0, **labels: str) -> None:
        """Leave a file of `identity`: by metric, its value, and when that was set."""


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def leave(kind: str, identity: str, values: dict[str, float], *, at: float = 0.0, **labels: str) -> None:
        file: Any = MmapedDict(str(tmp_path / f"{kind}_{identity}.db"))
        for name, value in values.items():
            metric = name.removesuffix("_total").removesuffix("_bucket").removesuffix("_sum")
            file.write_value(mmap_key(metric, name, list(labels), list(labels.values()), "Help."), value, at)
        file.close()

    return leave


@pytest.fixture
def alive(tmp_path: Path) -> Iterator[Callable[[str], None]]:
    """Let a process of this identity live until the end of the test."""
    with ExitStack() as held:

        def live(identity: str) -> None:
            lock = hold(lock_of(tmp_path, identity))
            assert lock is not None
            held.callback(os.close, lock)

        yield live


class Scrape(Protocol):
    def __call__(self, name: str, **labels: str) -> float | None: ...


@pytest.fixture
def scrape(tmp_path: Path) -> Scrape:
    """Return the value of a sample in a scrape, or None."""

    def value(name: str, **labels: str) -> float | None:
        registry = CollectorRegistry()
        registry.register(Collector(tmp_path))
        return registry.get_sample_value(name, labels)

    return value
