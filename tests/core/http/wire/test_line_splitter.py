"""`iter_lines` returns the lines of requests, without copying the pending text for each chunk."""

from __future__ import annotations

import io
from typing import Any

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from core.http import Policy, ResilientSession, ResponseTooLarge
from core.http.wire import compat, line_splitter
from tests.core.http.conftest import Serve
from tests.core.http.misbehave import Reply, reply
from tests.core.http.wire.made_response import response


@given(
    body=st.text(alphabet="ab\r\n|é\u2028", max_size=60),
    size=st.integers(1, 9),
    delimiter=st.sampled_from([None, "\n", "\r\n", "|", "||", "a|b", "aab"]),
    decode=st.booleans(),
)
def test_lines_are_those_of_requests(body: str, size: int, delimiter: str | None, decode: bool) -> None:
    """The lines equal those of requests for any delimiter and any chunks."""
    between: Any = delimiter if decode or delimiter is None else delimiter.encode()
    ours = response(body.encode(), "text/plain; charset=utf-8")
    plain = requests.Response()
    plain.encoding = "utf-8"
    compat.set_content(plain, body.encode())
    expected = list(plain.iter_lines(size, decode_unicode=decode, delimiter=between))
    assert list(ours.iter_lines(size, decode_unicode=decode, delimiter=between)) == expected


@pytest.mark.parametrize("chunks", [1_000, 2_000, 4_000])
@pytest.mark.parametrize("delimiter", [None, b"\r\n"])
def test_a_long_line_is_put_together_once(
    chunks: int, delimiter: bytes | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A long line is not copied for each chunk, unlike encode/httpx#2422 and boto/botocore#2774 (24 s for 10 MB)."""
    read: list[int] = []

    class Buffer(io.BytesIO):
        def getvalue(self) -> bytes:
            value = super().getvalue()
            read.append(len(value))
            return value

    monkeypatch.setattr(line_splitter.io, "BytesIO", Buffer)
    lines = list(line_splitter.split([b"a" * 10] * chunks, delimiter, None, ValueError()))
    assert lines == [b"a" * 10 * chunks]
    assert read == [10 * chunks]


@pytest.mark.parametrize("decode", [False, True])
def test_a_line_without_end_is_too_large(decode: bool, serve: Serve) -> None:
    """A line is limited like a body; the number of short lines is not."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n"
    server = serve(Reply(head, repeat=b"a" * 65536), reply(200, b"short\n" * 10_000, "Content-Type: text/plain"))
    with ResilientSession(Policy(retries=0, max_response_bytes=10_000)) as session:
        session.trust_env = False
        with (
            session.get(server.url, stream=True) as answer,
            pytest.raises(ResponseTooLarge, match="line is longer than max_response_bytes=10000"),
        ):
            list(answer.iter_lines(decode_unicode=decode))
        with session.get(server.url, stream=True) as answer:
            assert len(list(answer.iter_lines(decode_unicode=decode))) == 10_000


def test_nothing_has_no_lines() -> None:
    """An empty body has no lines, of text or of bytes."""
    assert list(line_splitter.split([], None, None, ValueError())) == []
