"""What the environment says of proxies and CA bundles, read again when a variable has changed.

requests reads all variables at every call, up to four times. The answers here are the same, and what computes them is
requests: they are kept for as long as the variables that they depend on have the same values.
"""

from __future__ import annotations

import os
import urllib.request
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import requests.sessions
import requests.utils

_VARIABLES = (
    *("http_proxy", "https_proxy", "all_proxy", "no_proxy"),
    *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"),
    "REQUEST_METHOD",  # with it, HTTP_PROXY is not a variable but a header of a CGI request
    *("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"),
)
_MOST_HOSTS = 1024
_IS_ALL = os.name == "posix" and urllib.request.getproxies is urllib.request.getproxies_environment
"""Nothing but variables says what the proxies are. (Windows and macOS have settings of their own.)"""


class Settings(NamedTuple):
    """What the environment says of a URL."""

    proxies: dict[str, str]
    """As `requests.utils.get_environ_proxies` returns them; not to be changed."""
    bundle: str | None
    """Where the CA bundle is."""


class _Snapshot(NamedTuple):
    variables: tuple[Any, ...]
    settings: dict[str, Settings]
    """By the host and port of the URL, as it writes them."""


def _readers() -> tuple[object, ...]:
    sessions: Any = requests.sessions
    utils: Any = requests.utils
    system: Any = urllib.request
    return (
        *(sessions.get_environ_proxies, utils.should_bypass_proxies, utils.getproxies, utils.proxy_bypass),
        system.getproxies_environment,
    )


_ORIGINAL = _readers()
_snapshot = _Snapshot((), {})


def _variables() -> tuple[Any, ...]:
    get = os.environ.get
    # Their number, because proxies of other schemes, and names in mixed case, are looked for as well.
    return (len(os.environ), *[get(name) for name in _VARIABLES])


def settings_for(url: str) -> Settings | None:
    """Return the proxies and the CA bundle for a URL; None where requests has to find out itself."""
    global _snapshot  # noqa: PLW0603 - replaced as a whole, so that threads need no lock
    if not _IS_ALL or type(url) is not str or _readers() != _ORIGINAL:
        return None
    variables, snapshot = _variables(), _snapshot
    if snapshot.variables != variables:
        snapshot = _snapshot = _Snapshot(variables, {})
    netloc = urlsplit(url).netloc
    found = snapshot.settings.get(netloc)
    if found is None:
        bundle = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE")
        found = Settings(requests.utils.get_environ_proxies(url), bundle)
        if "@" not in netloc and variables == _variables():  # no secret is kept, nor what another thread changed
            if len(snapshot.settings) >= _MOST_HOSTS:
                snapshot.settings.clear()
            snapshot.settings[netloc] = found
    return found
