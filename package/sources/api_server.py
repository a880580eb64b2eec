"""A server with data about packages: the address of its API, and the credentials and headers for requests to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import requests

from package.sources.errors import AskError


@dataclass(frozen=True)
class Server:
    """The address of an API, and the credentials and headers for requests to it."""

    name: str
    """The name for people, such as "PyPI"."""
    api: str
    """The common beginning of the addresses of all resources, without a trailing slash."""
    token: str = field(default="", repr=False)
    accept: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict, hash=False)
    """Additional headers to send."""
    refusal: Callable[[Server, requests.Response], AskError | None] = field(
        default=lambda *_: None, repr=False, compare=False
    )
    """A function that returns the error for a response of this server; None: the status determines the error."""
