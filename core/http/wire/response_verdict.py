"""Asks `Policy.classify` what an upstream means by an answer."""

from __future__ import annotations

from collections.abc import Mapping

import requests

from ..log import logger
from ..verdict import MOST_BODY_BYTES, Classify, Verdict


def of(classify: Classify, status: int, headers: Mapping[str, str], body: bytes | None) -> Verdict | None:
    """Return the verdict; None where there is none, or `classify` failed. `body`: None where it was not read."""
    try:
        verdict = classify(status, headers, None if body is None else body[:MOST_BODY_BYTES])
    except Exception as exc:  # noqa: BLE001 - it is the site's, and calls go on without it
        logger.error("classify %s failed on HTTP %s: %s", _name(classify), status, type(exc).__name__)
        return None
    if verdict is None or isinstance(verdict, Verdict):
        return verdict
    logger.error("classify %s must return a Verdict or None, not %s", _name(classify), type(verdict).__name__)
    return None


def of_requests(classify: Classify | None, response: requests.Response, *, stream: bool) -> Verdict | None:
    """Return the verdict on a response of requests, whose body was read unless `stream`; redirects' always are."""
    if classify is None:
        return None
    body = None if stream and not response.is_redirect else response.content
    return of(classify, response.status_code, response.headers, body)


def _name(classify: Classify) -> str:
    return f"{getattr(classify, '__module__', '')}.{getattr(classify, '__qualname__', type(classify).__name__)}"
