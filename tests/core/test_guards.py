"""The rules that keep tenants away from the data centre's own networks."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, ip_network

import pytest

from snnet.contract import Gre, ProtectedNetwork, TunnelGuard, Untracked, Vxlan
from snnet.core.guards import guard, port_rules, protected_networks
from snnet.core.own_packets import own_packets
from tests.core.builders import make_site

O = "cnci:c-1"  # noqa: E741
PEER = IPv4Address("192.0.2.10")
LOCAL = IPv4Address("192.0.2.11")
VXLAN = Vxlan(name="t0", local=LOCAL, remote=PEER, vni=7, port=16385)


def nets(infrastructure: list[str], allowed: list[str]) -> dict[str, bool]:
    found = list(protected_networks(O, map(ip_network, infrastructure), map(ip_network, allowed)))
    assert all(isinstance(rule, ProtectedNetwork) for rule in found)
    return {str(rule.network): rule.closed for rule in found}


@pytest.mark.parametrize(
    ("infrastructure", "allowed", "rules"),
    [
        ([], ["10.0.0.0/8"], {}),
        (["192.0.2.0/24"], [], {"192.0.2.0/24": True}),
        (["192.0.2.0/24", "192.0.2.0/25"], [], {"192.0.2.0/24": True}),
        (["192.0.2.0/24"], ["192.0.2.0/24"], {"192.0.2.0/24": False}),
        (["192.0.2.0/24"], ["0.0.0.0/0"], {"192.0.2.0/24": False}),
        (["192.0.2.0/24"], ["198.51.100.0/24"], {"192.0.2.0/24": True}),
        (
            ["192.0.2.0/24"],
            ["192.0.2.0/26"],
            {"192.0.2.128/25": True, "192.0.2.64/26": True, "192.0.2.0/26": False},
        ),
        (["2001:db8::/64"], [], {"2001:db8::/64": True}),
        (
            ["2001:db8::/64", "192.0.2.0/24"],
            ["2001:db8::/65", "0.0.0.0/0"],
            {"192.0.2.0/24": False, "2001:db8:0:0:8000::/65": True, "2001:db8::/65": False},
        ),
    ],
)
def test_networks_are_closed_but_for_what_is_allowed(
    infrastructure: list[str], allowed: list[str], rules: dict[str, bool]
) -> None:
    found = nets(infrastructure, allowed)
    assert found == rules
    parts = list(map(ip_network, found))
    pairs = [(one, two) for one in parts for two in parts if one is not two]
    assert not any(one.overlaps(two) for one, two in pairs if one.version == two.version)


def test_packets_of_guarded_tunnels_are_not_tracked() -> None:
    plain = replace(VXLAN, name="t1", vni=8, port=16386)
    gre = TunnelGuard(owner=O, link="g", protocol="gre", port=0, tunnel_key=7, remote=PEER)
    packets = own_packets(make_site(), [VXLAN, plain, *port_rules(O, VXLAN), gre])
    assert [(packet.target_port, packet.incoming, packet.untracked) for packet in packets] == [
        (port, incoming, port == VXLAN.port)
        for port in (VXLAN.port, plain.port, None)
        for incoming in (True, False)
    ]


def test_a_vxlan_port_has_a_guard() -> None:
    untracked, guarded = port_rules(O, VXLAN)
    assert untracked == Untracked(owner=O, link="t0")
    assert guarded == TunnelGuard(
        owner=O, link="t0", protocol="udp", port=16385, tunnel_key=7, remote=PEER
    )
    assert guarded.rank < VXLAN.rank


def test_multipoint_gre_has_a_guard_by_key() -> None:
    assert guard(O, Gre(name="m0", local=LOCAL, tunnel_key=9), PEER) == TunnelGuard(
        owner=O, link="m0", protocol="gre", port=0, tunnel_key=9, remote=PEER
    )
