"""Cookies of an untrusted client: none are kept."""

from __future__ import annotations

from http.cookiejar import DefaultCookiePolicy
from typing import Any


class KeepNone(DefaultCookiePolicy):
    """Takes no cookie from any server."""

    def set_ok(self, *_: Any) -> bool:
        return False
