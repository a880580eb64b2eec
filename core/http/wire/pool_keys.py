"""The pools of plain calls, found again by the key that urllib3 gave them.

To find a pool, requests takes the URL apart and urllib3 builds a key of all settings from it, at every call. Here that
is done once for each origin and TLS context. The pool itself comes from urllib3 every time: urllib3 knows which of its
pools were used last, and makes those anew that it has dropped.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from urllib3 import PoolManager
from urllib3.connection import port_by_scheme
from urllib3.poolmanager import PoolKey

_MOST = 256
"""Keys that are kept; beyond, all are built anew."""


class _Key(NamedTuple):
    pool: PoolKey
    options: dict[str, Any]
    """What a pool is made of, if urllib3 has none with the key."""


class PoolKeys:
    """The keys of one pool manager."""

    def __init__(self, manager: PoolManager) -> None:
        self.manager = manager
        self._known: dict[tuple[object, ...], _Key] = {}

    def find(self, where: tuple[object, ...]) -> Any:
        """Return the pool that `add` was called for with the same `where`; None: there was none."""
        known = self._known.get(where)
        if known is None:
            return None
        return self.manager.connection_from_pool_key(known.pool, known.options.copy())  # urllib3 changes what it gets

    def add(self, where: tuple[object, ...], host: dict[str, Any], pool: dict[str, Any]) -> None:
        """Note what `connection_from_host` gets, whose work this does."""
        options = {**self.manager.connection_pool_kw, **pool, **host}
        options["port"] = host["port"] or port_by_scheme[host["scheme"]]
        if len(self._known) >= _MOST:
            self._known.clear()
        self._known[where] = _Key(self.manager.key_fn_by_scheme[host["scheme"]](options), options)
