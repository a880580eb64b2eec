"""Who we are to a server: a token, or the password in its address; and never to another server."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import requests
from requests.auth import AuthBase, HTTPBasicAuth
from requests.utils import get_auth_from_url

from core.http import ResilientSession
from core.http.origin import origin_of

_with_token: ContextVar[bool] = ContextVar("with_token", default=False)


@contextmanager
def sending(token: str) -> Iterator[None]:
    """Let `asking_with_token` say inside, in this thread or task, whether there is a `token`."""
    before = _with_token.set(bool(token))
    try:
        yield
    finally:
        _with_token.reset(before)


def asking_with_token() -> bool:
    """Say whether the call that is under way has a token.

    `Policy.classify` is not given the request, and the same 401 means one thing with a token and another without.
    """
    return _with_token.get()


class ApiSession(ResilientSession):
    """A session for servers that know us by a token: a netrc of the machine's has no say, on redirects either."""

    def rebuild_auth(self, prepared_request: requests.PreparedRequest, response: requests.Response) -> None:
        if self.should_strip_auth(str(response.request.url), str(prepared_request.url)):
            prepared_request.headers.pop("Authorization", None)


class Credentials(AuthBase):
    """Gives a token, or the password in its address, to the server that it is for, and to no other."""

    def __init__(self, token: str, api: str) -> None:
        self._token = token
        self._api = api

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if not same_origin(str(request.url), self._api):
            return request
        user, password = get_auth_from_url(self._api)
        if self._token:
            request.headers["Authorization"] = f"Bearer {self._token}"
        elif user or password:
            return HTTPBasicAuth(user, password)(request)
        return request


def same_origin(one: str, other: str) -> bool:
    """Say whether two addresses are on the same server."""
    try:
        return origin_of(one) == origin_of(other)
    except ValueError:
        return False
