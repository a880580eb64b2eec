"""ResilientResponse: `requests.Response` for answers that nobody vouches for."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from typing import Any

import requests

from ..outcome import Attempt
from . import redaction, response_body


class ResilientResponse(requests.Response):
    """A `requests.Response` of which only `requests.RequestException` comes, and no secret in its text."""

    max_bytes: int | None = None
    """Limit of `content`, decoded."""

    attempts: tuple[Attempt, ...] = ()
    """What it took: every attempt of the call, those of its redirects included."""

    _failure: requests.RequestException | None = None

    @property
    def content(self) -> bytes:
        if self._failure is not None:  # what was read of the body is gone, and b"" would be a lie
            raise self._failure
        try:
            response_body.read(self, self.max_bytes)
        except requests.RequestException as exc:
            self._failure = exc
            raise
        return super().content

    def iter_content(self, chunk_size: int | None = 1, decode_unicode: bool = False) -> Iterator[Any]:
        chunks = super().iter_content(chunk_size)
        return _decoded(chunks, self.encoding) if decode_unicode and self.encoding else chunks

    @property
    def text(self) -> str:
        try:
            return super().text
        except ValueError:  # a charset that is none for text, or names something with a NUL in it
            return str(self.content, errors="replace")

    def json(self, **kwargs: Any) -> Any:
        try:
            return super().json(**kwargs)
        except requests.RequestException:
            raise
        except (ValueError, RecursionError) as exc:  # nested too deeply, or a number of 5,000 digits
            raise requests.exceptions.JSONDecodeError(str(exc), "", 0) from None

    def raise_for_status(self) -> None:
        try:
            super().raise_for_status()
        except requests.HTTPError as exc:
            redaction.error(exc, redaction.secrets_of(self.url))
            exc.attempts = self.attempts  # type: ignore[attr-defined]  # requests does not know it
            raise


def _decoded(chunks: Iterator[bytes], encoding: str) -> Iterator[str]:
    """Decode as requests does; as UTF-8 from where the charset turns out to be none for text."""
    fallback = codecs.getincrementaldecoder("utf-8")("replace")
    try:
        b"x".decode(encoding, "replace")  # refuses what does not make text of bytes, such as hex
        decoder = codecs.getincrementaldecoder(encoding)("replace")
    except (LookupError, ValueError):
        decoder = fallback
    for chunk in chunks:
        try:
            text = decoder.decode(chunk)
        except ValueError:
            decoder = fallback
            text = decoder.decode(chunk)
        if text:
            yield text
    if text := decoder.decode(b"", final=True):
        yield text
