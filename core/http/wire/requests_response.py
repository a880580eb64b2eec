"""ResilientResponse: a `requests.Response` that limits the time and memory that a server can make the client use."""

from __future__ import annotations

from collections.abc import Iterator
from types import TracebackType
from typing import Any

import requests
from requests.compat import json as json_parser  # type: ignore[attr-defined]  # json or simplejson
from requests.utils import get_encoding_from_headers, guess_json_utf, stream_decode_response_unicode
from urllib3.response import HTTPResponse

from ..outcome import Attempt
from . import compat, json_nodes, line_splitter, redaction, response_body, text_decoder
from .requests_exceptions import ResponseTooLarge
from .urllib3_response import CheckedBody

_COMPRESSED_CHUNK = 64 * 1024
"""Maximum number of bytes that are decompressed at once. The time grows with its square: see `iter_content`."""


class ResilientResponse(requests.Response):
    """A `requests.Response` that raises only `requests.RequestException`, without secrets in its text.

    The time to read the response is proportional to its length, whatever charset, lines or JSON the server sends.
    """

    max_bytes: int | None = None
    """Maximum number of bytes of the decoded `content`, and of one line; None: no limit."""

    max_json_nodes: int | None = None
    """Maximum number of nodes of a document that `json` parses; None: no limit."""

    attempts: tuple[Attempt, ...] = ()
    """All attempts of the call, including those of its redirects."""

    _failure: requests.RequestException | None = None

    @property
    def content(self) -> bytes:
        self._raise_earlier_failure()
        try:
            response_body.read(self, self.max_bytes)
        except requests.RequestException as exc:
            self._failure = exc
            raise
        return super().content

    def iter_content(self, chunk_size: int | None = 1, decode_unicode: bool = False) -> Iterator[Any]:
        """Yield chunks as requests does. Chunks of a compressed body have at most 64 KiB, whatever `chunk_size` is.

        (gzip data may have a member every 20 bytes, and for each member zlib copies the rest of the input.)
        """
        self._raise_earlier_failure()
        if compat.is_consumed(self):
            chunks = super().iter_content(chunk_size)
        else:
            chunks = super().iter_content(self._bounded(chunk_size))
            chunks = self._recording_failures(response_body.whole(chunks, self))
        if not (decode_unicode and self.encoding):
            return chunks
        if self._is_encoded_as_the_server_says:
            return text_decoder.decode_chunks(chunks, self.encoding)
        return stream_decode_response_unicode(chunks, self)

    def iter_lines(
        self, chunk_size: int = requests.models.ITER_CHUNK_SIZE, decode_unicode: bool = False, delimiter: Any = None
    ) -> Iterator[Any]:
        """Yield lines as requests does, but in linear time.

        :raises ResponseTooLarge: if a line is longer than `max_bytes`.
        """
        too_long = ResponseTooLarge(
            f"A line is longer than max_response_bytes={self.max_bytes}", request=self.request, response=self
        )
        too_long.attempts = self.attempts
        chunks = self.iter_content(chunk_size, decode_unicode)
        yield from line_splitter.split(chunks, delimiter, self.max_bytes, too_long)

    @property
    def apparent_encoding(self) -> str | None:
        return text_decoder.guess(self.content)

    @property
    def text(self) -> str:
        if not self.content:
            return ""
        encoding = self.encoding
        if encoding is None:
            encoding = self.apparent_encoding or "utf_8"
        elif not self._is_encoded_as_the_server_says:
            return super().text
        return text_decoder.decode(self.content, encoding)

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
        except (ValueError, RecursionError) as exc:  # too deep nesting, or a number with too many digits
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
                    pass  # not in an encoding that JSON allows, so `text` guesses
        return self.text

    def raise_for_status(self) -> None:
        try:
            super().raise_for_status()
        except requests.HTTPError as exc:
            redaction.error(exc, redaction.secrets_of(self.url))
            exc.attempts = self.attempts  # type: ignore[attr-defined]  # requests does not declare it
            raise

    @property
    def _is_encoded_as_the_server_says(self) -> bool:
        """Whether `encoding` is from the headers. An `encoding` that the caller has set is used even if it is slow."""
        return self.encoding == get_encoding_from_headers(self.headers)

    def _raise_earlier_failure(self) -> None:
        if self._failure is not None and compat.is_unread(self):  # b"" would be wrong, because the body was lost
            raise self._failure

    def _bounded(self, chunk_size: int | None) -> int | None:
        if "Content-Encoding" not in self.headers or not isinstance(chunk_size, int | None):
            return chunk_size
        if chunk_size is None or chunk_size < 0:
            return _COMPRESSED_CHUNK
        return min(chunk_size, _COMPRESSED_CHUNK)

    def _recording_failures(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        try:
            yield from chunks
        except requests.RequestException as exc:
            self._failure = exc
            exc.attempts = self.attempts  # type: ignore[attr-defined]  # requests does not declare it
            raise


def made_resilient(response: requests.Response) -> ResilientResponse:
    """Turn a response that requests built into a `ResilientResponse`, and its `raw` into a `CheckedBody`."""
    if type(response.raw) is HTTPResponse:
        compat.become(response.raw, CheckedBody)
    return compat.become(response, ResilientResponse)


def _is_of_parser(traceback: TracebackType | None) -> bool:
    """Return whether the JSON parser raised the error, and not a function that the caller passed to the parser."""
    innermost = ""
    while traceback is not None:
        innermost = traceback.tb_frame.f_globals.get("__name__", "")
        traceback = traceback.tb_next
    return innermost.partition(".")[0] == str(json_parser.__name__)
