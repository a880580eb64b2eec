"""The interface of a cache that processes share."""

from __future__ import annotations

from typing import Protocol


class Cache(Protocol):
    """The part of Django's cache API that this package uses. `timeout` is in seconds."""

    def get(self, key: str, /) -> object: ...
    def add(self, key: str, value: object, /, timeout: int) -> bool: ...
    def set(self, key: str, value: object, /, timeout: int) -> object: ...
    def delete(self, key: str, /) -> object: ...
