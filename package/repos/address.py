"""Addresses of repositories, in every form in which people write them down."""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import urlsplit

from core.http.origin import origin_of
from core.http.wire import redaction

_HOST = re.compile(r"([a-z0-9._-]+|\[[0-9a-f:.]+\])(:\d+)?")
_LONGEST_SHOWN = 200


class NotARepository(ValueError):  # noqa: N818 - says what the address is not
    """An address is not that of a repository on a server that is known; the text says what to do."""


class Address(NamedTuple):
    host: str
    """Without www.; with its port, where that is not the scheme's own."""
    names: tuple[str, ...]
    """The parts of its path."""
    scheme: str
    netloc: str
    """As `host`, with www. where it was given."""
    given: str

    def __str__(self) -> str:
        return shown(self.given)

    def below(self, server: str) -> tuple[str, ...] | None:
        """Return what comes after the address of `server` in the path; None where that is another server."""
        origin = origin_of(server)
        if self.scheme not in {"http", "https"}:  # ssh has a port and a root of its own
            return self.names if origin.host == self.host else None
        root = tuple(name for name in urlsplit(server).path.split("/") if name)
        if origin.netloc not in {self.host, self.netloc} or self.names[: len(root)] != root:
            return None
        return self.names[len(root) :]


def split(url: str) -> Address:
    """Read an address in any of its usual forms. Raises `NotARepository` where there is no host.

    Understands ``https://``, ``git://`` and ``ssh://`` addresses, those without a scheme, and ``git@host:owner/name``.
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
        raise NotARepository(f"{shown(url)} is no address of a repository")
    names = tuple(name for name in parts.path.split("/") if name)
    return Address(netloc.removeprefix("www."), names, parts.scheme, netloc, url)


def shown(url: str) -> str:
    """Quote an address, without secrets, and of one that is very long only the beginning."""
    return repr(redaction.url(url.strip()[:_LONGEST_SHOWN]))
