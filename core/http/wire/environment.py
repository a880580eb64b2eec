"""Caches the proxies and the CA bundle from the environment until one of the environment variables changes.

requests reads all variables at every call, up to four times. The cached values are those of requests, because functions
of requests compute them.
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
    "REQUEST_METHOD",  # if set, this is a CGI script, and HTTP_PROXY may come from a request header
    *("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"),
)
_MOST_HOSTS = 1024
_IS_ALL = os.name == "posix" and urllib.request.getproxies is urllib.request.getproxies_environment
"""Whether only environment variables set the proxies. (Windows and macOS have system settings.)"""


class Settings(NamedTuple):
    """The environment's settings for a URL."""

    proxies: dict[str, str]
    """The result of `requests.utils.get_environ_proxies`. Callers must not change the dictionary."""
    bundle: str | None
    """Path of the CA bundle; None: no variable sets it."""


class _Snapshot(NamedTuple):
    variables: tuple[Any, ...]
    settings: dict[str, Settings]
    """The settings by host and port, as written in the URL."""


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
    # Including the number of variables, because requests also reads proxies of other schemes and mixed-case names.
    return (len(os.environ), *[get(name) for name in _VARIABLES])


def settings_for(url: str) -> Settings | None:
    """Return the proxies and the CA bundle for a URL; None if requests must compute them."""
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
        if "@" not in netloc and variables == _variables():  # do not cache a secret, or values that have just changed
            if len(snapshot.settings) >= _MOST_HOSTS:
                snapshot.settings.clear()
            snapshot.settings[netloc] = found
    return found
