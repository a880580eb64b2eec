"""The requests to an upstream."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from aiohttp import web

_NOTED = web.RequestKey("noted", bool)


@dataclass(frozen=True, slots=True)
class Requested:
    method: str
    path: str
    """With the query, as it was sent."""
    conditional: bool
    authorization: str
    """Or GitLab's PRIVATE-TOKEN; "": neither."""
    status: int | None
    """None: there was no answer."""


class RequestLog:
    """May be read and cleared by any thread. An answer is in it before the client has its first byte."""

    def __init__(self, remember: bool = True) -> None:
        self._remember = remember
        self._changed = threading.Condition()
        self._under_way = 0
        self.clear()

    def clear(self) -> None:
        with self._changed:
            self._entries: list[Requested] = []
            self._statuses: Counter[int | None] = Counter()
            self._max_in_flight = self._under_way

    def __iter__(self) -> Iterator[Requested]:
        with self._changed:
            return iter(self._entries.copy())

    def __len__(self) -> int:
        with self._changed:
            return self._statuses.total()

    @property
    def statuses(self) -> Counter[int | None]:
        """How often there was which; None: no answer."""
        with self._changed:
            return self._statuses.copy()

    @property
    def paths(self) -> list[str]:
        return [entry.path for entry in self]

    @property
    def in_flight(self) -> int:
        return self._under_way

    @property
    def max_in_flight(self) -> int:
        return self._max_in_flight

    def wait_for_in_flight(self, count: int, timeout: float = 10.0) -> bool:
        """Wait until so many requests are being answered. False: they are not, after `timeout` seconds."""
        with self._changed:
            return self._changed.wait_for(lambda: self._under_way == count, timeout)

    @contextmanager
    def under_way(self) -> Iterator[None]:
        with self._changed:
            self._under_way += 1
            self._max_in_flight = max(self._max_in_flight, self._under_way)
            self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self._under_way -= 1
                self._changed.notify_all()

    def note(self, request: web.Request, status: int | None) -> None:
        """Take down the request, once."""
        if request.get(_NOTED):
            return
        request[_NOTED] = True
        conditional = "If-None-Match" in request.headers or "If-Modified-Since" in request.headers
        entry = Requested(request.method, request.path_qs, conditional, authorization(request), status)
        with self._changed:
            self._statuses[status] += 1
            if self._remember:
                self._entries.append(entry)


def authorization(request: web.Request) -> str:
    return request.headers.get("Authorization", "") or request.headers.get("PRIVATE-TOKEN", "")
