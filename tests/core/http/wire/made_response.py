"""A response that requests made of given bytes."""

from __future__ import annotations

from typing import Any

import requests

from core.http.wire import compat, requests_response


def response(content: bytes, content_type: str | None = "text/plain", chardet: str | None = None) -> Any:
    """Return a response whose body has been read."""
    made = requests.Response()
    if content_type:
        made.headers["Content-Type"] = content_type
    made.encoding = requests.utils.get_encoding_from_headers(made.headers)
    made.status_code = 200
    compat.set_content(made, content)
    return requests_response.made_resilient(made)
