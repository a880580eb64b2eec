"""`http.get` and similar functions, which replace `requests.get` and so on.

They need no session, and they reuse connections.
"""

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
    """Return the session whose attributes each call copies. To create a new session for each call would be slower."""
    session = ResilientSession()
    for prefix in ("https://", "http://"):
        session.mount(prefix, adapter)
    return session


def request(method: str, url: str, *, _adapter: ResilientAdapter = _adapter, **kwargs: Any) -> requests.Response:
    """Send a request and return the response, as `requests.request` does, with the retries and limits of core.http.

    All calls share connections; each call has an empty cookie jar. Raises the same errors as a `ResilientSession`.

    :param method: such as "GET".
    :param url: an http or https URL.
    :param kwargs: the arguments of `requests.request`. ``timeout=``, in seconds, limits each attempt and can only
        shorten the policy's `attempt_timeout`.
    """
    session = ResilientSession.__new__(ResilientSession)  # never closed, because it does not own the connections
    # `default_headers` is called for each request, because programs replace it, for example to change the User-Agent.
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
    """Send an OPTIONS request, with the arguments of `requests.options`: see `request`."""
    return request("OPTIONS", url, **kwargs)


def post(url: str, data: Any = None, json: Any = None, **kwargs: Any) -> requests.Response:
    """Send a POST request, with the arguments of `requests.post`: see `request`.

    The request is retried only if it certainly was not sent, or if it has an ``Idempotency-Key`` header.
    """
    return request("POST", url, data=data, json=json, **kwargs)


def put(url: str, data: Any = None, **kwargs: Any) -> requests.Response:
    """Send a PUT request, with the arguments of `requests.put`: see `request`."""
    return request("PUT", url, data=data, **kwargs)


def patch(url: str, data: Any = None, **kwargs: Any) -> requests.Response:
    """Send a PATCH request, with the arguments of `requests.patch`: see `request`.

    The request is retried under the same conditions as a POST.
    """
    return request("PATCH", url, data=data, **kwargs)


def delete(url: str, **kwargs: Any) -> requests.Response:
    """Send a DELETE request, with the arguments of `requests.delete`: see `request`."""
    return request("DELETE", url, **kwargs)
