"""Adapts a Django cache to `shared.cache.Cache`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.conf import settings
from django.core.cache import caches
from django.core.cache.backends.db import DatabaseCache
from django.core.cache.backends.filebased import FileBasedCache
from django.core.cache.backends.memcached import BaseMemcachedCache
from django.core.cache.backends.redis import RedisCache
from django.db import close_old_connections


class SharedCache:
    """A Django cache that any thread can use, although Django creates a separate cache object for each thread.

    The cache may be in a database. Django renews database connections before and after each request, and Celery before
    and after each task. The background thread that shares state runs neither, so it would keep a lost connection.
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


def unpickles(alias: str) -> bool:
    """Return whether a Django cache loads pickles: then anyone who can write to the cache can run code in this process.

    Returns False for backends of other packages and for a configured serializer, because their behavior is unknown.
    """
    cache = caches[alias]
    if isinstance(cache, RedisCache):
        given: Any = settings.CACHES[alias]
        return given.get("OPTIONS", {}).get("serializer") is None
    return isinstance(cache, DatabaseCache | FileBasedCache | BaseMemcachedCache)


@contextmanager
def _renewing_connections() -> Iterator[None]:
    """If the block raises, close the database connections of this thread that have become unusable."""
    try:
        yield
    except Exception:
        close_old_connections()
        raise
