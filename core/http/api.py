"""`http.get` and its kin, for code that calls `requests.get`: no session to keep, connections reused all the same."""

from __future__ import annotations

from functools import cache
from typing import Any

import requests
import requests.sessions
from requests.cookies import RequestsCookieJar

from .adapter import ResilientAdapter
from .session import ResilientSession

_adapter = ResilientAdapter()


@cache
def _template(adapter: ResilientAdapter) -> ResilientSession:
    """Make a session that is only copied: three adapters that nothing is sent through would be made for every call."""
    session = ResilientSession()
    for prefix in ("https://", "http://"):
        session.mount(prefix, adapter)
    return session


def request(method: str, url: str, *, _adapter: ResilientAdapter = _adapter, **kwargs: Any) -> requests.Response:
    """Send one request, as `requests.request` does: resilient, on shared connections, with a fresh cookie jar.

    Returns the response, and raises what a `ResilientSession` does.

    :param method: such as "GET".
    :param url: with http or https.
    :param kwargs: what `requests.request` takes. ``timeout=``, in seconds, can only shorten the policy's.
    """
    session = ResilientSession.__new__(ResilientSession)  # not closed: the connections are not its own
    # (Some change the function that makes the default headers, say for another User-Agent.)
    sessions: Any = requests.sessions
    vars(session).update(vars(_template(_adapter)), cookies=RequestsCookieJar(), headers=sessions.default_headers())
    return session.request(method, url, **kwargs)


def get(url: str, params: Any = None, **kwargs: Any) -> requests.Response:
    """Send a GET request, with the arguments of `requests.get`: see `request`."""
    return request("GET", url, params=params, **kwargs)


def head(url: str, **kwargs: Any) -> requests.Response:
    """Send a HEAD request, with the arguments of `requests.head`: see `request`.

    Redirects are not followed, unless ``allow_redirects=True``.
    """
    kwargs.setdefault("allow_redirects", False)
    return request("HEAD", url, **kwargs)


def options(url: str, **kwargs: Any) -> requests.Response:
    """Send a OPTIONS request, with the arguments of `requests.options`: see `request`."""
    return request("OPTIONS", url, **kwargs)


def post(url: str, data: Any = None, json: Any = None, **kwargs: Any) -> requests.Response:
    """Send a POST request, with the arguments of `requests.post`: see `request`.

    Sent again only if it certainly was not sent, or carries an ``Idempotency-Key``.
    """
    return request("POST", url, data=data, json=json, **kwargs)


def put(url: str, data: Any = None, **kwargs: Any) -> requests.Response:
    """Send a PUT request, with the arguments of `requests.put`: see `request`."""
    return request("PUT", url, data=data, **kwargs)


def patch(url: str, data: Any = None, **kwargs: Any) -> requests.Response:
    """Send a PATCH request, with the arguments of `requests.patch`: see `request`.

    Sent again only as a POST would be.
    """
    return request("PATCH", url, data=data, **kwargs)


def delete(url: str, **kwargs: Any) -> requests.Response:
    """Send a DELETE request, with the arguments of `requests.delete`: see `request`."""
    return request("DELETE", url, **kwargs)
