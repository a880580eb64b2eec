"""Names of projects on PyPI, in every form in which people write them down."""

from __future__ import annotations

import re
from urllib.parse import parse_qs, unquote, urlsplit

_NAME = re.compile(r"[A-Z0-9]([A-Z0-9._-]*[A-Z0-9])?", re.IGNORECASE)  # PEP 508
_PROJECT_PATHS = ("project", "pypi", "p", "simple")


def pypi_name(value: str, own_host: str | None = None) -> str:
    """Return the project's name from a bare name or the URL of one of its pages; "" where there is none.

    `own_host` is a host that counts as PyPI besides those of which PyPI's own addresses are made.
    """
    value = value.strip()
    if not re.search(r"[/?#]", value):
        return value if _NAME.fullmatch(value) else ""
    try:
        url = urlsplit(value if "//" in value else f"//{value}")
        host = url.hostname or ""
    except ValueError:
        return ""
    labels = host.split(".")
    if host != own_host and ("pypi" not in labels or "test" in labels):
        return ""
    first, name = [*filter(None, map(unquote, url.path.split("/"))), "", ""][:2]
    if first == "pypi" and not name:  # the addresses of PyPI's first decade: /pypi?name=…
        name = parse_qs(url.query).get("name", [""])[0]
    return name if first in _PROJECT_PATHS and _NAME.fullmatch(name) else ""
