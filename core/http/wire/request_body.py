"""Checks whether a request body can be sent again."""

from __future__ import annotations

import requests

from . import compat


def replayable(request: requests.PreparedRequest) -> bool:
    """Return whether the body can be sent again: bytes, text, no body, or a seekable file."""
    body = request.body
    if body is None or isinstance(body, str | bytes):
        return True
    seekable = getattr(body, "seekable", None)
    return compat.file_position(request) is not None and (seekable is None or bool(seekable()))
