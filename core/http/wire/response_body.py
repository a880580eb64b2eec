"""Reads response bodies up to their limit."""

from __future__ import annotations

import io
from collections.abc import Iterator

import requests
import urllib3.exceptions
from requests.exceptions import ChunkedEncodingError, ContentDecodingError

from .. import response_size_limits
from . import attempt_context, compat, unexpected_errors
from .requests_exceptions import ResponseTooLarge
from .urllib3_response import CheckedBody, EncodedBodyTooLargeError

_CHUNK = 64 * 1024
_AT_ONCE = 2**20
"""Maximum number of bytes of a body that is read with one call, for which the memory is allocated beforehand."""


def read(response: requests.Response, limit: int | None) -> None:
    """Read the whole body into `response.content`.

    :raises ResponseTooLarge: if the decoded body has more than `limit` bytes.
    """
    if not compat.is_unread(response) or response.raw is None or response.status_code == 0:
        return  # the body was read before, or the response is a mock without a body (requests has the same condition)
    try:
        content = _read(response, limit)
    except BaseException:
        response.close()  # otherwise the response would hold its connection for as long as the caller keeps the error
        raise
    compat.set_content(response, content)


def _read(response: requests.Response, limit: int | None) -> bytes:
    raw, at_once = response.raw, 0
    if isinstance(raw, CheckedBody):
        raw.most_bytes = limit
        length = raw.length_remaining or 0
        if length <= (_AT_ONCE if limit is None else min(limit, _AT_ONCE)) and "Content-Encoding" not in raw.headers:
            at_once = length
    content = io.BytesIO()  # not a list: a server may send 1-byte chunks, at 50 bytes each
    attempt = attempt_context.current()
    for chunk in response.iter_content(at_once or _CHUNK):
        if attempt is not None:
            attempt.left()  # decoding takes time too
        content.write(chunk)
        if limit is not None and content.tell() > limit:
            content.close()  # otherwise the traceback of the error would keep the content in memory
            raise too_large(response, limit)
    return content.getvalue()


def too_large(response: requests.Response, limit: int | None) -> ResponseTooLarge:
    """Return the error for a body of more than `limit` bytes."""
    return ResponseTooLarge(
        f"The body is larger than max_response_bytes={limit}", request=response.request, response=response
    )


def whole(chunks: Iterator[bytes], response: requests.Response) -> Iterator[bytes]:
    """Yield the chunks. Raises an error of requests if `response.raw` is truncated or cannot be read."""
    try:
        yield from chunks
        if compat.is_cut_short(response.raw):
            raise ChunkedEncodingError("The compressed body is truncated", request=response.request)  # noqa: TRY301 - one place translates
    except requests.RequestException as exc:  # before urllib3's classes, because some are subclasses of both
        exc.request = exc.request or response.request
        raise
    except EncodedBodyTooLargeError as exc:
        raise too_large(response, getattr(response.raw, "most_bytes", None)) from exc
    except urllib3.exceptions.DecodeError as exc:
        raise ContentDecodingError(exc, request=response.request) from exc
    except Exception as exc:
        if not unexpected_errors.is_of_library(exc):
            raise
        raise ChunkedEncodingError(exc, request=response.request) from exc


def keep(response: requests.Response, limit: int | None) -> None:
    """Read the body of a response before a retry, for at most one second, and close the response.

    The call returns this response if no retry is sent after all. If the body could not be read within a second, it is
    lost. (Without ``stream=True``, the body has been read already.)
    """
    try:
        with attempt_context.AttemptContext(1.0):
            read(response, limit)
    except (requests.RequestException, TimeoutError, urllib3.exceptions.HTTPError):
        pass
    finally:
        response.close()


def read_of_redirect(response: requests.Response, limit: int | None) -> None:
    """Read the body of a redirect. An invalid or too large body becomes b"", because only the Location matters."""
    try:
        read(response, response_size_limits.of_redirect(limit))
    except (ChunkedEncodingError, ContentDecodingError, ResponseTooLarge):
        response.close()
        compat.set_content(response, b"")
