"""Which addresses become links on our pages: servers and users name them, and some are older than our checks."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from django.utils.html import format_html
from django.utils.safestring import SafeString

_WEB = re.compile(r"https?://[^\s\x00-\x20\x7f]+", re.IGNORECASE)


def is_web_address(address: str) -> bool:
    """Say whether `address` leads to a web server, and to nothing else in any browser.

    What begins with another scheme may run a script; what has none leads to our own site. Browsers ignore spaces and
    control characters at the beginning, and line breaks and tabs anywhere.
    """
    try:
        return _WEB.fullmatch(address) is not None and bool(urlsplit(address).hostname)
    except ValueError:
        return False


def link(address: str) -> SafeString:
    """Return `address` as HTML: a link if it is a web address, else text."""
    html = '<a href="{0}" rel="nofollow">{0}</a>' if is_web_address(address) else "{0}"
    return format_html(html, address)
