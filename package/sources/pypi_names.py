"""Reads the names of projects on PyPI from all usual forms of names and addresses."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from packaging.utils import canonicalize_name

from package.sources.errors import Unusable

_NAME = re.compile(r"[A-Z0-9]([A-Z0-9._-]*[A-Z0-9])?", re.IGNORECASE | re.ASCII)  # PEP 508
_HOST = re.compile(r"((www|warehouse)\.)?pypi\.(org|io|python\.org)|warehouse\.python\.org")
_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*:)?//", re.IGNORECASE)
_LONGEST_SHOWN = 100
"""Maximum number of characters of a name in an error."""
_PROJECT_PATHS = ("project", "pypi", "p", "simple")


def pypi_name(value: str, own_host: str | None = None) -> str:
    """Return the name of a project from `value`, a name or the URL of a page of the project; "": there is no name.

    :param own_host: a host that counts as PyPI, in addition to PyPI's current and former hosts.
    """
    value = value.strip()
    if not re.search(r"[/?#]", value):
        return value if _NAME.fullmatch(value) and not _HOST.fullmatch(value.lower()) else ""
    try:
        url = urlsplit(value if _SCHEME.match(value) else f"//{value}")
        host = url.hostname or ""
    except ValueError:
        return ""
    if host != own_host and not _HOST.fullmatch(host):
        return ""
    first, name = [*filter(None, map(unquote, url.path.split("/"))), "", ""][:2]
    if first == "pypi" and not name:  # the old form of PyPI's addresses: /pypi?name=…
        name = parse_qs(url.query).get("name", [""])[0]
    return name if first in _PROJECT_PATHS and _NAME.fullmatch(name) else ""


def check_name(server: str, asked: str, answered: Any) -> None:
    """Raise `Unusable` if `answered`, the name in a response, is not the name of the project `asked`.

    A response without a name is accepted.
    """
    if (
        isinstance(answered, str)
        and answered.strip()
        and canonicalize_name(answered.strip()) != canonicalize_name(asked)
    ):
        text = f"the answer of {server} is about the project {answered[:_LONGEST_SHOWN]!r} instead of {asked!r}"
        raise Unusable(text, "other_project")
