"""The identity of an upstream: the key of tables in memory and of records in a shared cache."""

from __future__ import annotations

from typing import NamedTuple


class UpstreamId(NamedTuple):
    """The name of an upstream, or the origin of a host that no upstream names, and the partition."""

    name: str
    origin: str = ""
    """ "https://host" if the name is "other", otherwise empty."""
    untrusted: bool = False
    """Users submit the URLs. These calls have state of their own, even for the same host."""
    partition: str = ""
    """The credential whose quota is used: see `ResilientSession`."""
