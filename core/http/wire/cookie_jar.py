"""The cookie jar of a session: like that of requests, but with limits for cookies that servers set.

`http.cookiejar` keeps all cookies that servers set, and searches all of them for each request.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container
from contextlib import suppress
from http.cookiejar import Cookie
from typing import Any

from requests.cookies import RequestsCookieJar

MOST_BYTES = 4096
"""Maximum size of a cookie (name, value, domain and path) in bytes (RFC 6265, section 6.1). Larger ones are dropped."""
MOST_OF_SITE = 180
"""Maximum number of cookies per site, as in browsers (RFC 6265 requires at least 50 per domain)."""
MOST = 3000
"""Maximum number of cookies in total (RFC 6265, section 6.1)."""


def sets_cookies(headers: Container[str]) -> bool:
    """Return whether a response with these headers sets cookies."""
    return "Set-Cookie" in headers or "Set-Cookie2" in headers


class BoundedCookieJar(RequestsCookieJar):
    """A `RequestsCookieJar` with the limits of browsers for cookies that servers set; the oldest are removed first.

    Cookies are removed only when a server adds one. Cookies without a domain were set by the user and are kept.
    """

    def __init__(self, *args: Any) -> None:
        self._ages: dict[tuple[str, str, str], None] = {}
        """Domain, path and name of each cookie, oldest first."""
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
        """Return the cookies as `http.cookiejar` does, without those that are too large."""
        return [cookie for cookie in super().make_cookies(response, request) if _size(cookie) <= MOST_BYTES]

    def extract_cookies(self, response: Any, request: Any) -> None:
        """Store the cookies of a response as `http.cookiejar` does, then remove the oldest beyond the limits."""
        super().extract_cookies(response, request)
        if len(self._ages) > MOST_OF_SITE and self._too_many():
            self.clear_expired_cookies()
            for key in self._too_many():
                with suppress(KeyError):  # another thread has removed it
                    self.clear(*key)

    def _too_many(self) -> list[tuple[str, str, str]]:
        """Return the keys of the oldest cookies that must be removed so that the jar is within its limits."""
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
    """Return the last two labels of a domain, because one server can set cookies for a domain and many subdomains."""
    name = domain.strip(".")
    return name if name.replace(".", "").isdigit() else ".".join(name.split(".")[-2:])


PLAIN_JARS = frozenset({RequestsCookieJar, BoundedCookieJar})
"""Classes of jars whose methods are not overridden by other code."""
