"""JSON in place of pickle, for Django's Redis cache.

Unpickling runs what the pickle says, so with Django's own serializer whoever can write to the Redis server runs code in
every process that reads from it.
"""

from __future__ import annotations

import json


class JSONSerializer:
    """For `OPTIONS["serializer"]` of a `django.core.cache.backends.redis.RedisCache`.

    It stores what JSON can hold; a tuple comes back as a list. Numbers stay such that `incr()` works.
    """

    def dumps(self, value: object) -> bytes:
        """Return what is stored. Raises `TypeError` for what JSON cannot hold."""
        return json.dumps(value, separators=(",", ":")).encode()

    def loads(self, data: bytes) -> object:
        """Return the value; the bytes as they are where they are no JSON, such as what another program wrote."""
        try:
            return json.loads(data)
        except (ValueError, RecursionError):
            return data
