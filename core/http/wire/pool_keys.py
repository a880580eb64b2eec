"""Caches the keys with which urllib3 finds the pool of a call.

To find a pool, requests parses the URL and urllib3 builds a key from all settings, at every call. Here the key is built
once for each origin and TLS context. The pool itself is requested from urllib3 at every call, because urllib3 records
which pools were used last, and creates those again that it has dropped.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from urllib3 import PoolManager
from urllib3.connection import port_by_scheme
from urllib3.poolmanager import PoolKey

_MOST = 256
"""Maximum number of cached keys. When it is reached, the cache is cleared."""


class _Key(NamedTuple):
    pool: PoolKey
    options: dict[str, Any]
    """The options for a new pool, if urllib3 has none with this key."""


class PoolKeys:
    """The keys of one pool manager."""

    def __init__(self, manager: PoolManager) -> None:
        self.manager = manager
        self._known: dict[tuple[object, ...], _Key] = {}

    def find(self, where: tuple[object, ...]) -> Any:
        """Return the pool whose key `add` has stored for `where`; None if there is no such key."""
        known = self._known.get(where)
        if known is None:
            return None
        return self.manager.connection_from_pool_key(known.pool, known.options.copy())  # urllib3 changes the options

    def add(self, where: tuple[object, ...], host: dict[str, Any], pool: dict[str, Any]) -> None:
        """Store the key that `PoolManager.connection_from_host` would build from `host` and `pool`."""
        options = {**self.manager.connection_pool_kw, **pool, **host}
        options["port"] = host["port"] or port_by_scheme[host["scheme"]]
        if len(self._known) >= _MOST:
            self._known.clear()
        self._known[where] = _Key(self.manager.key_fn_by_scheme[host["scheme"]](options), options)
