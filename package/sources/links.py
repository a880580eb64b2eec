"""Addresses that a server names in its answers: followed at its own origin, below its API, and nowhere else."""

from __future__ import annotations

import re
from urllib.parse import unquote, urljoin, urlsplit

_MARK = 2
"""So many of the last segments of an API's path tell where it begins in another address: "api/v4"."""
_DOTS = re.compile(r"(^|[/\\])\.\.?([/\\]|$)")


def resolve(api: str, address: str) -> str:
    """Return the URL of `address`: a path below `api`, or an address that the server named.

    A server behind a proxy may name the scheme, host, port and path by which the proxy knows it. Of an address, only
    what follows the path of the API, and the query, are used, so that no answer leads to another server, nor to
    another application on the same one.

    :raises ValueError: `address` is not that of a resource of an API.
    """
    base = urlsplit(api)
    url = urlsplit(urljoin(f"{api}/", address))
    if url.scheme not in {"http", "https"} or not url.hostname:
        raise ValueError(f"not an http or https address: {address!r}")
    names = [name for name in base.path.split("/") if name]
    mark = "".join(f"/{name}" for name in names[-_MARK:])
    _, found, rest = url.path.partition(f"{mark}/")
    if not found or _DOTS.search(unquote(rest)):
        raise ValueError(f"not below the path of the API: {address!r}")
    return url._replace(scheme=base.scheme, netloc=base.netloc, path=f"{base.path}/{rest}", fragment="").geturl()
