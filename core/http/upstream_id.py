"""What tells upstreams apart: the key of tables, and of records in a shared cache."""

from __future__ import annotations

from typing import NamedTuple


class UpstreamId(NamedTuple):
    """Which upstream, which host of those without a name, and which part of it."""

    name: str
    origin: str = ""
    """ "https://host" where the name is "other", else empty."""
    untrusted: bool = False
    """Users submit the URLs. What these meet is kept apart, though it be the same host."""
    partition: str = ""
    """Whose quota: see `ResilientSession`."""
