"""MACs and ports derived from addresses, and what a subnet may be."""

from __future__ import annotations

import hashlib
from ipaddress import IPv4Address, IPv4Network, ip_address, ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snnet.contract import InvalidRequest
from snnet.contract.addresses import gateway_of
from snnet.contract.links import ALIAS_MAX
from snnet.core import identity as ids
from snnet.core.addressing import (
    check_extra,
    check_guest,
    check_ipv4,
    check_subnet,
    debug_ssh_port,
    mac_for,
    written,
)
from snnet.core.names import check_hostname


@pytest.mark.parametrize(
    ("ip", "mac"),
    [
        ("10.1.0.9", "02:00:0a:01:00:09"),
        (IPv4Address("172.16.255.254"), "02:00:ac:10:ff:fe"),
        ("0.0.0.0", "02:00:00:00:00:00"),
    ],
)
def test_a_mac_holds_the_address(ip: str | IPv4Address, mac: str) -> None:
    assert mac_for(ip) == mac


@pytest.mark.parametrize(
    ("ip", "port"),
    [
        ("10.1.0.0", 33000),
        ("10.1.0.9", 33009),
        ("10.1.1.0", 33256),
        ("172.16.127.23", 65535),
        (IPv4Address("192.168.2.3"), 33515),
    ],
)
def test_a_debug_ssh_port_comes_of_the_last_two_octets(ip: str | IPv4Address, port: int) -> None:
    assert debug_ssh_port(ip) == port


@pytest.mark.parametrize("ip", ["10.1.127.24", "10.1.128.0", "10.1.255.255"])
def test_there_is_no_debug_ssh_port_past_65535(ip: str) -> None:
    with pytest.raises(InvalidRequest, match=ip) as caught:
        debug_ssh_port(ip)
    assert caught.value.field == "ip"


@pytest.mark.parametrize("value", [None, 167837705, b"\x0a\x01\x00\x09", "", "x", "10.1.0", "::1"])
def test_mac_and_port_are_for_addresses_only(value: Any) -> None:
    for function in [debug_ssh_port] if value == "::1" else [mac_for, debug_ssh_port]:
        with pytest.raises(InvalidRequest) as caught:
            function(value)
        assert caught.value.field == "ip"


def test_ipv6_is_refused_by_name() -> None:
    with pytest.raises(InvalidRequest, match="not IPv4") as caught:
        check_ipv4("2001:db8::1", "tunnel_ip")
    assert caught.value.field == "tunnel_ip"


@pytest.mark.parametrize(
    "cidr", ["10.1.0.0/16", "10.1.0.0/29", "172.16.0.0/24", "192.168.255.248/29", "223.255.0.0/16"]
)
def test_a_subnet_is_a_29_to_a_16(cidr: str) -> None:
    assert check_subnet(ip_network(cidr)) == IPv4Network(cidr)


@pytest.mark.parametrize(
    ("cidr", "said"),
    [
        ("10.1.0.0/30", "too small"),
        ("10.1.0.0/31", "too small"),
        ("10.1.0.0/32", "too small"),
        ("10.0.0.0/15", "too large"),
        ("10.0.0.0/8", "too large"),
        ("0.0.0.0/0", "too large"),
        ("2001:db8::/127", "too small"),
        ("2001:db8::/128", "too small"),
        ("2001::/47", "too large"),
        ("fe80::/64", "unicast"),
        ("ff02::/64", "unicast"),
        ("::/64", "unicast"),
        ("::ffff:a01:0/120", "unicast"),
        ("0.0.0.0/16", "unicast"),
        ("127.0.0.0/24", "unicast"),
        ("169.254.0.0/16", "unicast"),
        ("224.0.0.0/24", "unicast"),
        ("239.255.0.0/16", "unicast"),
        ("240.0.0.0/24", "reserved"),
        ("255.255.255.0/24", "unicast"),
    ],
)
def test_other_subnets_are_refused(cidr: str, said: str) -> None:
    with pytest.raises(InvalidRequest, match=said) as caught:
        check_subnet(ip_network(cidr), "neighbors[0].subnet")
    assert caught.value.field == "neighbors[0].subnet"
    assert str(ip_network(cidr)) in str(caught.value)


@pytest.mark.parametrize(
    ("cidr", "gateway"), [("10.1.0.0/24", "10.1.0.1"), ("10.1.0.248/29", "10.1.0.249")]
)
def test_the_gateway_is_the_first_host(cidr: str, gateway: str) -> None:
    assert str(gateway_of(IPv4Network(cidr))) == gateway


NET = IPv4Network("10.1.0.8/29")


