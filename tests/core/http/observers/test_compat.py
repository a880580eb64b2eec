"""Changes of prometheus_client's values without its locks have the same effect as its public methods."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, values
from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.multiprocess import MultiProcessCollector

from core.http.observers import compat

LABELS = {"upstream": "pypi"}


class Metrics:
    """A counter, a gauge and a histogram."""

    def __init__(self, registry: CollectorRegistry | None) -> None:
        self.counter = Counter("c", "c", LABELS, registry=registry).labels(**LABELS)
        self.gauge = Gauge("g", "g", LABELS, registry=registry, multiprocess_mode="livesum").labels(**LABELS)
        self.histogram = Histogram("h", "h", LABELS, buckets=(0.5, 1.0, 10.0), registry=registry).labels(**LABELS)

    def change_publicly(self, amounts: list[float]) -> None:
        for amount in amounts:
            self.counter.inc(amount)
            self.gauge.set(amount)
            self.histogram.observe(amount)

    def change(self, amounts: list[float]) -> None:
        add, put, observe = compat.adder(self.counter), compat.setter(self.gauge), compat.observer(self.histogram)
        assert add != self.counter.inc
        assert put != self.gauge.set
        assert observe != self.histogram.observe
        for amount in amounts:
            add(amount)
            put(amount)
            observe(amount)


def samples_of(registry: CollectorRegistry) -> list[Any]:
    found = [sample for family in registry.collect() for sample in family.samples]
    return [sample for sample in found if not sample.name.endswith("_created")]


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], list[Any]]]:
    """Store the values of new metrics in files, as for several processes. Returns a function that reads the sums."""
    opened: list[Any] = []

    class Closed(MmapedDict):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)  # type: ignore[no-untyped-call]
            opened.append(self)

    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    monkeypatch.setattr(values, "MmapedDict", Closed)
    monkeypatch.setattr(values, "ValueClass", values.MultiProcessValue())  # type: ignore[no-untyped-call]

    def read() -> list[Any]:
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return samples_of(registry)

    yield read
    for file in opened:
        file.close()


@given(st.lists(st.floats(0, 100) | st.sampled_from([0.5, 1.0]), min_size=1))
def test_values_in_memory(amounts: list[float]) -> None:
    """Values on the bounds of buckets included."""
    seen = []
    for change in (Metrics.change, Metrics.change_publicly):
        registry = CollectorRegistry()
        change(Metrics(registry), amounts)
        seen.append(samples_of(registry))
    assert seen[0] == seen[1]


def test_values_in_files(files: Callable[[], list[Any]], tmp_path: Path) -> None:
    """Both ways may be mixed, and a file that has grown meanwhile is still the same file."""
    ours, amounts = Metrics(None), [0.2, 0.5, 3.0, 30.0]
    ours.change(amounts)
    many = Counter("many", "m", ["number"], registry=None)
    for number in range(2000):
        many.labels(str(number))
    ours.change_publicly(amounts)
    ours.change(amounts)
    found = {(sample.name, sample.labels.get("le")): sample.value for sample in files() if sample.name != "many_total"}
    assert (tmp_path / f"counter_{os.getpid()}.db").stat().st_size > 2**16
    assert found == {
        ("c_total", None): 3 * sum(amounts),
        ("g", None): 30.0,
        ("h_bucket", "0.5"): 6.0,
        ("h_bucket", "1.0"): 6.0,
        ("h_bucket", "10.0"): 9.0,
        ("h_bucket", "+Inf"): 12.0,
        ("h_count", None): 12.0,
        ("h_sum", None): 3 * sum(amounts),
    }


def test_a_forked_process_writes_to_files_of_its_own(files: Callable[[], list[Any]]) -> None:
    """The parent's values stay, and the child begins at zero, as soon as a public method has noticed the fork."""
    ours = Metrics(None)
    add = compat.adder(ours.counter)
    add(1)

    def run() -> None:
        ours.gauge.set(0)
        add(10)

    child = multiprocessing.get_context("fork").Process(target=run)
    child.start()
    child.join()
    add(1)
    assert [sample.value for sample in files() if sample.name == "c_total"] == [12.0]


def test_unknown_values() -> None:
    """Where a release of prometheus_client has renamed the values, its public methods count."""

    class Renamed:
        def __init__(self) -> None:
            self.counted: list[float] = []

        def observe(self, amount: float) -> None:
            self.counted.append(amount)

        inc = set = observe

    metric: Any = Renamed()
    compat.adder(metric)(1)
    compat.setter(metric)(2)
    compat.observer(metric)(3)
    assert metric.counted == [1, 2, 3]
