"""Keeps a concurrency slot until the caller has read the body of a response (``stream=True``)."""

from __future__ import annotations

import requests

from ..engine.call import Call
from ..engine.concurrency_and_pacing import Slot
from . import compat
from .urllib3_response import CheckedBody


def keep_slot(response: requests.Response, call: Call) -> None:
    """Keep the slot of the attempt until the body has been read, has failed, or is closed or garbage-collected."""
    # No slot is kept if the body has been read, as for redirects, or if `raw` belongs to a mock.
    if compat.is_consumed(response) or type(response.raw) is not CheckedBody:
        return
    if response.raw.length_remaining == 0:  # HEAD, 204, 304, or an empty body, which callers don't read
        return
    slot = call.keep_slot()
    if slot is not None:
        compat.become(response.raw, _HeldResponse).slot = slot


class _HeldResponse(CheckedBody):
    """A body that releases its slot when urllib3 releases the connection: urllib3 has no hook for the end of a body."""

    slot: Slot

    def release_conn(self) -> None:
        try:
            super().release_conn()
        finally:
            self.slot.leave()

    def close(self) -> None:
        try:
            super().close()
        finally:
            self.slot.leave()
