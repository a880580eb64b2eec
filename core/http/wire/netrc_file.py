"""Reads credentials from a netrc file as requests does, but caches the possible paths of the file.

They are computed again when an environment variable on which they depend changes.
"""

from __future__ import annotations

import netrc  # noqa: F401 - requests imports it during a call, which fails without a free file descriptor
import os
from typing import Any, NamedTuple

import requests.sessions
import requests.utils

_sessions: Any = requests.sessions  # Session calls the function by this module's name for it
_ORIGINAL = _sessions.get_netrc_auth, os.path.expanduser


class _Places(NamedTuple):
    variables: tuple[str | None, str | None, Any]
    paths: tuple[str, ...]


_places = _Places((None, None, None), ())


def auth_for(url: str) -> tuple[str, str] | None:
    """Return the credentials for `url`, as `requests.utils.get_netrc_auth` does; None if there are none.

    Each call checks whether the file exists.
    """
    if (_sessions.get_netrc_auth, os.path.expanduser) == _ORIGINAL and not any(
        [os.access(path, os.F_OK) for path in _paths()]  # noqa: C419 - takes a third of the time of `exists`
    ):
        return None
    found: tuple[str, str] | None = _sessions.get_netrc_auth(url)
    return found


def _paths() -> tuple[str, ...]:
    global _places  # noqa: PLW0603 - replaced as a whole, so that threads need no lock
    named, home, names = variables = (os.environ.get("NETRC"), os.environ.get("HOME"), requests.utils.NETRC_FILES)
    places = _places
    if home is None or os.name != "posix" or places.variables != variables:  # otherwise the system decides the path
        files = [f"~/{name}" for name in names] if named is None else [named]
        paths = tuple(map(os.path.expanduser, files))
        places = _places = _Places(variables, paths)
    return places.paths
