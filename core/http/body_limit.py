"""How large a body may be that comes from a URL that a user submitted."""

from __future__ import annotations

from .policy import Policy

MOST_UNTRUSTED = 2 * 2**20
"""Bytes of it, decoded."""
_DEFAULT = Policy().max_response_bytes


def of_untrusted(limit: int | None, *, chosen: bool) -> int | None:
    """Return the limit for a client whose policy has `limit`: 2 MiB, unless its own policy says otherwise.

    :param chosen: the client has a policy of its own. (The process's is for servers that somebody vouches for; and the
        default says nothing.)
    """
    if chosen and limit != _DEFAULT:
        return limit
    return MOST_UNTRUSTED if limit is None else min(limit, MOST_UNTRUSTED)
