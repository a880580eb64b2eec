"""What requests' adapter does for each call, without what is for proxies and cookies where there are none.

Where somebody has replaced a function of requests, requests does it all.
"""

from __future__ import annotations

from typing import Any

import requests
import requests.adapters
import urllib3
from requests.adapters import HTTPAdapter
from requests.structures import CaseInsensitiveDict
from requests.utils import get_encoding_from_headers

from . import compat
from .checked_body import CheckedBody
from .cookie_jar import sets_cookies
from .requests_response import ResilientResponse, made_resilient


class PlainAdapter(HTTPAdapter):
    """An `HTTPAdapter` whose responses are `ResilientResponse`."""

    def get_connection_with_tls_context(
        self, request: requests.PreparedRequest, verify: Any, proxies: Any = None, cert: Any = None
    ) -> Any:
        if proxies or _parts() != _ORIGINAL:
            return super().get_connection_with_tls_context(request, verify, proxies, cert)
        try:
            host, pool = self.build_connection_pool_key_attributes(request, verify, cert)
        except ValueError as exc:
            raise requests.exceptions.InvalidURL(exc, request=request) from exc
        return self.poolmanager.connection_from_host(**host, pool_kwargs=pool)

    def request_url(self, request: requests.PreparedRequest, proxies: Any) -> str:
        if proxies or _parts() != _ORIGINAL:
            return super().request_url(request, proxies)
        return request.path_url

    def build_response(self, req: requests.PreparedRequest, resp: Any) -> requests.Response:
        if (
            type(resp) is not urllib3.HTTPResponse
            or type(req.url) is not str
            or sets_cookies(resp.headers)
            or _parts() != _ORIGINAL
        ):
            return made_resilient(super().build_response(req, resp))
        response = ResilientResponse()
        response.status_code = resp.status
        response.headers = CaseInsensitiveDict(resp.headers.itermerged())
        response.encoding = get_encoding_from_headers(response.headers)
        response.raw = compat.become(resp, CheckedBody)
        response.reason = resp.reason  # type: ignore[assignment]  # there may be none
        response.url = req.url
        response.request = req
        response.connection = self
        return response


def _parts() -> tuple[object, ...]:
    adapters: Any = requests.adapters
    return (
        *(HTTPAdapter.get_connection_with_tls_context, HTTPAdapter.request_url, HTTPAdapter.build_response),
        *(adapters.select_proxy, adapters.Response, adapters.CaseInsensitiveDict),
        *(adapters.get_encoding_from_headers, adapters.extract_cookies_to_jar),
    )


_ORIGINAL = _parts()
