"""Responses as `ResilientResponse`: the text of JSON documents, and the bodies of responses that requests built."""

from __future__ import annotations

import gzip
import io
import json
from typing import Any

import pytest
import requests
import urllib3

from core.http.wire import text_decoder
from core.http.wire.requests_response import ResilientResponse, made_resilient
from core.http.wire.urllib3_response import CheckedBody
from tests.core.http.wire.made_response import response

DOCUMENT = {"name": "naïve", "numbers": [1, 2, 3]}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le"])
def test_json_is_decoded_by_its_first_bytes(encoding: str) -> None:
    """Without a charset in the headers, JSON is UTF-8, UTF-16 or UTF-32, and its first bytes say which."""
    content = json.dumps(DOCUMENT, ensure_ascii=False).encode(encoding)
    assert response(content, None).json() == DOCUMENT


@pytest.mark.parametrize(
    ("content", "value"), [(b"1", 1), (b"[]", []), (b"1\0\0\0", 1), (b"\0\0\0001", 1), (b"1\x002\0", 12)]
)
def test_the_shortest_documents(content: bytes, value: Any) -> None:
    """Four bytes are enough to tell the encoding; fewer are UTF-8."""
    assert response(content, None).json() == value


def test_a_charset_in_the_headers_counts_more_than_the_first_bytes() -> None:
    """JSON with a charset in the headers is decoded with it, as in requests, even if it is valid UTF-8 too."""
    content = '["é"]'.encode()
    assert response(content, "application/json; charset=iso-8859-1").json() == ["Ã©"]


def test_text_whose_charset_cannot_be_guessed_is_utf_8(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in requests, invalid bytes are replaced, and no error is raised."""
    monkeypatch.setattr(text_decoder, "guess", lambda _: None)
    assert response("naïve".encode() + b"\xff", None).text == "naïve\ufffd"


@pytest.mark.parametrize("content", [b"", b"\0\0\0\0\0", b"{\0\0\0\0\0"])
def test_what_is_no_json_fails_as_with_requests(content: bytes) -> None:
    """Bytes of no encoding that JSON allows raise requests' error, not one of a codec."""
    with pytest.raises(requests.exceptions.JSONDecodeError):
        response(content, None).json()


def built(raw: Any) -> requests.Response:
    """Return a response as requests builds it, with a compressed body."""
    made = requests.Response()
    made.status_code, made.raw = 200, raw
    made.headers["Content-Encoding"] = "gzip"
    return made


def compressed(body: bytes) -> urllib3.HTTPResponse:
    return urllib3.HTTPResponse(
        io.BytesIO(gzip.compress(body)), {"Content-Encoding": "gzip"}, 200, preload_content=False
    )


def test_what_requests_built_is_checked_too() -> None:
    """Its `raw` raises an error for a truncated body, like that of any other response."""
    made = made_resilient(built(compressed(b"body")))
    assert (type(made), type(made.raw)) == (ResilientResponse, CheckedBody)


def test_the_raw_of_a_mock_stays() -> None:
    """A test tool's own class for `raw` is not changed."""

    class Recorded(urllib3.HTTPResponse):
        pass

    raw = Recorded(io.BytesIO(b"body"), preload_content=False)
    assert type(made_resilient(built(raw)).raw) is Recorded


@pytest.mark.parametrize("size", [10**7, None, -1])
def test_compressed_bodies_are_decompressed_piece_by_piece(size: Any) -> None:
    """However large the chunks that the caller asks for, no chunk of a bomb takes more than 64 KiB."""
    made = made_resilient(built(compressed(bytes(10**6))))
    chunks = list(made.iter_content(size))
    assert sum(map(len, chunks)) == 10**6
    assert max(map(len, chunks)) <= 64 * 1024


def test_chunks_of_an_uncompressed_body_are_as_large_as_requested() -> None:
    """Callers such as multipart uploads depend on the size: only the chunks of compressed bodies are smaller."""
    made = requests.Response()
    made.status_code, made.raw = 200, urllib3.HTTPResponse(io.BytesIO(bytes(10**6)), preload_content=False)
    assert [len(chunk) for chunk in made_resilient(made).iter_content(500_000)] == [500_000, 500_000]


def test_small_chunks_stay_small() -> None:
    """A chunk size below the limit is the caller's."""
    made = made_resilient(built(compressed(b"0123456789")))
    assert list(made.iter_content(4)) == [b"0123", b"4567", b"89"]