@pytest.mark.parametrize("ip", ["10.1.0.10", "10.1.0.14"])
def test_a_guest_has_any_other_address_of_its_subnet(ip: str) -> None:
    assert check_guest(IPv4Address(ip), (NET,)) == IPv4Address(ip)


@pytest.mark.parametrize(
    ("ip", "said"),
    [
        ("10.1.0.7", "outside"),
        ("10.1.0.16", "outside"),
        ("10.1.0.8", "the network address"),
        ("10.1.0.9", "the gateway"),
        ("10.1.0.15", "the broadcast address"),
    ],
)
def test_a_guest_has_none_of_the_special_ones(ip: str, said: str) -> None:
    with pytest.raises(InvalidRequest, match=said) as caught:
        check_guest(IPv4Address(ip), (NET,), "address")
    assert caught.value.field == "address"


@pytest.mark.parametrize("name", ["a", "web-1", "WEB", "1", "a" * 63])
def test_host_names_come_back_lower_case(name: str) -> None:
    assert check_hostname(name, "hostname") == name.lower()


@pytest.mark.parametrize(
    "name", ["", "-a", "a-", "a.b", "a_b", "a b", "a\n", "a" * 64, "é", 5, None, b"a", ["a"]]
)
def test_other_host_names_are_refused(name: object) -> None:
    with pytest.raises(InvalidRequest) as caught:
        check_hostname(name, "hostname")
    assert caught.value.field == "hostname"


def test_the_default_mac_of_ipv6_alone_is_a_hash() -> None:
    digest = hashlib.sha256(ip_address("fd00:1::9").packed).digest()
    assert mac_for("fd00:1::9") == "02:" + digest[:5].hex(":")
    assert mac_for(("fd00:1::9", "10.1.0.9")) == mac_for("10.1.0.9") == "02:00:0a:01:00:09"
    assert mac_for(("fd00:1::9",)) == mac_for("fd00:1::9")


@pytest.mark.parametrize(
    "value", [(), [], ("10.1.0.9", "10.1.0.10"), ("fd00::9", "fd00::a"), ("x",)]
)
def test_addresses_are_one_or_one_of_each_family(value: Any) -> None:
    with pytest.raises(InvalidRequest) as caught:
        mac_for(value)
    assert (caught.value.field or "").startswith("ip")


@given(
    st.lists(st.ip_addresses(v=4), max_size=1), st.lists(st.ip_addresses(v=6), max_size=1),
    st.integers(16, 29), st.integers(48, 126), st.integers(0, 64),
)  # fmt: skip
def test_aliases_hold_every_address_and_network(
    four: list[Any], six: list[Any], length4: int, length6: int, more: int
) -> None:
    """What a VNIC's alias says is read back exactly, packed or not."""
    addresses = (*four, *six)
    lengths = {4: length4, 6: length6}
    networks = tuple(ip_network((a, lengths[a.version]), strict=False) for a in addresses)
    if not addresses:
        return
    fields = {
        ids.ADDRESS: written(addresses), ids.NETWORK: written(networks),
        ids.MAC: "02:de:ad:be:ef:00", ids.TENANT: "A5000000-0000-4000-8000-0000000000FF",
        ids.SUBNET: "5a000000-0000-4000-8000-0000000000ff", ids.VNIC: "v" * more,
    }  # fmt: skip
    alias = ids.encode(ids.Owner("cn", "n" * 36), ids.VM, fields)
    assert len(alias) <= ALIAS_MAX
    assert {
        key: value for key, value in (ids.decode(alias) or {}).items() if key in fields
    } == fields


@pytest.mark.parametrize("given", ["::ffff:10.1.0.9", "::1", "240.0.0.1"])
def test_what_no_guest_has_is_no_extra_address(given: str) -> None:
    with pytest.raises(InvalidRequest, match="which no guest can have"):
        check_extra([ip_address(given)], (ip_network("10.1.0.0/24"),))


def test_extra_addresses_are_counted_after_neighbours_became_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("snnet.core.addressing.EXTRA_MAX", 100)
    subnet = (ip_network("10.1.0.0/24"),)
    first = int(ip_address("172.16.0.0"))
    alone, networks = check_extra([ip_address(first + number) for number in range(256)], subnet)
    assert (alone, networks) == ((), (ip_network("172.16.0.0/24"),))
    apart = [ip_address(first + 2 * number) for number in range(101)]
    assert len(check_extra(apart[1:], subnet)[0]) == 100
    with pytest.raises(InvalidRequest, match="101 addresses and networks are too many") as caught:
        check_extra(apart, subnet)
    assert caught.value.field == "extra_addresses"
