"""The short cuts of the adapter are not taken if other code has replaced functions of requests."""

from __future__ import annotations

from typing import Any
from unittest import mock

import requests
from requests.adapters import HTTPAdapter

from core.http import ResilientSession
from tests.core.http.conftest import Serve
from tests.core.http.misbehave import reply


def test_a_replaced_request_url_is_called(serve: Serve, session: ResilientSession) -> None:
    """A tool that replaces `HTTPAdapter.request_url` chooses the target of each request."""
    server = serve(reply(200))
    with mock.patch.object(HTTPAdapter, "request_url", return_value="/replaced"):
        assert session.get(f"{server.url}/path").ok
    assert server.requests[0].startswith(b"GET /replaced HTTP/1.1\r\n")


def test_a_replaced_build_response_is_called(serve: Serve, session: ResilientSession) -> None:
    """A tool that replaces `HTTPAdapter.build_response` may change each response."""
    original = HTTPAdapter.build_response

    def build(adapter: HTTPAdapter, *args: Any) -> requests.Response:
        response = original(adapter, *args)
        response.headers["X-Tool"] = "seen"
        return response

    with mock.patch.object(HTTPAdapter, "build_response", build):
        response = session.get(serve(reply(200)).url)
    assert response.headers["X-Tool"] == "seen"
    assert response.attempts  # type: ignore[attr-defined]  # requests does not know it
