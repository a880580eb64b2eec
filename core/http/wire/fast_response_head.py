"""Parses the heads of plain responses faster than http.client, with the same result.

A head is the status line and the headers. For headers, http.client uses the e-mail parser, which takes a fifth of the
time of a call. A head is plain if it is HTTP/1.1, was received completely, consists of complete ASCII lines, and has
headers such as Content-Length at most once. http.client parses all other heads.
"""

from __future__ import annotations

import re
from email.message import Message
from http.client import HTTPMessage
from typing import Any, NamedTuple

_MOST_HEADERS = 99
"""http.client rejects more than 100 lines, including the empty one."""
_STATUS = re.compile(rb"HTTP/1\.1 ([2-5][0-9][0-9]) ([!-~](?:[ -~]*[!-~])?)?\r\n")
_HEADER = re.compile(r"(?m)^([A-Za-z0-9_-]+):[ \t]*((?:[ -~]*[!-~])?)\r\n")  # no spaces before the colon or at the end
_LENGTH = re.compile(r"[0-9]{1,18}")
_ONCE = frozenset({"content-length", "content-type", "content-transfer-encoding", "transfer-encoding", "connection"})
_OF_PARTS = ("multipart", "message")
"""Content types for which the e-mail parser looks for parts."""
_LONGEST = 65536
"""Maximum number of bytes of a head that is parsed here. http.client rejects longer lines."""


_Compat32: Any = type(Message().policy)  # importing email.policy for it would take 20 ms


class _AsReceived(_Compat32):  # type: ignore[misc]  # see above
    """Returns headers unchanged, because they are ASCII."""

    def header_fetch_parse(self, name: str, value: str) -> str:  # noqa: ARG002 - as the base declares it
        return value


_POLICY: Any = _AsReceived()


class PlainHead(NamedTuple):
    """The parsed status line and headers."""

    size: int
    """Number of bytes of the head, including the empty line."""
    status: int
    reason: str
    message: HTTPMessage
    length: int | None
    """Number of bytes of the body; None: the body is chunked."""
    closes: bool
    """Whether the server closes the connection after the body."""


def parse(data: bytes) -> PlainHead | None:
    """Return the parsed head at the beginning of `data`; None if the head is not plain."""
    end = data.find(b"\r\n\r\n")
    first = _STATUS.match(data)
    if first is None or not 0 <= end <= _LONGEST:
        return None
    lines = data[first.end() : end + 2].decode("latin-1")
    headers = _HEADER.findall(lines)
    if len(headers) != lines.count("\n") or len(headers) > _MOST_HEADERS:
        return None
    message = HTTPMessage(_POLICY)
    known: dict[str, str] = {}
    for name, value in headers:
        key = name.lower()
        if key in known and key in _ONCE:
            return None
        known[key] = value
        message.set_raw(name, value)
    message.set_payload("")
    length, coding = known.get("content-length"), known.get("transfer-encoding")
    is_framed = _LENGTH.fullmatch(length or "") if coding is None else length is None and coding.lower() == "chunked"
    if not is_framed or known.get("content-type", "").lower().startswith(_OF_PARTS):
        return None
    return PlainHead(
        end + 4,
        int(first[1]),
        (first[2] or b"").decode(),
        message,
        None if length is None else int(length),
        "close" in known.get("connection", "").lower(),
    )
