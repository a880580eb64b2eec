"""Whether an idle connection can still be used."""

from __future__ import annotations

import select
from typing import Any


def is_readable(sock: Any) -> bool:
    """Say whether the server has sent something, or has hung up: without a request, that is the end of a connection."""
    descriptor = sock.fileno()
    if descriptor < 0:
        return True
    if hasattr(select, "poll"):
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        return bool(poll.poll(0))
    return bool(select.select([descriptor], [], [], 0)[0])
