"""An answer whose body the caller reads (``stream=True``) holds its slot for as long as that is not read."""

from __future__ import annotations

from typing import Any

import requests
from urllib3 import HTTPResponse

from core.http.engine import Call
from core.http.limits import Place


def keep_slot(response: requests.Response, call: Call) -> None:
    """Let the slot of the attempt outlast it, until the body was read, broke off, was closed, or is forgotten."""
    # Not where the body was read, as that of a redirect is, nor for what a mock may have in its place.
    if response._content_consumed or type(response.raw) is not HTTPResponse:  # noqa: SLF001 - nobody else tells
        return
    if response.raw.length_remaining == 0:  # HEAD, 204, 304, or an empty body: nobody would think of reading it
        return
    place = call.keep_slot()
    if place is not None:
        raw: Any = response.raw
        raw.place = place
        raw.__class__ = _HeldResponse  # urllib3 names its own class, and has no hook for another


class _HeldResponse(HTTPResponse):
    """Nobody is told when a body ends, but this is when urllib3 takes leave of the connection."""

    place: Place

    def release_conn(self) -> None:
        try:
            super().release_conn()
        finally:
            self.place.leave()

    def close(self) -> None:
        try:
            super().close()
        finally:
            self.place.leave()
