"""Calls of the client to a server on https://pypi.test."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import requests
from responses import RequestsMock

from package.sources.api_server import Server
from package.sources.client import Answer, Client
from package.sources.sessions import sessions

API = "https://pypi.test"
URL = f"{API}/thing"
SERVER = Server("PyPI", API)
SESSION = sessions().trusted


def client(known: Mapping[str, Any] | None = None, server: Server = SERVER, session: Any = SESSION) -> Client:
    """Make a client of `server`, with the validators in `known`."""
    return Client(session, server, known)


def ask(path: str = "thing", known: Mapping[str, Any] | None = None, **how: Any) -> Answer:
    """Send a request with a new client."""
    return client(known).get(path, **how)


def requested(responses: RequestsMock, position: int = -1) -> requests.PreparedRequest:
    """Return a request that was sent: by default, the last one."""
    return responses.calls[position].request
