"""Credentials for a server: a token, or the password in the address of its API. No other server receives them."""

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
    """Set the result of `asking_with_token` during the block, for this thread or task: whether `token` is not empty."""
    before = _with_token.set(bool(token))
    try:
        yield
    finally:
        _with_token.reset(before)


def asking_with_token() -> bool:
    """Return whether the request of the current call has a token.

    Functions for `Policy.classify` need this: they do not receive the request, and status 401 means different things
    with and without a token.
    """
    return _with_token.get()


class ApiSession(ResilientSession):
    """A session that uses no credentials from a netrc file, not even for redirects."""

    def rebuild_auth(self, prepared_request: requests.PreparedRequest, response: requests.Response) -> None:
        if self.should_strip_auth(str(response.request.url), str(prepared_request.url)):
            prepared_request.headers.pop("Authorization", None)


class Credentials(AuthBase):
    """Adds the token, or the password in the address of the API, to requests to the server of that API."""

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
    """Return whether two addresses have the same origin."""
    try:
        return origin_of(one) == origin_of(other)
    except ValueError:
        return False
