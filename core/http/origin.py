"""The origin of a URL (scheme, host and port) in one canonical form."""

from __future__ import annotations

from functools import lru_cache
from types import MappingProxyType
from typing import NamedTuple
from urllib.parse import SplitResult, urlsplit

import idna

DEFAULT_PORTS = MappingProxyType({"http": 80, "https": 443})


class Origin(NamedTuple):
    """Scheme, host and port of a URL."""

    scheme: str
    host: str
    port: int

    @property
    def netloc(self) -> str:
        """The host, and the port unless it is the default of the scheme."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == DEFAULT_PORTS.get(self.scheme) else f"{host}:{self.port}"

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.netloc}"


def origin_of(url: str) -> Origin:
    """Return the origin of a URL. Raises `ValueError` if the URL has no host or an invalid port."""
    parts = urlsplit(url)
    return _origin(parts.scheme, parts.netloc)


@lru_cache(1024)
def _origin(scheme: str, netloc: str) -> Origin:
    parts = SplitResult(scheme.lower(), netloc, "", "", "")
    if not parts.hostname:
        raise ValueError("the URL has no host")
    port = DEFAULT_PORTS.get(parts.scheme, 0) if parts.port is None else parts.port
    return Origin(parts.scheme, canonical_host(parts.hostname), port)


def canonical_host(host: str) -> str:
    """Return a host in lower-case ASCII without the trailing dot. Raises `ValueError` if it cannot be a host name."""
    host = host.lower().rstrip(".")
    if not host:
        raise ValueError("the DNS root is not a host")
    return host if host.isascii() else idna.encode(host, uts46=True).decode("ascii")
