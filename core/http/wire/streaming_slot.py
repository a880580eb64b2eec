"""An answer whose body the caller reads (``stream=True``) holds its slot for as long as that is not read."""

from __future__ import annotations

import requests

from ..engine.call import Call
from ..engine.reservation import Slot
from . import compat
from .checked_body import CheckedBody


def keep_slot(response: requests.Response, call: Call) -> None:
    """Let the slot of the attempt outlast it, until the body was read, broke off, was closed, or is forgotten."""
    # Not where the body was read, as that of a redirect is, nor for what a mock may have in its slot.
    if compat.is_consumed(response) or type(response.raw) is not CheckedBody:
        return
    if response.raw.length_remaining == 0:  # HEAD, 204, 304, or an empty body: nobody would think of reading it
        return
    slot = call.keep_slot()
    if slot is not None:
        compat.become(response.raw, _HeldResponse).slot = slot


class _HeldResponse(CheckedBody):
    """Nobody is told when a body ends, but this is when urllib3 takes leave of the connection."""

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
