"""Cookie policies of untrusted sessions and clients."""

from __future__ import annotations

from http.cookiejar import DefaultCookiePolicy
from typing import Any


class KeepNone(DefaultCookiePolicy):
    """Accepts no cookie from any server."""

    def set_ok(self, *_: Any) -> bool:
        return False


class SendNone(KeepNone):
    """Accepts no cookie, and sends none to any server, not even one that the session's owner set."""

    def return_ok(self, *_: Any) -> bool:
        return False
