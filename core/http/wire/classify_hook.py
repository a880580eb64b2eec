"""Calls `Policy.classify` to get the verdict on a response."""

from __future__ import annotations

from collections.abc import Mapping

import requests

from ..log import logger
from ..verdict import MOST_BODY_BYTES, Classify, Verdict


def of(classify: Classify, status: int, headers: Mapping[str, str], body: bytes | None) -> Verdict | None:
    """Return the verdict of `classify`; None if it returned None or failed. `body` is None if it was not read."""
    try:
        verdict = classify(status, headers, None if body is None else body[:MOST_BODY_BYTES])
    except Exception as exc:  # noqa: BLE001 - an error in the site's function must not fail the call
        text = "classify %s failed for HTTP %s: %s. The response's status and headers decide whether to retry"
        logger.error(text, _name(classify), status, type(exc).__name__)
        return None
    if verdict is None or isinstance(verdict, Verdict):
        return verdict
    text = "classify %s returned %s, not a Verdict or None. The response's status and headers decide whether to retry"
    logger.error(text, _name(classify), type(verdict).__name__)
    return None


def of_requests(classify: Classify | None, response: requests.Response, *, stream: bool) -> Verdict | None:
    """Return the verdict on a response of requests. Its body must have been read, unless `stream` is True."""
    if classify is None:
        return None
    body = None if stream and not response.is_redirect else response.content
    return of(classify, response.status_code, response.headers, body)


def _name(classify: Classify) -> str:
    return f"{getattr(classify, '__module__', '')}.{getattr(classify, '__qualname__', type(classify).__name__)}"
