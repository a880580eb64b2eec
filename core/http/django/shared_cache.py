"""A cache of Django's, as `shared.cache.Cache`."""

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


def unpickles(alias: str) -> bool:
    """Say whether a cache of Django's loads pickles, so that whoever can write to it can run code here.

    Of a serializer that the site chose, and of backends that are not Django's, nothing is known: False.
    """
    cache = caches[alias]
    if isinstance(cache, RedisCache):
        given: Any = settings.CACHES[alias]
        return given.get("OPTIONS", {}).get("serializer") is None
    return isinstance(cache, DatabaseCache | FileBasedCache | BaseMemcachedCache)


@contextmanager
def _renewing_connections() -> Iterator[None]:
    """Close this thread's database connections that have become unusable, where something fails."""
    try:
        yield
    except Exception:
        close_old_connections()
        raise
