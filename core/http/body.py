"""Bodies: whether a request's can be sent again, and reading a response's within its limit."""

from __future__ import annotations

from typing import Any

import requests
from requests.exceptions import ChunkedEncodingError, ContentDecodingError

from core.http import dial
from core.http.errors import ResponseTooLarge

_CHUNK = 64 * 1024


def replayable(request: requests.PreparedRequest) -> bool:
    """Say whether the body can be sent again: bytes, text, nothing, or a file that seeks."""
    body = request.body
    if body is None or isinstance(body, str | bytes):
        return True
    seekable = getattr(body, "seekable", None)
    # requests notes where a file stood, as a number, when it prepares the request.
    return isinstance(request._body_position, int) and (seekable is None or bool(seekable()))  # noqa: SLF001


def read(response: requests.Response, limit: int | None) -> None:
    """Read the whole body into `response.content`. Raises `ResponseTooLarge` beyond `limit` bytes, decoded."""
    if response._content is not False or response.raw is None:  # noqa: SLF001 - read already, or a mock without one
        return
    chunks, size = [], 0
    attempt = dial.current()
    for chunk in response.iter_content(_CHUNK):
        if attempt is not None:
            attempt.left()  # decoding takes time too
        chunks.append(chunk)
        size += len(chunk)
        if limit is not None and size > limit:
            response.close()
            raise ResponseTooLarge(
                f"The body is larger than max_response_bytes={limit}", request=response.request, response=response
            )
    if _cut_short(response.raw):
        raise ChunkedEncodingError("The compressed body ends in the middle", request=response.request)
    response._content = b"".join(chunks)  # noqa: SLF001 - what Response.content would do, with a limit


def _cut_short(raw: Any) -> bool:
    """Say whether a gzip or deflate stream lacks its end, which urllib3 takes no notice of."""
    decompressor = getattr(getattr(raw, "_decoder", None), "_obj", None)
    return getattr(decompressor, "eof", True) is False and raw.tell() > 0


def read_of_redirect(response: requests.Response, limit: int | None) -> None:
    """Read the body of a redirect. Only its Location counts, so a body that is broken or too large is dropped."""
    try:
        read(response, limit)
    except (ChunkedEncodingError, ContentDecodingError, ResponseTooLarge):
        response.close()
        response._content = b""  # noqa: SLF001 - as above
        response._content_consumed = True  # noqa: SLF001 - as above
