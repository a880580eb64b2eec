"""The pytest plugin that puts the resilient clients in the place of those of httpx, before a suite imports them.

`httpx.get` and the other functions make a client for each call, and so does the command `httpx`.
"""

from __future__ import annotations

import httpx

from core.http.httpx import AsyncResilientClient, ResilientClient
from core.http.httpx_driver import client_call

_REPLACED = {"Client": ResilientClient, "AsyncClient": AsyncResilientClient}


def pytest_configure() -> None:
    httpx.AsyncClient = httpx._client.AsyncClient = AsyncResilientClient
    for module in (httpx, httpx._client, httpx._api, httpx._main):
        module.Client = ResilientClient
    _show_what_sends(ResilientClient, httpx.HTTPTransport)
    _show_what_sends(AsyncResilientClient, httpx.AsyncHTTPTransport)


def pytest_make_parametrize_id(val: object) -> str | None:
    """Name a test that has a class for a parameter as in the plain run."""
    return next((name for name, kind in _REPLACED.items() if kind is val), None)


def _show_what_sends(client: type, plain: type) -> None:
    """Show the tests the inner transport, because those of proxies check its class and its pool."""
    inner = client._transport_for_url

    def transport_for_url(self: object, url: httpx.URL) -> object:
        found = inner(self, url)
        if found is self._transport or client_call.current() is not None:
            return found
        return found.given or plain(**found.options)

    client._transport_for_url = transport_for_url
