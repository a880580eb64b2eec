"""The size limits of bodies from URLs that users submit, and of bodies of redirects."""

from __future__ import annotations

from .policy import Policy

MOST_UNTRUSTED = 2 * 2**20
"""Bytes of a body from a URL that a user submitted, decoded."""
_MOST_OF_REDIRECT = 2**20
"""Bytes of the body of a redirect. The last response of a call keeps the bodies of all its redirects, up to thirty."""
_DEFAULT = Policy().max_response_bytes


def of_untrusted(limit: int | None, *, chosen: bool) -> int | None:
    """Return the limit in bytes for a client whose policy has `limit`: 2 MiB, unless its own policy says otherwise.

    :param chosen: the client has a policy of its own. The policy of the process is meant for trusted servers, and a
        default limit is not a choice, so both are capped at 2 MiB.
    """
    if chosen and limit != _DEFAULT:
        return limit
    return MOST_UNTRUSTED if limit is None else min(limit, MOST_UNTRUSTED)


def of_redirect(limit: int | None) -> int:
    """Return the limit in bytes for the body of a redirect, if other bodies have `limit`."""
    return _MOST_OF_REDIRECT if limit is None else min(limit, _MOST_OF_REDIRECT)
