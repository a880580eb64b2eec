"""Where a URL that a user submitted may lead: to public addresses, by http and https, on their usual ports.

Addresses are judged after the name was resolved, at the moment of dialling, and the judged address is the one
that is dialled: so no form of writing one (octal, decimal, a name of one's own) and no name that answers
differently the second time gets around it.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from urllib.parse import SplitResult

PORTS = frozenset({80, 443, 8080, 8443})
REDIRECTS = 5
KEPT_HEADERS = frozenset({"accept", "accept-encoding", "accept-language", "connection", "user-agent"})
"""What a redirect to another origin still carries; any other header may be a credential."""


# `is_global` follows the IANA registries, which count some of these as reachable from anywhere.
_REFUSED_4 = tuple(
    map(
        ip_network,
        (
            "0.0.0.0/8",
            "10.0.0.0/8",
            "100.64.0.0/10",  # carrier-grade NAT; a cloud's metadata service (100.100.100.200)
            "127.0.0.0/8",
            "168.63.129.16/32",  # a cloud's metadata service, at an address that looks public
            "169.254.0.0/16",  # link-local; most clouds' metadata services
            "172.16.0.0/12",
            "192.0.0.0/24",  # protocol assignments; a cloud's metadata service (192.0.0.192)
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
_GLOBAL_6 = ip_network("2000::/3")  # all that has been given out; everything else is special
_REFUSED_6 = tuple(
    map(
        ip_network,
        (
            "2001::/23",  # protocol assignments, Teredo among them, which carries an IPv4 address
            "2001:db8::/32",
            "2002::/16",  # 6to4, which carries an IPv4 address
            "3fff::/20",
        ),
    )
)
_ISATAP = (0x00005EFE, 0x02005EFE)  # in the upper half of the interface identifier; an IPv4 address follows


class Refused(Exception):  # noqa: N818 - turned into BlockedAddress where the request is known
    """It may not be fetched for a user. Not an OSError: no layer in between takes it for its own."""


def check_addresses(addresses: Iterable[str]) -> None:
    """Raise `Refused` unless every one of these addresses is public: one bad record spoils the name."""
    for address in addresses:
        if not is_public(address):
            raise Refused


def check_port(url: SplitResult) -> None:
    """Raise `Refused` unless the URL is http or https, on one of `PORTS`."""
    default = {"http": 80, "https": 443}.get(url.scheme)
    if default is None or (url.port or default) not in PORTS:
        raise Refused


def is_public(address: str) -> bool:
    """Say whether an IP address is global unicast, and leads to nothing but itself."""
    ip = ip_address(address)
    return _is_public_4(ip) if isinstance(ip, IPv4Address) else _is_public_6(ip)


def _is_public_4(ip: IPv4Address) -> bool:
    return ip.is_global and not any(ip in network for network in _REFUSED_4)


def _is_public_6(ip: IPv6Address) -> bool:
    if ip not in _GLOBAL_6 or not ip.is_global or any(ip in network for network in _REFUSED_6):
        return False
    return ip.scope_id is None and (int(ip) >> 32 & 0xFFFFFFFF) not in _ISATAP
