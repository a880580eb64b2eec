"""Resolves addresses in the responses of a server. They are requested only from its own origin and below its API."""

from __future__ import annotations

import re
from urllib.parse import unquote, urljoin, urlsplit

_MARK = 2
"""Number of segments at the end of the path of an API that identify the API in another address, such as "api/v4"."""
_DOTS = re.compile(r"(^|[/\\])\.\.?([/\\]|$)")


def resolve(api: str, address: str) -> str:
    """Return the URL of `address`, which is a path below `api` or an address from a response.

    A server behind a proxy may send its internal scheme, host, port or path. Therefore, only the query and the part
    after the path of the API are used. So no response can lead to another server, or to another application on the same
    server.

    :raises ValueError: if `address` is not the address of a resource of the API.
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
