"""Sends requests as `requests.Session.send` does, but does not look for cookies in responses that have none."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import requests.sessions
from requests import PreparedRequest, Response, Session

from .cookie_jar import PLAIN_JARS, sets_cookies
from .urllib3_response import CheckedBody

SEND = Session.send
"""The method of requests that this module replaces, as it was when this module was imported."""
_ARGUMENTS = frozenset({"allow_redirects", "cert", "proxies", "stream", "timeout", "verify"})
_sessions: Any = requests.sessions  # for looking up its functions at each call, because tests replace some of them


def can_send(session: Session, request: PreparedRequest, how: dict[str, Any]) -> bool:
    """Return whether `send` can handle the request: the arguments are those of `Session.request`, with redirects."""
    return (
        how.keys() == _ARGUMENTS
        and how["allow_redirects"] is True
        and type(request) is PreparedRequest
        and type(session.cookies) in PLAIN_JARS
    )


def send(session: Session, request: PreparedRequest, *, allow_redirects: bool, **how: Any) -> Response:  # noqa: ARG001 - as requests' method
    """Send the request and return the response, as `requests.Session.send` does. `can_send` must have returned True."""
    adapter = session.get_adapter(url=request.url)  # type: ignore[arg-type]  # requests rejects None itself
    started = _sessions.preferred_clock()
    response: Response = adapter.send(request, **how)
    response.elapsed = timedelta(seconds=_sessions.preferred_clock() - started)
    response = _sessions.dispatch_hook("response", request.hooks, response, **how)
    for earlier in response.history:  # from an authentication hook that has sent the request again
        _sessions.extract_cookies_to_jar(session.cookies, earlier.request, earlier.raw)
    if _may_set_cookies(response):
        _sessions.extract_cookies_to_jar(session.cookies, request, response.raw)
    history = [response, *session.resolve_redirects(response, request, **how)]
    response = history.pop()
    if history:
        response.history = history
    if not how["stream"]:
        _ = response.content
    return response


def _may_set_cookies(response: Response) -> bool:
    return type(response.raw) is not CheckedBody or sets_cookies(response.raw.headers)
