"""Masks the URLs in log lines of httpx, which logs each response at INFO, with the whole query."""

from __future__ import annotations

import logging
from typing import Any

from ..wire import redaction
from . import client_call


def install(httpx: Any) -> None:
    """Mask possible secrets in log lines of `httpx` about calls of resilient clients."""
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
