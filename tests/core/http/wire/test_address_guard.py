"""The addresses that an untrusted URL may reach."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.http.wire.address_guard import Refused, check_addresses, is_public


@pytest.mark.parametrize(
    "address",
    ["1.1.1.1", "8.8.8.8", "93.184.216.34", "192.0.1.1", "223.255.255.254", "2606:4700::1111", "2a00:1450:4001::8a"],
)
def test_public_addresses_may_be_reached(address: str) -> None:
    """Ordinary servers on the Internet are reachable."""
    assert is_public(address)
    check_addresses([address])


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0",
        "0.1.2.3",
        "10.0.0.1",
        "100.64.0.1",
        "100.100.100.200",
        "127.0.0.1",
        "127.255.255.254",
        "168.63.129.16",
        "169.254.169.254",
        "172.16.0.1",
        "172.31.255.255",
        "192.0.0.9",
        "192.0.0.192",
        "192.0.2.1",
        "192.88.99.1",
        "192.168.1.1",
        "198.18.0.1",
        "198.51.100.1",
        "203.0.113.1",
        "224.0.0.1",
        "239.255.255.255",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::7f00:1",
        "::ffff:127.0.0.1",
        "::ffff:8.8.8.8",
        "::ffff:0:7f00:1",
        "64:ff9b::7f00:1",
        "64:ff9b::808:808",
        "64:ff9b:1::1",
        "100::1",
        "2001::1",
        "2001:0:7f00:1::",
        "2001:10::1",
        "2001:db8::1",
        "2002:7f00:1::",
        "2002:808:808::1",
        "2a00:1450::5efe:7f00:1",
        "2a00:1450::200:5efe:7f00:1",
        "3fff::1",
        "5f00::1",
        "fc00::1",
        "fd00:ec2::254",
        "fe80::1",
        "fe80::1%eth0",
        "2606:4700::1%eth0",
        "fec0::1",
        "ff02::1",
    ],
)
def test_everything_else_is_refused(address: str) -> None:
    """Private, special, embedded and metadata addresses are refused."""
    assert not is_public(address)
    with pytest.raises(Refused):
        check_addresses([address])


def test_one_bad_record_refuses_the_name() -> None:
    """A name with a public and a private address is refused."""
    with pytest.raises(Refused):
        check_addresses(["8.8.8.8", "10.0.0.1"])


@given(st.ip_addresses(v=4))
def test_addresses_that_python_calls_not_global_are_refused(ip: ipaddress.IPv4Address) -> None:
    """The list of this library refuses every address that Python's list refuses."""
    assert ip.is_global or not is_public(str(ip))


@given(st.ip_addresses(v=6))
def test_only_global_unicast_is_public(ip: ipaddress.IPv6Address) -> None:
    """Only allocated IPv6 addresses are public, and none that embeds an IPv4 address."""
    if is_public(str(ip)):
        assert ip in ipaddress.ip_network("2000::/3")
        assert ip.is_global
        assert (ip.ipv4_mapped, ip.sixtofour, ip.teredo) == (None, None, None)
