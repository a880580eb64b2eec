"""Collects, for a scrape, the metrics that processes have written to a shared directory.

The sums are separate for each role of a process: web, worker or job (see `process_role`).
If there were one sum of all roles, a deployment that resets the counters of one role would look like a reset of the
sum, and Prometheus would count the values of the other roles again. A role without a process is shown with zeros,
because Prometheus would otherwise ignore its first count.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import lru_cache
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

from prometheus_client import Metric
from prometheus_client.samples import Sample

from . import compaction
from .aggregation import Values
from .directory import files_of, locked
from .process_role import ROLES


class _Who(NamedTuple):
    """The owner of values: a role, or one process for gauges that are shown per process."""

    role: str
    pid: str = ""

    @property
    def labels(self) -> dict[str, str]:
        return {"role": self.role, "pid": self.pid} if self.pid else {"role": self.role}


class _Series(NamedTuple):
    """The parsed form of prometheus_client's keys."""

    metric: str
    name: str
    labels: dict[str, str]
    help: str
    le: float
    """The upper bound of a histogram bucket; NaN: the series is not a bucket."""
    histogram: tuple[object, ...]
    """The key that all series of one histogram share."""


class Collector:
    """Collects the metrics of all processes that share a directory. Register it with a `CollectorRegistry`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics. Raises `OSError` if the directory cannot be read or stays locked by another process."""
        for kind, found in self._read().items():
            metrics: dict[str, Metric] = {}
            typ = kind.partition("_")[0]
            add = _add_histograms if typ == "histogram" else _add_plain
            for who, values in (found if typ == "gauge" else _with_zeros(found)).items():
                add(metrics, typ, who, values)
            yield from metrics.values()

    def _read(self) -> dict[str, dict[_Who, Values]]:
        """Return the values of all processes by kind."""
        found: dict[str, dict[_Who, list[Path]]] = defaultdict(lambda: defaultdict(list))
        with locked(self._directory) as alone:
            if not alone:  # a concurrent merge would make the sums wrong, and a failed scrape is better than that
                raise TimeoutError(f"{self._directory}: another process held directory.lock for seconds")
            compaction.tidy(self._directory)
            for file in files_of(self._directory):
                if not (file.is_live and file.has_ended):
                    who = _Who(file.role, file.identity if file.kind in {"gauge_all", "gauge_liveall"} else "")
                    found[file.kind][who].append(file.path)
            return {
                kind: {who: Values.of(kind, paths).by_series(kind) for who, paths in of_kind.items()}
                for kind, of_kind in found.items()
            }


def _with_zeros(found: Mapping[_Who, Values]) -> dict[_Who, Values]:
    """Return the values with zeros for series that only other roles have, and for roles without values."""
    every = Values.fromkeys((key for values in found.values() for key in values), (0.0, 0.0))
    filled = {}
    for who in dict.fromkeys((*map(_Who, ROLES), *found)):
        filled[who] = Values(every)
        filled[who].update(found.get(who, {}))
    return filled


def _add_plain(metrics: dict[str, Metric], typ: str, who: _Who, values: Values) -> None:
    own = who.labels
    for key, (value, _) in values.items():
        series = _series(key)
        _metric(metrics, series, typ).samples.append(Sample(series.name, series.labels | own, value))


def _add_histograms(metrics: dict[str, Metric], typ: str, who: _Who, values: Values) -> None:
    """Add histograms with cumulative buckets, as Prometheus expects them. The files have separate counts.

    All samples of one histogram are adjacent, because OpenMetrics requires that.
    """
    own = who.labels
    buckets: dict[tuple[object, ...], list[tuple[float, _Series, float]]] = defaultdict(list)
    sums: dict[tuple[object, ...], tuple[_Series, float]] = {}
    for key, (value, _) in values.items():
        series = _series(key)
        if math.isnan(series.le):
            sums[series.histogram] = series, value
        else:
            buckets[series.histogram].append((series.le, series, value))
    for histogram, steps in buckets.items():
        samples = _metric(metrics, steps[0][1], typ).samples
        total = 0.0
        for _, series, value in sorted(steps, key=itemgetter(0)):
            total += value
            samples.append(Sample(series.name, series.labels | own, total))
        labels = {name: text for name, text in (series.labels | own).items() if name != "le"}
        samples.append(Sample(f"{series.metric}_count", labels, total))
        if histogram in sums:
            series, value = sums.pop(histogram)
            samples.append(Sample(series.name, labels, value))
    for series, value in sums.values():
        _metric(metrics, series, typ).samples.append(Sample(series.name, series.labels | own, value))


def _metric(metrics: dict[str, Metric], series: _Series, typ: str) -> Metric:
    metric = metrics.get(series.metric)
    if metric is None:
        metric = metrics[series.metric] = Metric(series.metric, series.help, typ)
    return metric


@lru_cache(maxsize=20_000)
def _series(key: str) -> _Series:
    metric, name, labels, text = json.loads(key)
    others = (metric, *((label, value) for label, value in sorted(labels.items()) if label != "le"))
    return _Series(metric, name, labels, text, float(labels.get("le", math.nan)), others)
