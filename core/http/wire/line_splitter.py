"""Splits a body into lines, in time linear in its length."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from typing import Any


def split(chunks: Iterable[Any], delimiter: Any, longest: int | None, too_long: Exception) -> Iterator[Any]:
    """Yield the same lines as `requests.Response.iter_lines`, which copies the unfinished line for every chunk.

    :param chunks: bytes or text.
    :param longest: maximum length of a buffered line; None: no limit. A longer line raises `too_long`.
    """
    line: Any = None
    """The unfinished line, in a buffer to which chunks are appended without a copy."""
    tail: Any = None
    """The end of the unfinished line that may be the first part of a delimiter."""
    unfinished = False
    overlap = len(delimiter) - 1 if delimiter else 0
    for chunk in chunks:
        if line is None:
            line = io.BytesIO() if isinstance(chunk, bytes) else io.StringIO()
        whole = chunk
        if unfinished:
            line.write(chunk)
            if longest is not None and line.tell() > longest:
                raise too_long
            if not _ends_a_line(tail, chunk, delimiter):
                tail = _end(tail + chunk, overlap)
                continue
            whole = line.getvalue()
            line.seek(0)
            line.truncate()
        pieces = whole.split(delimiter) if delimiter else whole.splitlines()
        unfinished = bool(pieces and pieces[-1] and pieces[-1][-1] == whole[-1])
        if unfinished:
            rest = pieces.pop()
            line.write(rest)
            tail = _end(rest, overlap)
        yield from pieces
    if unfinished:
        yield line.getvalue()


def _ends_a_line(tail: Any, chunk: Any, delimiter: Any) -> bool:
    """Return whether `chunk` contains the end of the unfinished line, whose last characters are `tail`."""
    if delimiter:
        return delimiter in tail + chunk
    pieces = chunk.splitlines()
    return len(pieces) != 1 or len(pieces[0]) != len(chunk)


def _end(text: Any, length: int) -> Any:
    return text[len(text) - length :] if len(text) > length else text
