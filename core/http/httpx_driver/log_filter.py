"""Masks the URLs in httpx's own log line: it has one for each answer, at INFO, with the whole query."""

from __future__ import annotations

import logging
from typing import Any

from ..wire import redaction
from . import client_call


def install(httpx: Any) -> None:
    """Mask what may be secret in the lines of the logger of `httpx` that are about calls of our clients."""
    logging.getLogger(httpx.__name__).addFilter(_Masking(httpx.URL))


class _Masking(logging.Filter):
    def __init__(self, url: Any) -> None:
        super().__init__()
        self._url = url

    def filter(self, record: logging.LogRecord) -> bool:
        if client_call.current() is not None and isinstance(record.args, tuple):
            record.args = tuple(
                redaction.url(str(value)) if isinstance(value, self._url) else value for value in record.args
            )
        return True
