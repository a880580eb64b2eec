"""The identity of an upstream: the key of tables in memory and of records in a shared cache."""

from __future__ import annotations

from typing import NamedTuple


class UpstreamId(NamedTuple):
    """The name of a configured upstream, or "other" and the origin of another host; and the partition."""

    name: str
    origin: str = ""
    """ "https://host" if the name is "other", otherwise empty."""
    untrusted: bool = False
    """Whether users submit the URLs. Such calls have separate state, even for the same host."""
    partition: str = ""
    """Name of the credential whose quota is used: see `ResilientSession`."""
