"""The options of a transport: settings of its calls, and options of its connection pool."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..argument_checks import check_flag, check_function, check_partition
from ..engine.upstream import Clock, Random
from ..policy import Policy, check_policy, refuse_options
from . import tls
from .library import Library

POOL_OPTIONS = frozenset({"http1", "http2", "limits", "local_address", "proxy", "socket_options", "uds"})
TLS_OPTIONS = frozenset({"cert", "trust_env", "verify"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The settings of a transport: see `Transport`."""

    policy: Policy | None = None
    untrusted: bool = False
    partition: str = ""
    clock: Clock | None = None
    wait: Callable[[float], object] | None = None
    random: Random | None = None
    max_connections: int | None = None
    """Maximum number of connections of the pool; None: no limit."""

    def __post_init__(self) -> None:
        check_policy(self.policy)
        check_flag("untrusted", self.untrusted)
        check_partition(self.partition)
        for name in ("clock", "wait", "random"):
            value = getattr(self, name)
            if value is not None:
                check_function(name, value, "a function, or None")


def pool_options(owner: type, library: Library, options: dict[str, Any], *, untrusted: bool) -> dict[str, Any]:
    """Return the arguments for an `HTTPTransport`.

    :raises TypeError: if there are unknown options.
    :raises ValueError: if there are options that an untrusted transport must not have.
    """
    refuse_options(owner, {name: value for name, value in options.items() if name not in POOL_OPTIONS | TLS_OPTIONS})
    if untrusted:
        refuse_unsafe(options)
    limits = options.get("limits") or library.limits()
    verify, cert = options.get("verify", True), options.get("cert")
    http1, http2 = options.get("http1", True), options.get("http2", False)
    context = tls.context(
        library.httpx,
        verify=verify,
        cert=cert,
        trust_env=options.get("trust_env", True) and not untrusted,
        http1=http1,
        http2=http2,
    )
    kept = {name: value for name, value in options.items() if name in POOL_OPTIONS}
    return {**kept, "verify": context, "limits": limits}


def refuse_unsafe(options: dict[str, Any]) -> None:
    """Raise `ValueError` for options that would bypass the address check or the certificate check."""
    if options.get("verify") is False:
        raise ValueError("verify=False is not allowed in an untrusted client: the server must be verified")
    for name in ("proxy", "mounts", "transport", "uds"):
        if options.get(name):
            raise ValueError(f"{name}= is not allowed in an untrusted client: it bypasses the address check")
