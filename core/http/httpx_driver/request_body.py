"""Checks whether a request body can be sent again."""

from __future__ import annotations

from typing import Any

from . import compat


def replayable(httpx: Any, request: Any) -> bool:
    """Return whether the body of `request` can be sent again: bytes, a form, or seekable files."""
    stream = request.stream
    if isinstance(stream, httpx.ByteStream) or compat.has_request_content(request):
        return True
    fields = getattr(stream, "fields", None)  # a form with files, which httpx encodes again for each request
    if not isinstance(fields, list):
        return False
    files = (getattr(field, "file", b"") for field in fields)
    return all(isinstance(file, str | bytes) or _seeks(file) for file in files)


def _seeks(file: Any) -> bool:
    seekable = getattr(file, "seekable", None)
    return hasattr(file, "seek") and (seekable is None or bool(seekable()))
