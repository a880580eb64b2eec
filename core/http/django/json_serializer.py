"""JSON in place of pickle, for Django's Redis cache.

A pickle can run code when it is loaded. So with Django's own serializer, anyone who can write to the Redis server can
run code in every process that reads from it.
"""

from __future__ import annotations

import json


class JSONSerializer:
    """A serializer for `OPTIONS["serializer"]` of a `django.core.cache.backends.redis.RedisCache`.

    It stores values that JSON can represent; a tuple is read as a list. Numbers are stored in a form for which `incr()`
    works.
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
