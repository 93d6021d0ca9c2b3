"""What tunnels cost, their ports, keys, and what tells them apart."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from snnet.contract import Geneve, Gretap, InvalidRequest, IPAddress, Tunnel, Vxlan
from snnet.core.tunnels import (
    check_key,
    collision,
    tunnel_link,
    vxlan_port,
    wire,
)
from tests.core.builders import TUNNELS, make_site

_IPV4, _IPV6 = "192.0.2.11/24", "2001:db8::b/64"


@pytest.mark.parametrize(
    ("tunnel", "address", "mtu"),
    [
        ("gre", _IPV4, 1458),
        ("gre", _IPV6, 1438),
        ("vxlan", _IPV4, 1450),
        ("vxlan", _IPV6, 1430),
        ("geneve", _IPV4, 1450),
        ("geneve", _IPV6, 1430),
    ],
)
def test_the_tenant_mtu_is_the_uplinks_less_the_overhead(
    tunnel: str, address: str, mtu: int
) -> None:
    assert make_site(tunnel=tunnel, address=address).mtu == mtu
    assert make_site(tunnel=tunnel, address=address, mtu=9000).mtu == mtu + 7500


@pytest.mark.parametrize(("cap", "mtu"), [(None, 1458), (1400, 1400), (1458, 1458), (9000, 1458)])
def test_the_configuration_caps_it_and_never_raises_it(cap: int | None, mtu: int) -> None:
    assert make_site(cap=cap).mtu == mtu


_v4 = st.integers(0, 2**32 - 1).map(IPv4Address)
_v6 = st.integers(0, 2**128 - 1).map(IPv6Address)


@settings(max_examples=25)
@given(st.tuples(_v4, _v4) | st.tuples(_v6, _v6))
def test_both_ends_of_a_pair_find_the_same_vxlan_port(pair: tuple[IPAddress, IPAddress]) -> None:
    local, remote = pair
    assert vxlan_port(local, remote) == vxlan_port(remote, local)
    assert 16384 <= vxlan_port(local, remote) <= 32767


@pytest.mark.parametrize(
    ("local", "remote", "port"),
    [
        ("192.0.2.10", "192.0.2.11", 16385),
        ("192.0.2.1", "192.0.66.1", 16384),
        ("192.0.2.1", "192.0.2.255", 16384 + 0xFE),
        ("10.0.0.0", "10.0.63.255", 32767),
        ("2001:db8::1", "2001:db8::2", 16387),
    ],
)
def test_vxlan_ports_are_the_same_in_every_version(local: str, remote: str, port: int) -> None:
    assert vxlan_port(ip_address(local), ip_address(remote)) == port


@pytest.mark.parametrize(("tunnel", "bits"), [("gre", 32), ("vxlan", 24), ("geneve", 24)])
def test_a_key_has_as_many_bits_as_the_tunnels_header(tunnel: str, bits: int) -> None:
    assert check_key(tunnel, 1) == 1
    assert check_key(tunnel, 2**bits - 1) == 2**bits - 1
    for key in (0, -1, 2**bits, 2**64, 10**5000):
        with pytest.raises(InvalidRequest, match=tunnel) as caught:
            check_key(tunnel, key, "tunnel_id")
        assert caught.value.field == "tunnel_id"


def link(tunnel: str, key: int = 7, remote: str = "192.0.2.12", name: str = "t0") -> Tunnel:
    return tunnel_link(
        tunnel,
        name=name,
        alias="a",
        key=key,
        local=ip_address("192.0.2.11") if ":" not in remote else ip_address("2001:db8::b"),
        remote=ip_address(remote),
        master="br",
        mac="06:00:00:00:00:01",
        mtu=1400,
    )


def test_each_tunnel_is_its_own_kind_of_link() -> None:
    gre, vxlan, geneve = map(link, TUNNELS)
    assert isinstance(gre, Gretap)
    assert isinstance(vxlan, Vxlan)
    assert isinstance(geneve, Geneve)
    assert (gre.kind, vxlan.kind, geneve.kind) == ("gretap", "vxlan", "geneve")
    assert link("gre", remote="2001:db8::c").kind == "ip6gretap"
    assert vxlan.port == 16384 + (11 ^ 12)
    assert geneve.port == 6081
    for made in (gre, vxlan, geneve):
        assert made.wire_key == 7
        assert str(made.remote) == "192.0.2.12"
        assert (made.ttl, made.master, made.mtu) == (64, "br", 1400)
        assert made.mac == "06:00:00:00:00:01"


@pytest.mark.parametrize("tunnel", TUNNELS)
def test_the_wire_tells_tunnels_apart_by_key_and_remote(tunnel: str) -> None:
    one = link(tunnel)
    assert one.wire_identity == replace(one, name="t1", alias="b", mtu=1300).wire_identity
    assert one.wire_identity != link(tunnel, key=8).wire_identity
    assert one.wire_identity != link(tunnel, remote="192.0.2.13").wire_identity


def test_the_wire_identity_is_what_the_kernel_looks_at() -> None:
    local, remote = ip_address("192.0.2.11"), ip_address("192.0.2.12")
    wires = [
        ("gretap", 7, local, remote),
        ("vxlan", 7, 16384 + (11 ^ 12), 4),
        ("geneve", 7, remote, 6081),
    ]
    assert [link(tunnel).wire_identity for tunnel in TUNNELS] == wires
    assert [wire(tunnel, 7, local, remote) for tunnel in TUNNELS] == wires


def test_vxlans_whose_pairs_share_a_port_collide() -> None:
    # 192.0.2.12 and 192.0.66.12 differ above the 14 bits that make the port.
    one, other = link("vxlan"), link("vxlan", remote="192.0.66.12", name="t1")
    assert one.wire_identity == other.wire_identity
    assert link("gre").wire_identity != link("gre", remote="192.0.66.12").wire_identity


def test_a_collision_names_both_tunnels_and_a_remedy() -> None:
    remote = ip_address("192.0.2.12")
    message = str(collision(remote, 7, link("vxlan", remote="192.0.66.12"), "subnet s9"))
    for word in ("192.0.2.12", "192.0.66.12", "t0", "7", "subnet s9", "choose another subnet key"):
        assert word in message
