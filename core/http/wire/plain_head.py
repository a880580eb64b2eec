"""Plain heads of answers: read at once, with the result that http.client has after reading them line by line.

http.client hands the lines of a head to a parser for e-mail, which takes a fifth of the time of a call. A head is plain
if it is HTTP/1.1, has come as a whole, and leaves no doubt: complete lines of ASCII, each header once where two could
contradict each other. All others are for http.client to read.
"""

from __future__ import annotations

import re
from email.message import Message
from http.client import HTTPMessage
from typing import Any, NamedTuple

_MOST_HEADERS = 99
"""http.client refuses more than 100 lines, the empty one included."""
_STATUS = re.compile(rb"HTTP/1\.1 ([2-5][0-9][0-9]) ([!-~](?:[ -~]*[!-~])?)?\r\n")
_HEADER = re.compile(r"(?m)^([A-Za-z0-9_-]+):[ \t]*((?:[ -~]*[!-~])?)\r\n")  # no spaces before the colon or at the end
_LENGTH = re.compile(r"[0-9]{1,18}")
_ONCE = frozenset({"content-length", "content-type", "content-transfer-encoding", "transfer-encoding", "connection"})
_OF_PARTS = ("multipart", "message")
"""Types of which the parser for e-mail looks for the parts."""
_LONGEST = 65536
"""Bytes: http.client refuses longer lines."""


_Compat32: Any = type(Message().policy)  # from email.policy, which brings 20 ms of other modules


class _AsReceived(_Compat32):  # type: ignore[misc]  # see above
    """Returns headers as they are: they are ASCII."""

    def header_fetch_parse(self, name: str, value: str) -> str:  # noqa: ARG002 - as the base declares it
        return value


_POLICY: Any = _AsReceived()


class PlainHead(NamedTuple):
    """What a head says."""

    size: int
    """Bytes, the empty line included."""
    status: int
    reason: str
    message: HTTPMessage
    length: int | None
    """Of the body, in bytes; None: it is chunked."""
    closes: bool
    """The server closes the connection after the body."""


def parse(data: bytes) -> PlainHead | None:
    """Return what the head at the beginning of `data` says; None: it is not plain."""
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
