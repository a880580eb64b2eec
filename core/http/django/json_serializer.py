"""Stores the values of Django's Redis cache as JSON instead of pickle.

A pickle can run code when it is loaded. So with Django's own serializer, anyone who can write to the Redis server can
run code in every process that reads from the server.
"""

from __future__ import annotations

import json


class JSONSerializer:
    """A serializer for `OPTIONS["serializer"]` of a `django.core.cache.backends.redis.RedisCache`.

    It stores values that JSON can represent. A tuple is read back as a list. `incr()` works for numbers.
    """

    def dumps(self, value: object) -> bytes:
        """Return the bytes to store. Raises `TypeError` for values that JSON cannot represent."""
        return json.dumps(value, separators=(",", ":")).encode()

    def loads(self, data: bytes) -> object:
        """Return the value. Bytes that are not JSON, for example from another program, are returned unchanged."""
        try:
            return json.loads(data)
        except (ValueError, RecursionError):
            return data
