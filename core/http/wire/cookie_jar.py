"""The cookies of a session: as in requests, but servers cannot fill it up.

`http.cookiejar` keeps whatever servers send, and each request looks at all of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container
from contextlib import suppress
from http.cookiejar import Cookie
from typing import Any

from requests.cookies import RequestsCookieJar

MOST_BYTES = 4096
"""Of a cookie: its name, value, domain and path (RFC 6265, section 6.1). A larger one is not taken."""
MOST_OF_SITE = 180
"""Cookies kept per site, as in browsers (RFC 6265 asks for 50 per domain)."""
MOST = 3000
"""Cookies kept in all (RFC 6265, section 6.1)."""


def sets_cookies(headers: Container[str]) -> bool:
    """Say whether an answer with these headers sets cookies."""
    return "Set-Cookie" in headers or "Set-Cookie2" in headers


class BoundedCookieJar(RequestsCookieJar):
    """A `RequestsCookieJar` that keeps no more of what servers send than browsers do; the oldest go first.

    Room is made when a server adds to it. Cookies of no domain are the user's, and stay.
    """

    def __init__(self, *args: Any) -> None:
        self._ages: dict[tuple[str, str, str], None] = {}
        """Domain, path and name of each cookie, that which was set longest ago first."""
        super().__init__(*args)

    def set_cookie(self, cookie: Cookie, *args: Any, **kwargs: Any) -> None:
        super().set_cookie(cookie, *args, **kwargs)
        key = (cookie.domain, cookie.path, cookie.name)
        self._ages.pop(key, None)
        self._ages[key] = None

    def clear(self, domain: str | None = None, path: str | None = None, name: str | None = None) -> None:
        super().clear(domain, path, name)
        if domain is not None and path is not None and name is not None:
            self._ages.pop((domain, path, name), None)
            return
        given = (domain, path)
        for key in tuple(self._ages):
            if all(part is None or part == known for part, known in zip(given, key, strict=False)):
                self._ages.pop(key, None)

    def make_cookies(self, response: Any, request: Any) -> Any:
        """As in `http.cookiejar`, without those that are too large."""
        return [cookie for cookie in super().make_cookies(response, request) if _size(cookie) <= MOST_BYTES]

    def extract_cookies(self, response: Any, request: Any) -> None:
        """As in `http.cookiejar`; makes room for those that a server sends."""
        super().extract_cookies(response, request)
        if len(self._ages) > MOST_OF_SITE and self._too_many():
            self.clear_expired_cookies()
            for key in self._too_many():
                with suppress(KeyError):  # another thread has cleared it
                    self.clear(*key)

    def _too_many(self) -> list[tuple[str, str, str]]:
        """List the oldest cookies without which the jar is within its limits."""
        ages = [(key, _site(key[0])) for key in tuple(self._ages) if key[0]]
        sites = Counter(site for _, site in ages)
        excess = len(ages) - MOST
        found = []
        for key, site in ages:
            if sites[site] > MOST_OF_SITE or excess > 0:
                found.append(key)
                sites[site] -= 1
                excess -= 1
        return found


def _size(cookie: Cookie) -> int:
    return sum(len(part or "") for part in (cookie.name, cookie.value, cookie.domain, cookie.path))


def _site(domain: str) -> str:
    """Return the last two labels of a domain: one server may set cookies for its parents, and have many children."""
    name = domain.strip(".")
    return name if name.replace(".", "").isdigit() else ".".join(name.split(".")[-2:])


PLAIN_JARS = frozenset({RequestsCookieJar, BoundedCookieJar})
"""Jars of which no method is somebody's own."""
