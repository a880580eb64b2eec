"""Decides which addresses become links on the site's pages.

Addresses come from servers and users, and some were stored before addresses were checked.
"""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from django.utils.html import format_html
from django.utils.safestring import SafeString

_WEB = re.compile(r"https?://[^\s\x00-\x20\x7f]+", re.IGNORECASE)


def is_web_address(address: str) -> bool:
    """Return whether all browsers treat `address` as the address of a web server.

    An address with another scheme may run a script, and an address without a scheme leads to this site. Browsers ignore
    spaces and control characters at the beginning, and line breaks and tabs anywhere, so none are allowed.
    """
    try:
        return _WEB.fullmatch(address) is not None and bool(urlsplit(address).hostname)
    except ValueError:
        return False


def link(address: str) -> SafeString:
    """Return `address` as HTML: a link if it is a web address, otherwise text."""
    html = '<a href="{0}" rel="nofollow">{0}</a>' if is_web_address(address) else "{0}"
    return format_html(html, address)
