"""Which fetches of a source of a package there were, and whether two of them went on at once."""

from __future__ import annotations

import math
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise

from aiohttp import web

HEADER = "X-Fetch"
"""What a client says which fetch a request belongs to: package, source, and a name for this one fetch of it."""


@dataclass
class Span:
    """From the first request of a fetch to the end of its last one."""

    name: str
    began: float
    ended: float = math.inf


class Fetches:
    """May be read by any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._spans: dict[tuple[str, str], dict[str, Span]] = defaultdict(dict)

    @contextmanager
    def note(self, request: web.Request) -> Iterator[None]:
        """Note a request, until it is answered or its client hangs up, which one that is killed does."""
        mark = request.headers.get(HEADER)
        if mark is None:
            yield
            return
        package, source, name = mark.split()
        with self._lock:
            span = self._spans[package, source].setdefault(name, Span(name, time.monotonic()))
            span.ended = math.inf
        try:
            yield
        finally:
            with self._lock:
                span.ended = time.monotonic()

    def __len__(self) -> int:
        with self._lock:
            return sum(map(len, self._spans.values()))

    @property
    def under_way(self) -> list[str]:
        """The names of those of which a request is being answered."""
        with self._lock:
            every = [span for spans in self._spans.values() for span in spans.values()]
            return [span.name for span in every if span.ended == math.inf]

    def of(self, package: str, source: str) -> list[Span]:
        with self._lock:
            return list(self._spans[package, source].values())

    def repeated(self) -> list[tuple[str, str]]:
        """Return the fetches that happened more than once."""
        with self._lock:
            return [key for key, spans in self._spans.items() if len(spans) > 1]

    def at_once(self) -> list[tuple[str, str, Span, Span]]:
        """Return the fetches of the same that overlap."""
        with self._lock:
            found = []
            for (package, source), spans in self._spans.items():
                in_order = sorted(spans.values(), key=lambda span: span.began)
                found += [(package, source, one, other) for one, other in pairwise(in_order) if other.began < one.ended]
            return found
