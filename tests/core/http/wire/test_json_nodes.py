"""The number of nodes that `.json()` builds is limited."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from core.http import Policy, ResilientSession, ResponseTooLarge
from core.http.wire import json_nodes
from tests.core.http.conftest import Serve
from tests.core.http.misbehave import reply
from tests.core.http.wire.made_response import response

DOCUMENTS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(alphabet='[]{},:"\\aé中😀\ud800'),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(alphabet='[{,:"\\'), inner),
    max_leaves=20,
)


def by_the_book(document: Any) -> int:
    """Count the nodes of a document by its punctuation."""
    if isinstance(document, list):
        return max(len(document), 1) + sum(map(by_the_book, document))
    if isinstance(document, dict):
        return max(2 * len(document), 1) + sum(map(by_the_book, document.values()))
    return 0


@given(document=DOCUMENTS, ascii_only=st.booleans(), block=st.integers(1, 9))
def test_nodes_are_counted_outside_of_strings(document: Any, ascii_only: bool, block: int) -> None:
    """Nodes are counted correctly for any strings and any boundaries of blocks."""
    text = json.dumps(document, ensure_ascii=ascii_only, separators=(",", ":"))
    nodes = by_the_book(document)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_nodes, "_BLOCK", block)
        assert json_nodes._count(10**9, text) == nodes
    assert not json_nodes.more_than(nodes, text)
    if nodes:
        assert json_nodes.more_than(nodes - 1, text)


@pytest.mark.parametrize("count", [1_000, 2_000, 4_000])
def test_counting_ends_at_the_bound(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counting ends at most one block after the limit, however long the text is."""
    monkeypatch.setattr(json_nodes, "_BLOCK", 100)
    assert json_nodes._count(500, "[" + "[]," * count) <= 500 + 100


def test_a_short_document_is_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """A short document cannot have too many nodes, so most answers are not counted."""
    monkeypatch.setattr(json_nodes, "_count", lambda *_: pytest.fail("counted"))
    assert not json_nodes.more_than(500, "[]," * 250)
    assert not json_nodes.more_than(500, '"' + "a" * 10**6 + '"')  # nor one with a long text


def limited(body: bytes, most: int | None = 1_000, content_type: str = "application/json") -> Any:
    made = response(body, content_type)
    made.max_json_nodes = most
    return made


@pytest.mark.parametrize(
    "body",
    [
        b'{"a":[' + b"[]," * 1_000 + b"[]]}",
        b"[" + b'{"a":{"b":1}},' * 400 + b"1]",
        b"[" * 1_001 + b"]" * 1_001,
        ("[" + "1," * 1_001 + "1]").encode("utf-16"),
        ("[" + "1," * 1_001 + "1]").encode("utf-32-be"),
        b"\xef\xbb\xbf[" + b"1," * 1_001 + b"1]",
    ],
    ids=["lists", "objects", "nested", "utf-16", "utf-32", "with a mark"],
)
@pytest.mark.parametrize("content_type", ["application/json", "text/html", "application/octet-stream"])
def test_a_document_of_too_many_nodes_is_too_large(body: bytes, content_type: str) -> None:
    """Too many nodes are an error in every encoding of JSON, before the document is parsed."""
    made = limited(body, content_type=content_type)
    if made.encoding is None or body.startswith((b"[", b"{")):
        with pytest.raises(ResponseTooLarge, match="more than max_json_nodes=1000 nodes") as raised:
            made.json()
        assert isinstance(raised.value, requests.RequestException)
        assert raised.value.response is made


@pytest.mark.parametrize("text", [",[{:" * 5_000, '\\",' * 5_000, "\\\\" * 5_000, "é😀," * 5_000])
def test_long_text_is_never_too_large(text: str) -> None:
    """Commas, braces and escapes in strings do not count as nodes."""
    assert limited(json.dumps({"a": text, text: [text]}).encode(), most=10).json() == {"a": text, text: [text]}


def test_arguments_for_the_parser_are_kept_and_change_nothing() -> None:
    """`parse_float` and other arguments work as in requests, with the same limit."""
    assert limited(b"[1.5]").json(parse_float=Decimal) == [Decimal("1.5")]
    with pytest.raises(ResponseTooLarge):
        limited(b"[" + b"1.5," * 1_001 + b"1]").json(parse_float=Decimal)


def test_errors_of_the_callers_functions_are_raised() -> None:
    """An error in an `object_hook` of the caller is raised unchanged."""

    def refuse(_: object) -> object:
        raise ValueError("mine")

    with pytest.raises(ValueError, match=r"^mine$") as raised:
        limited(b'{"a": 1}').json(object_hook=refuse)
    assert not isinstance(raised.value, requests.RequestException)
    with pytest.raises(requests.exceptions.JSONDecodeError):
        limited(b"1" * 5_000).json(parse_float=Decimal)  # but this is


def test_no_limit() -> None:
    """With max_json_nodes=None, there is no limit."""
    assert len(limited(b"[" + b"1," * 5_000 + b"1]", most=None).json()) == 5_001


@pytest.mark.parametrize("stream", [False, True])
def test_the_policy_limits_the_nodes_of_an_answer(stream: bool, serve: Serve) -> None:
    """The limit applies to streamed answers too; the body can still be read as text."""
    server = serve(reply(200, b"[1,2,3]"), reply(200, b"[1,2]"))
    with ResilientSession(Policy(max_json_nodes=2)) as session:
        session.trust_env = False
        with session.get(server.url, stream=stream) as answer:
            with pytest.raises(ResponseTooLarge) as raised:
                answer.json()
            assert answer.text == "[1,2,3]"
            assert raised.value.attempts == answer.attempts != ()
        assert session.get(server.url, stream=stream).json() == [1, 2]
