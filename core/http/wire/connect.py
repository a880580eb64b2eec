"""Resolves a name, checks its addresses, and connects to one of them, within the time of the attempt."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from . import address_guard, resolver
from .attempt_context import AttemptContext, Stage
from .resolver import AddressInfo, Resolver
from .sockets import DeadlineSocket


def connect(
    attempt: AttemptContext,
    host: str,
    port: int,
    *,
    timeout: float | None,
    source_address: tuple[str, int] | None,
    socket_options: Iterable[Any],
    make: Callable[..., socket.socket] = DeadlineSocket,
) -> socket.socket:
    """Resolve `host`, connect to the first address that accepts the connection, and return the connected socket.

    All addresses share the remaining time of the attempt.

    :param timeout: maximum seconds for each address; None: only the remaining time of the attempt limits them.
    :param make: the class of the socket, or a function that creates it.
    :raises OSError: the error of the DNS lookup or of the last address; `TimeoutError` if there is no time left.
    """
    addresses = resolve(attempt, host, port)
    if attempt.untrusted:
        address_guard.check_addresses(str(info[4][0]) for info in addresses)
    attempt.stage = Stage.CONNECT
    error = OSError("the host name has no address")
    for tried, (family, kind, protocol, _, address) in enumerate(addresses):
        share = attempt.left() / (len(addresses) - tried)
        try:
            sock = make(family, kind, protocol)
        except OSError as exc:  # for example, this machine has no IPv6
            error = exc
            continue
        try:
            for option in socket_options:
                sock.setsockopt(*option)
            sock.settimeout(share if timeout is None else min(share, timeout))
            if source_address:
                sock.bind(source_address)
            sock.connect(address)
            left = attempt.left()
            sock.settimeout(left if timeout is None else min(left, timeout))
        except OSError as exc:
            error = exc
            sock.close()
        except BaseException:
            sock.close()
            raise
        else:
            return sock
    raise error


def resolve(attempt: AttemptContext, host: str, port: int) -> Sequence[AddressInfo]:
    """Return the addresses of `host`, within the remaining time of the attempt.

    Raises the errors of `resolver.Resolver.resolve`.
    """
    attempt.stage = Stage.DNS
    return literal(host, port) or names(attempt).resolve(host, port, attempt.left())


def literal(host: str, port: int) -> Sequence[AddressInfo]:
    """Return the address if `host` is an IP address; an empty sequence if it is a name to be looked up.

    Raises `socket.gaierror` if `host` is not a valid name.
    """
    host = host.strip("[]")
    if _is_address(host):  # getaddrinfo then does no DNS lookup and does not block
        return socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM)
    try:
        host.encode("idna")
    except UnicodeError:
        raise socket.gaierror(socket.EAI_NONAME, "not a valid host name") from None
    return ()


def names(attempt: AttemptContext) -> Resolver:
    """Return the resolver for the kind of host of the attempt: untrusted, configured or other."""
    if attempt.untrusted:
        return resolver.untrusted_hosts
    return resolver.configured_hosts if attempt.configured else resolver.other_hosts


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True
