"""The size limits of bodies from URLs that users submit, and of bodies of redirects."""

from __future__ import annotations

from .policy import Policy

MOST_UNTRUSTED = 2 * 2**20
"""Maximum number of bytes, after decoding, of a body from a URL that a user submitted."""
_MOST_OF_REDIRECT = 2**20
"""Maximum number of bytes of the body of a redirect. The last response of a call keeps the bodies of all redirects, up
to thirty."""
_DEFAULT = Policy().max_response_bytes


def of_untrusted(limit: int | None, *, chosen: bool) -> int | None:
    """Return the limit in bytes for a client of untrusted URLs: `limit`, if it was chosen; otherwise at most 2 MiB.

    A limit counts as chosen if it is from the client's own policy and differs from the default.

    :param limit: `Policy.max_response_bytes` of the policy that the client uses.
    :param chosen: whether the policy is the client's own. The policy of the process is meant for trusted servers.
    """
    if chosen and limit != _DEFAULT:
        return limit
    return MOST_UNTRUSTED if limit is None else min(limit, MOST_UNTRUSTED)


def of_redirect(limit: int | None) -> int:
    """Return the limit in bytes for the body of a redirect: `limit`, which other bodies have, but at most 1 MiB."""
    return _MOST_OF_REDIRECT if limit is None else min(limit, _MOST_OF_REDIRECT)
