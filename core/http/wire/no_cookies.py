"""Cookie policies of untrusted sessions and clients."""

from __future__ import annotations

from http.cookiejar import DefaultCookiePolicy
from typing import Any


class KeepNone(DefaultCookiePolicy):
    """Accepts no cookies from any server."""

    def set_ok(self, *_: Any) -> bool:
        return False


class SendNone(KeepNone):
    """Accepts no cookies, and sends none to any server, not even cookies that the owner of the session set."""

    def return_ok(self, *_: Any) -> bool:
        return False
