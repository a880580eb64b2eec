"""Caches the proxies and the CA bundle from the environment until an environment variable changes.

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

from . import compat

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
    variables: dict[Any, Any]
    """All of them, because variables of other schemes and in mixed case also set proxies."""
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
_snapshot = _Snapshot({}, {})


def settings_for(url: str) -> Settings | None:
    """Return the proxies and the CA bundle for a URL; None if requests must compute them."""
    global _snapshot  # noqa: PLW0603 - replaced as a whole, so that threads need no lock
    if not _IS_ALL or type(url) is not str or _readers() != _ORIGINAL:
        return None
    variables, snapshot = compat.environment_variables(), _snapshot
    if snapshot.variables != variables:
        snapshot = _snapshot = _Snapshot(dict(variables), {})
    netloc = urlsplit(url).netloc
    found = snapshot.settings.get(netloc)
    if found is None:
        bundle = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE")
        found = Settings(requests.utils.get_environ_proxies(url), bundle)
        # Do not cache a secret, or values that have just changed.
        if "@" not in netloc and snapshot.variables == variables:
            if len(snapshot.settings) >= _MOST_HOSTS:
                snapshot.settings.clear()
            snapshot.settings[netloc] = found
    return found
