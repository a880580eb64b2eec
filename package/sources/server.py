"""A server that is asked about packages: where it is, and how it is asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import requests

from package.sources.errors import AskError


@dataclass(frozen=True)
class Server:
    """Where questions go, and as whom."""

    name: str
    """For people: "PyPI"."""
    api: str
    """The address that all its resources begin with, without a slash at the end."""
    token: str = field(default="", repr=False)
    accept: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict, hash=False)
    """What else it wants to be told."""
    refusal: Callable[[Server, requests.Response], AskError | None] = field(
        default=lambda *_: None, repr=False, compare=False
    )
    """Returns what an answer of this host means, where its status does not say."""
