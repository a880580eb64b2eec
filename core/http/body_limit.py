"""How large a body may be that comes from a URL that a user submitted, or with a redirect."""

from __future__ import annotations

from .policy import Policy

MOST_UNTRUSTED = 2 * 2**20
"""Bytes of a body from such a URL, decoded."""
_MOST_OF_REDIRECT = 2**20
"""Bytes of the body of a redirect: the last response of a call keeps those of all its redirects, up to thirty."""
_DEFAULT = Policy().max_response_bytes


def of_untrusted(limit: int | None, *, chosen: bool) -> int | None:
    """Return the limit for a client whose policy has `limit`: 2 MiB, unless its own policy says otherwise.

    :param chosen: the client has a policy of its own. (The process's is for servers that somebody vouches for; and the
        default says nothing.)
    """
    if chosen and limit != _DEFAULT:
        return limit
    return MOST_UNTRUSTED if limit is None else min(limit, MOST_UNTRUSTED)


def of_redirect(limit: int | None) -> int:
    """Return the limit for the body of a redirect, where other bodies have `limit`."""
    return _MOST_OF_REDIRECT if limit is None else min(limit, _MOST_OF_REDIRECT)
