"""A server with data about packages: its address, and how requests to it are made."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import requests

from package.sources.errors import AskError


@dataclass(frozen=True)
class Server:
    """The address of an API, and the credentials and headers for requests to it."""

    name: str
    """Name for people, such as "PyPI"."""
    api: str
    """The common start of the addresses of all resources, without a trailing slash."""
    token: str = field(default="", repr=False)
    accept: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict, hash=False)
    """Further headers to send."""
    refusal: Callable[[Server, requests.Response], AskError | None] = field(
        default=lambda *_: None, repr=False, compare=False
    )
    """Returns the error for a response of this host; None if only its status counts."""
