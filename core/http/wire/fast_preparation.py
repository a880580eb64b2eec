"""Prepares plain requests as `requests.Session.prepare_request` does, but without steps that plain requests don't need.

A request is plain if its URL, parameters and headers need no quoting, normalizing or decoding, and its body is neither
a file nor a stream. For all other requests, and if other code has replaced a function of requests, the code of requests
is used. It also prepares the body, cookies, authentication and hooks of plain requests.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from typing import Any
from urllib.parse import urlencode

import requests.models
import requests.sessions
import requests.utils
from requests import PreparedRequest, Request, Session
from requests.cookies import RequestsCookieJar
from requests.structures import CaseInsensitiveDict

from . import compat, environment, netrc_file
from .cookie_jar import PLAIN_JARS

_URL = re.compile(
    r"https?://[a-z0-9_](?:[a-z0-9._-]*[a-z0-9_])?"  # no capitals, no userinfo, no root dot, no IPv6
    r"(?::(?:[1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}))?"
    r"(?P<path>/(?:[A-Za-z0-9_~@!$&'()*+,;=:-][A-Za-z0-9._~@!$&'()*+,;=:-]*/)*"  # no dot segments, no escapes
    r"(?:[A-Za-z0-9_~@!$&'()*+,;=:-][A-Za-z0-9._~@!$&'()*+,;=:-]*)?)"
    r"(?P<query>\?[A-Za-z0-9._~@!$&'()*+,;=:/?-]+)?"  # no fragment
)
_HEADERS = re.compile(r"(?:[A-Za-z0-9_-]+:(?:[!-~][ -~]*)?\n)*")
_NO_HOOKS: dict[str, list[Any]] = {"response": []}
_PLAIN_DATA = frozenset({dict, list, tuple, str, bytes, type(None)})
_PLAIN_PARAMS = frozenset({str, int})
PREPARE_REQUEST = Session.prepare_request
MERGE_ENVIRONMENT_SETTINGS = Session.merge_environment_settings
"""The methods of requests that this module replaces, as they were when this module was imported."""


def _parts() -> tuple[object, ...]:
    sessions: Any = requests.sessions
    models: Any = requests.models
    kind = PreparedRequest
    return (
        *(sessions.PreparedRequest, sessions.RequestsCookieJar, sessions.merge_cookies, sessions.merge_setting),
        *(sessions.cookiejar_from_dict, sessions.merge_hooks, sessions.CaseInsensitiveDict),
        *(kind.__init__, kind.prepare, kind.prepare_method, kind.prepare_url, kind.prepare_headers),
        *(kind.prepare_cookies, kind.prepare_body, kind.prepare_content_length, kind.prepare_auth, kind.prepare_hooks),
        *(models.check_header_validity, models.parse_url, models.requote_uri, models.urlencode, models.urlunparse),
        *(models.get_cookie_header, models.get_auth_from_url, models.CaseInsensitiveDict, models.default_hooks),
    )


_ORIGINAL = _parts()
_ORIGINAL_MERGE = requests.sessions.merge_setting


def prepare(session: Session, request: Request) -> PreparedRequest | None:
    """Return the same as `requests.Session.prepare_request`; None if the request is not plain."""
    method, url = request.method, request.url
    if (
        type(method) is not str
        or not method.isascii()
        or type(url) is not str
        or request.files
        or type(request.data) not in _PLAIN_DATA
        or type(session.cookies) not in PLAIN_JARS
        or session.params
        or _parts() != _ORIGINAL
    ):
        return None
    prepared_url = _url(url, request.params)
    headers = None if prepared_url is None else _headers(session.headers, request.headers)
    if headers is None:
        return None
    auth = request.auth
    if session.trust_env and not auth and not session.auth:
        auth = netrc_file.auth_for(url)
    prepared = PreparedRequest()
    prepared.method = method = method.upper()
    prepared.url = prepared_url
    prepared.headers = headers
    if request.cookies or compat.has_cookies(session.cookies):
        prepared.prepare_cookies(_cookies(session, request))
    else:
        compat.set_cookies(prepared, RequestsCookieJar())
    if request.data or request.json is not None:
        prepared.prepare_body(request.data, request.files, request.json)
    elif method not in {"GET", "HEAD"} and "Content-Length" not in headers:
        headers["Content-Length"] = "0"
    if auth or session.auth:
        prepared.prepare_auth(requests.sessions.merge_setting(auth, session.auth), url)
    if request.hooks != _NO_HOOKS or session.hooks != _NO_HOOKS:  # last, because authentication may add hooks
        prepared.prepare_hooks(requests.sessions.merge_hooks(request.hooks, session.hooks))
    return prepared


def _url(url: str, params: Any) -> str | None:
    found = _URL.fullmatch(url)
    if found is None:
        return None
    if not params:
        return url if params is None or type(params) in {dict, str} else None
    if type(params) is not dict:
        return None
    for name, value in params.items():
        if type(name) is not str or type(value) not in _PLAIN_PARAMS:
            return None
    return f"{url}{'&' if found['query'] else '?'}{urlencode(params)}"


def _headers(own: Any, added: Any) -> CaseInsensitiveDict[str | bytes] | None:
    """Merge the headers of a session and of a request; return None if they are not plain."""
    if type(own) is not CaseInsensitiveDict:
        return None
    merged = own.copy()
    if added:
        if type(added) is not dict and type(added) is not CaseInsensitiveDict:
            return None
        for name, value in added.items():
            if type(name) is not str:
                return None
            merged[name] = value
    pairs = list(merged.items())
    if any([type(name) is not str or type(value) is not str for name, value in pairs]):  # noqa: C419 - a list is faster
        return None
    return merged if _HEADERS.fullmatch("".join([f"{name}:{value}\n" for name, value in pairs])) else None


def _cookies(session: Session, request: Request) -> Any:
    sessions: Any = requests.sessions
    cookies = request.cookies or {}
    if not isinstance(cookies, sessions.cookielib.CookieJar):
        cookies = sessions.cookiejar_from_dict(cookies)
    return sessions.merge_cookies(sessions.merge_cookies(RequestsCookieJar(), session.cookies), cookies)


def settings(session: Session, url: Any, proxies: Any, stream: Any, verify: Any, cert: Any) -> dict[str, Any] | None:
    """Return the same as `requests.Session.merge_environment_settings`; None if requests must compute it."""
    merge = requests.sessions.merge_setting
    if merge is not _ORIGINAL_MERGE or type(proxies) is not dict or proxies or session.proxies != {}:
        return None
    if session.trust_env:
        found = environment.settings_for(url)
        if found is None:
            return None
        proxies.update(found.proxies)
        if verify is True or verify is None:
            verify = found.bundle or verify
    return {
        "proxies": OrderedDict(proxies),
        "stream": merge(stream, session.stream),
        "verify": merge(verify, session.verify),
        "cert": merge(cert, session.cert),
    }
