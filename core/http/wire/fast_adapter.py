"""Builds request URLs and responses as the adapter of requests does, but faster if no proxy or cookie is used.

If other code has replaced a function of requests, the code of requests is used instead.
"""

from __future__ import annotations

from typing import Any

import requests
import requests.adapters
import urllib3
from requests.adapters import HTTPAdapter
from requests.structures import CaseInsensitiveDict
from requests.utils import get_encoding_from_headers
from urllib3 import PoolManager

from . import compat
from .cookie_jar import sets_cookies
from .requests_response import ResilientResponse, made_resilient
from .urllib3_response import CheckedBody


class FastAdapter(HTTPAdapter):
    """An `HTTPAdapter` whose responses are instances of `ResilientResponse`."""

    def request_url(self, request: requests.PreparedRequest, proxies: Any) -> str:
        if proxies or is_patched():
            return super().request_url(request, proxies)
        return request.path_url

    def build_response(self, req: requests.PreparedRequest, resp: Any) -> requests.Response:
        if (
            type(resp) is not urllib3.HTTPResponse
            or type(req.url) is not str
            or sets_cookies(resp.headers)
            or is_patched()
        ):
            return made_resilient(super().build_response(req, resp))
        response = ResilientResponse()
        response.status_code = resp.status
        response.headers = CaseInsensitiveDict(resp.headers.itermerged())
        response.encoding = get_encoding_from_headers(response.headers)
        response.raw = compat.become(resp, CheckedBody)
        response.reason = resp.reason  # type: ignore[assignment]  # it may be None
        response.url = req.url
        response.request = req
        response.connection = self
        return response


def is_patched() -> bool:
    """Return whether other code has replaced a function of requests or urllib3 that this package does not call."""
    return _parts() != _ORIGINAL


def _parts() -> tuple[object, ...]:
    adapters: Any = requests.adapters
    return (
        *(HTTPAdapter.get_connection_with_tls_context, HTTPAdapter.build_connection_pool_key_attributes),
        *(HTTPAdapter.request_url, HTTPAdapter.build_response),
        *(adapters.select_proxy, adapters.Response, adapters.CaseInsensitiveDict),
        *(adapters.get_encoding_from_headers, adapters.extract_cookies_to_jar),
        *(PoolManager.connection_from_host, PoolManager.connection_from_context),
    )


_ORIGINAL = _parts()
