"""Checks URLs that users submit: only http and https, only usual ports, only public addresses.

Addresses are checked after the name is resolved, immediately before connecting, and the connection goes to the checked
address. So the check cannot be bypassed by another notation (octal, decimal), by a DNS name of the attacker, or by a
name that resolves differently the second time.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from urllib.parse import SplitResult

PORTS = frozenset({80, 443, 8080, 8443})
REDIRECTS = 5
KEPT_HEADERS = frozenset({"accept", "accept-encoding", "accept-language", "connection", "user-agent"})
"""Headers that a redirect to another origin keeps. Other headers are removed, because they may be credentials."""


# `is_global` follows the IANA registries, which list some of these networks as globally reachable.
_REFUSED_4 = tuple(
    map(
        ip_network,
        (
            "0.0.0.0/8",
            "10.0.0.0/8",
            "100.64.0.0/10",  # carrier-grade NAT; a cloud metadata service (100.100.100.200)
            "127.0.0.0/8",
            "168.63.129.16/32",  # a cloud metadata service at a public-looking address
            "169.254.0.0/16",  # link-local; most clouds' metadata services
            "172.16.0.0/12",
            "192.0.0.0/24",  # protocol assignments; a cloud metadata service (192.0.0.192)
            "192.0.2.0/24",
            "192.88.99.0/24",  # 6to4 relays
            "192.168.0.0/16",
            "198.18.0.0/15",
            "198.51.100.0/24",
            "203.0.113.0/24",
            "224.0.0.0/3",  # multicast, reserved, broadcast
        ),
    )
)
_GLOBAL_6 = ip_network("2000::/3")  # all global unicast addresses assigned so far; all others are special
_REFUSED_6 = tuple(
    map(
        ip_network,
        (
            "2001::/23",  # protocol assignments, including Teredo, which contains an IPv4 address
            "2001:db8::/32",
            "2002::/16",  # 6to4, which contains an IPv4 address
            "3fff::/20",
        ),
    )
)
_ISATAP = (0x00005EFE, 0x02005EFE)  # in the upper half of the interface identifier; an IPv4 address follows


class Refused(Exception):  # noqa: N818 - turned into BlockedAddress where the request is known
    """The address or port is not allowed. The class is not an OSError, so that urllib3 does not catch and wrap it."""


def check_addresses(addresses: Iterable[str]) -> None:
    """Raise `Refused` unless all `addresses` are public. One address that is not public makes the whole name unsafe."""
    for address in addresses:
        if not is_public(address):
            raise Refused


def check_port(url: SplitResult) -> None:
    """Raise `Refused` unless the URL's scheme is http or https and its port one of `PORTS`."""
    default = {"http": 80, "https": 443}.get(url.scheme)
    if default is None or (url.port or default) not in PORTS:
        raise Refused


def is_public(address: str) -> bool:
    """Return whether an IP address is global unicast and does not contain another address, as 6to4 addresses do."""
    ip = ip_address(address)
    return _is_public_4(ip) if isinstance(ip, IPv4Address) else _is_public_6(ip)


def _is_public_4(ip: IPv4Address) -> bool:
    return ip.is_global and not any(ip in network for network in _REFUSED_4)


def _is_public_6(ip: IPv6Address) -> bool:
    if ip not in _GLOBAL_6 or not ip.is_global or any(ip in network for network in _REFUSED_6):
        return False
    return ip.scope_id is None and (int(ip) >> 32 & 0xFFFFFFFF) not in _ISATAP
