"""Checks whether an idle connection can be reused."""

from __future__ import annotations

import select
from typing import Any


def is_readable(sock: Any) -> bool:
    """Return whether the server has sent data or closed the connection. Then an idle connection cannot be reused."""
    descriptor = sock.fileno()
    if descriptor < 0:
        return True
    if hasattr(select, "poll"):
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        return bool(poll.poll(0))
    return bool(select.select([descriptor], [], [], 0)[0])
