"""Cookie policies of untrusted sessions and clients."""

from __future__ import annotations

from http.cookiejar import DefaultCookiePolicy
from typing import Any


class KeepNone(DefaultCookiePolicy):
    """Takes no cookie from any server."""

    def set_ok(self, *_: Any) -> bool:
        return False


class SendNone(KeepNone):
    """Gives no cookie to any server either, though it be the session's own."""

    def return_ok(self, *_: Any) -> bool:
        return False
