"""Sends as `requests.Session.send` does, without looking for cookies in responses that have none."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import requests.sessions
from requests import PreparedRequest, Response, Session

from .checked_body import CheckedBody
from .cookie_jar import PLAIN_JARS, sets_cookies

SEND = Session.send
"""The method that this module replaces, as it was at import."""
_ARGUMENTS = frozenset({"allow_redirects", "cert", "proxies", "stream", "timeout", "verify"})
_sessions: Any = requests.sessions  # its functions are looked up at each call, because tests replace some of them


def can_send(session: Session, request: PreparedRequest, how: dict[str, Any]) -> bool:
    """Return whether `send` can handle the call: the arguments of `Session.request`, with redirects followed."""
    return (
        how.keys() == _ARGUMENTS
        and how["allow_redirects"] is True
        and type(request) is PreparedRequest
        and type(session.cookies) in PLAIN_JARS
    )


def send(session: Session, request: PreparedRequest, *, allow_redirects: bool, **how: Any) -> Response:  # noqa: ARG001
    """Return the same as `requests.Session.send`. Only for arguments for which `can_send` returns True."""
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
