"""A cache of Django's, as `shared.cache.Cache`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.core.cache import caches
from django.db import close_old_connections


class SharedCache:
    """A cache of Django's, for whatever thread asks: each has a cache object of its own.

    A cache may be in a database, whose connections Django renews around requests and tasks. The thread that shares
    serves none, so it would keep a connection that was lost.
    """

    def __init__(self, alias: str) -> None:
        self._alias = alias

    def get(self, key: str, /) -> object:
        with _renewing_connections():
            return caches[self._alias].get(key)

    def add(self, key: str, value: object, /, timeout: int) -> bool:
        with _renewing_connections():
            return bool(caches[self._alias].add(key, value, timeout=timeout))

    def set(self, key: str, value: object, /, timeout: int) -> None:
        with _renewing_connections():
            caches[self._alias].set(key, value, timeout=timeout)

    def delete(self, key: str, /) -> object:
        with _renewing_connections():
            return caches[self._alias].delete(key)


@contextmanager
def _renewing_connections() -> Iterator[None]:
    """Close this thread's database connections that have become unusable, where something fails."""
    try:
        yield
    except Exception:
        close_old_connections()
        raise
