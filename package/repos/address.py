"""Parses the addresses of repositories in all usual forms."""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import urlsplit

from core.http.origin import origin_of
from core.http.wire import redaction

_HOST = re.compile(r"([a-z0-9._-]+|\[[0-9a-f:.]+\])(:\d+)?")
_LONGEST_SHOWN = 200


class NotARepository(ValueError):  # noqa: N818 - says what the address is not
    """An address is not the address of a repository on a known server. The text says what to do."""


class Address(NamedTuple):
    host: str
    """The host without "www.", with the port unless it is the default of the scheme."""
    names: tuple[str, ...]
    """The segments of the path."""
    scheme: str
    netloc: str
    """The same as `host`, but with "www." if the address had it."""
    given: str
    """The address as it was given."""

    def __str__(self) -> str:
        return shown(self.given)

    def below(self, server: str) -> tuple[str, ...] | None:
        """Return the segments of the path after the path of `server`; None: the address is on another server."""
        origin = origin_of(server)
        if self.scheme not in {"http", "https"}:  # ssh has another port and another root
            return self.names if origin.host == self.host else None
        root = tuple(name for name in urlsplit(server).path.split("/") if name)
        if origin.netloc not in {self.host, self.netloc} or self.names[: len(root)] != root:
            return None
        return self.names[len(root) :]


def split(url: str) -> Address:
    """Parse an address: ``https://``, ``git://``, ``ssh://``, without a scheme, or ``git@host:owner/name``.

    :raises NotARepository: if the address has no valid host.
    """
    value = url.strip().removeprefix("git+")
    if "://" not in value:
        before, colon, after = value.partition(":")
        if colon and "/" not in before and not after.partition("/")[0].isdigit():  # git@host:owner/name
            value = f"ssh://{before}/{after}"
        else:
            value = f"https://{value.lstrip('/')}"
    try:
        parts = urlsplit(value)
        web = parts.scheme in {"http", "https"}
        netloc = origin_of(value if web else f"https://{parts.hostname or ''}").netloc
    except ValueError:
        netloc = ""
    if not value.isprintable() or " " in value or not _HOST.fullmatch(netloc):
        raise NotARepository(f"{shown(url)} is not the address of a repository")
    names = tuple(name for name in parts.path.split("/") if name)
    return Address(netloc.removeprefix("www."), names, parts.scheme, netloc, url)


def shown(url: str) -> str:
    """Return an address in quotes, without secrets and cut off after 200 characters."""
    return repr(redaction.url(url.strip()[:_LONGEST_SHOWN]))
