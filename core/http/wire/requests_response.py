"""ResilientResponse: `requests.Response` for answers that nobody vouches for."""

from __future__ import annotations

from collections.abc import Iterator
from types import TracebackType
from typing import Any

import requests
from requests.compat import json as json_parser  # type: ignore[attr-defined]  # json or simplejson
from requests.utils import get_encoding_from_headers, guess_json_utf, stream_decode_response_unicode
from urllib3.response import HTTPResponse

from ..outcome import Attempt
from . import charsets, compat, json_nodes, line_splitter, redaction, response_body
from .checked_body import CheckedBody
from .requests_exceptions import ResponseTooLarge

_COMPRESSED_CHUNK = 64 * 1024
"""Bytes that are decompressed at a time. More would take time that grows with their square: see `iter_content`."""


class ResilientResponse(requests.Response):
    """A `requests.Response` of which only `requests.RequestException` comes, and no secret in its text.

    What the server chose (charset, lines, nesting, nodes) costs it no more than work that is linear in what it sent.
    """

    max_bytes: int | None = None
    """Limit of `content`, decoded, and of a line."""

    max_json_nodes: int | None = None
    """Limit of what `json` may build."""

    attempts: tuple[Attempt, ...] = ()
    """What it took: every attempt of the call, those of its redirects included."""

    _failure: requests.RequestException | None = None

    @property
    def content(self) -> bytes:
        self._refuse_what_is_left()
        try:
            response_body.read(self, self.max_bytes)
        except requests.RequestException as exc:
            self._failure = exc
            raise
        return super().content

    def iter_content(self, chunk_size: int | None = 1, decode_unicode: bool = False) -> Iterator[Any]:
        """As in requests. Chunks of a compressed body have 64 KiB at most, whatever `chunk_size` is.

        (gzip may have a member every 20 bytes, and zlib copies all that follows at each.)
        """
        self._refuse_what_is_left()
        if compat.is_consumed(self):
            chunks = super().iter_content(chunk_size)
        else:
            chunks = super().iter_content(self._bounded(chunk_size))
            chunks = self._noting_failures(response_body.whole(chunks, self))
        if not (decode_unicode and self.encoding):
            return chunks
        if self._is_encoded_as_the_server_says:
            return charsets.decode_chunks(chunks, self.encoding)
        return stream_decode_response_unicode(chunks, self)

    def iter_lines(
        self, chunk_size: int = requests.models.ITER_CHUNK_SIZE, decode_unicode: bool = False, delimiter: Any = None
    ) -> Iterator[Any]:
        """As in requests, in linear time. Raises `ResponseTooLarge` for a line longer than the limit of a body."""
        too_long = ResponseTooLarge(
            f"A line is longer than max_response_bytes={self.max_bytes}", request=self.request, response=self
        )
        chunks = self.iter_content(chunk_size, decode_unicode)
        yield from line_splitter.split(chunks, delimiter, self.max_bytes, too_long)

    @property
    def apparent_encoding(self) -> str | None:
        return charsets.guess(self.content)

    @property
    def text(self) -> str:
        if not self.content:
            return ""
        encoding = self.encoding
        if encoding is None:
            encoding = self.apparent_encoding or "utf_8"
        elif not self._is_encoded_as_the_server_says:
            return super().text
        return charsets.decode(self.content, encoding)

    def json(self, **kwargs: Any) -> Any:
        text = self._json_text()
        if self.max_json_nodes is not None and json_nodes.more_than(self.max_json_nodes, text):
            error = ResponseTooLarge(
                f"The JSON document has more than max_json_nodes={self.max_json_nodes} nodes",
                request=self.request,
                response=self,
            )
            error.attempts = self.attempts
            raise error
        try:
            return json_parser.loads(text, **kwargs)
        except json_parser.JSONDecodeError as exc:
            raise requests.exceptions.JSONDecodeError(exc.msg, exc.doc, exc.pos) from None
        except (ValueError, RecursionError) as exc:  # nested too deeply, or a number of 5,000 digits
            if kwargs and not _is_of_parser(exc.__traceback__):
                raise
            raise requests.exceptions.JSONDecodeError(str(exc), "", 0) from None

    def _json_text(self) -> str:
        if not self.encoding and self.content and len(self.content) > 3:
            encoding = guess_json_utf(self.content)
            if encoding is not None:
                try:
                    return self.content.decode(encoding)
                except UnicodeDecodeError:
                    pass  # not in what JSON has to be in, so `text` guesses
        return self.text

    def raise_for_status(self) -> None:
        try:
            super().raise_for_status()
        except requests.HTTPError as exc:
            redaction.error(exc, redaction.secrets_of(self.url))
            exc.attempts = self.attempts  # type: ignore[attr-defined]  # requests does not know it
            raise

    @property
    def _is_encoded_as_the_server_says(self) -> bool:
        """`encoding` is from the headers. What the caller put there instead is the caller's, whatever it costs."""
        return self.encoding == get_encoding_from_headers(self.headers)

    def _refuse_what_is_left(self) -> None:
        if self._failure is not None and compat.is_unread(self):  # what was read is gone, and b"" would be a lie
            raise self._failure

    def _bounded(self, chunk_size: int | None) -> int | None:
        if "Content-Encoding" not in self.headers or not isinstance(chunk_size, int | None):
            return chunk_size
        if chunk_size is None or chunk_size < 0:
            return _COMPRESSED_CHUNK
        return min(chunk_size, _COMPRESSED_CHUNK)

    def _noting_failures(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        try:
            yield from chunks
        except requests.RequestException as exc:
            self._failure = exc
            raise


def made_resilient(response: requests.Response) -> ResilientResponse:
    """Make a response that requests built, and its `raw`, ours."""
    if type(response.raw) is HTTPResponse:
        compat.become(response.raw, CheckedBody)
    return compat.become(response, ResilientResponse)


def _is_of_parser(traceback: TracebackType | None) -> bool:
    """Say whether an error was raised by the parser itself, and by none of the functions that it was given."""
    innermost = ""
    while traceback is not None:
        innermost = traceback.tb_frame.f_globals.get("__name__", "")
        traceback = traceback.tb_next
    return innermost.partition(".")[0] == str(json_parser.__name__)
