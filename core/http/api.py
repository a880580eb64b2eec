"""`http.get` and its kin, for code that calls `requests.get`: no session to keep, connections reused all the same."""

from __future__ import annotations

from typing import Any

import requests

from .adapter import ResilientAdapter
from .session import ResilientSession

_adapter = ResilientAdapter()


def request(method: str, url: str, *, _adapter: ResilientAdapter = _adapter, **kwargs: Any) -> requests.Response:
    """Send one request, as `requests.request` does: resilient, on shared connections, with a fresh cookie jar."""
    session = ResilientSession()  # not closed: the connections are not its own
    session.mount("https://", _adapter)
    session.mount("http://", _adapter)
    return session.request(method, url, **kwargs)


def get(url: str, params: Any = None, **kwargs: Any) -> requests.Response:
    return request("GET", url, params=params, **kwargs)


def head(url: str, **kwargs: Any) -> requests.Response:
    kwargs.setdefault("allow_redirects", False)
    return request("HEAD", url, **kwargs)


def options(url: str, **kwargs: Any) -> requests.Response:
    return request("OPTIONS", url, **kwargs)


def post(url: str, data: Any = None, json: Any = None, **kwargs: Any) -> requests.Response:
    return request("POST", url, data=data, json=json, **kwargs)


def put(url: str, data: Any = None, **kwargs: Any) -> requests.Response:
    return request("PUT", url, data=data, **kwargs)


def patch(url: str, data: Any = None, **kwargs: Any) -> requests.Response:
    return request("PATCH", url, data=data, **kwargs)


def delete(url: str, **kwargs: Any) -> requests.Response:
    return request("DELETE", url, **kwargs)
