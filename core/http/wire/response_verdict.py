"""Asks `Policy.classify` what an upstream means by an answer."""

from __future__ import annotations

import requests

from ..log import logger
from ..verdict import MOST_BODY_BYTES, Classify, Verdict


def of(response: requests.Response, classify: Classify, stream: bool) -> Verdict | None:
    """Return the verdict; None where there is none, or `classify` failed."""
    body = None if stream and not response.is_redirect else response.content[:MOST_BODY_BYTES]
    try:
        verdict = classify(response.status_code, response.headers, body)
    except Exception as exc:  # noqa: BLE001 - it is the site's, and calls go on without it
        logger.error("classify %s failed on HTTP %s: %s", _name(classify), response.status_code, type(exc).__name__)
        return None
    if verdict is None or isinstance(verdict, Verdict):
        return verdict
    logger.error("classify %s must return a Verdict or None, not %s", _name(classify), type(verdict).__name__)
    return None


def _name(classify: Classify) -> str:
    return f"{getattr(classify, '__module__', '')}.{getattr(classify, '__qualname__', type(classify).__name__)}"
