"""What a node makes of its configuration and of its host's links: its site."""

from __future__ import annotations

from dataclasses import fields
from ipaddress import ip_address, ip_network
from typing import Any

import pytest

import snnet
from snnet.contract import Bridge, IPNetwork, Tap
from snnet.contract.addresses import MTU_MIN
from tests.node.world import FakeWorld, vm

COMPUTE, MANAGEMENT, LINK_LOCAL = "192.0.2.0/24", "198.51.100.0/24", "169.254.0.0/16"
BOTH = {"compute_nets": [COMPUTE], "management_nets": [COMPUTE, MANAGEMENT]}
POOL = {"concentrator_pool": ["192.0.2.200"]}
ROUTED = {"mode": snnet.NetworkMode.ROUTED}
NUMBERED = {"tunnel": "vxlan", "node_number": 3}
MESH = {"mesh": True, "tunnel": "vxlan", "mesh_port": 8473, "mtu": 1450}


def nets(*cidrs: str) -> tuple[IPNetwork, ...]:
    return tuple(map(ip_network, cidrs))


PLAIN: dict[str, Any] = {
    "tunnel": "gre",
    "mtu_cap": None,
    "macvtap_mode": "bridge",
    "routed": False,
    "local": False,
    "mesh": False,
    "hosting": False,
    "anti_spoofing": True,
    "infrastructure": nets(COMPUTE, LINK_LOCAL),
    "allowed": (),
    "public_gateway": None,
    "port": None,
    "mesh_port": None,
    "foreign": ("eth0",),
    "ip": ip_address("192.0.2.11"),
    "mtu": 1458,
}


def site_of(node: snnet.ComputeNode | snnet.Cnci) -> dict[str, Any]:
    return {name: getattr(node.site, name) for name in PLAIN}


@pytest.mark.parametrize(
    ("role", "config", "changed"),
    [
        ("node", {}, {}),
        ("cnci", {}, {}),
        ("node", {"compute_nets": []}, {}),
        ("node", BOTH, {"infrastructure": nets(COMPUTE, MANAGEMENT, LINK_LOCAL)}),
        ("node", {"mtu": 1400}, {"mtu_cap": 1400, "mtu": 1400}),
        ("node", {"macvtap_mode": "vepa"}, {"macvtap_mode": "vepa"}),
        ("node", {"anti_spoofing": False}, {"anti_spoofing": False}),
        ("node", {"anti_spoofing": False, **ROUTED}, {"routed": True, "mtu": 1500}),
        ("node", {"allow_to_nets": [MANAGEMENT]}, {"allowed": nets(MANAGEMENT)}),
        (
            "cnci",
            {"public_gateway": "192.0.2.254"},
            {"public_gateway": ip_address("192.0.2.254")},
        ),
        ("node", POOL, {"hosting": True}),
        ("node", {**POOL, **ROUTED}, {"routed": True, "mtu": 1500}),
        ("node", NUMBERED, {"tunnel": "vxlan", "port": 16387, "mtu": 1450}),
        ("cnci", NUMBERED, {"tunnel": "vxlan", "mtu": 1450}),
        ("node", {"topology": "mesh"}, {**MESH, "hosting": True, "port": 8473}),
        (
            "node",
            {"topology": "local", **BOTH},
            {
                "local": True,
                "hosting": True,
                "infrastructure": nets(LINK_LOCAL, MANAGEMENT),
                "mtu": 1500,
            },
        ),
    ],
    ids=str,
)
def test_a_site_is_what_the_configuration_says(
    fake: FakeWorld, role: str, config: dict[str, Any], changed: dict[str, Any]
) -> None:
    made = fake.config(**config)
    node = fake.node(config=made) if role == "node" else fake.cnci(config=made)
    assert site_of(node) == PLAIN | changed
    assert {field.name for field in fields(node.site)} - PLAIN.keys() == {
        "owner",
        "uplink",
        "sequence",
    }


def test_a_node_lists_its_uplinks_by_what_they_carry(fake: FakeWorld) -> None:
    fake.kernel.add_uplink("eth1", "198.51.100.2/24")
    node = fake.node(config=fake.config(management_nets=[MANAGEMENT]))
    assert [(uplink.link_name, uplink.compute, uplink.management) for uplink in node.uplinks] == [
        ("eth0", True, False),
        ("eth1", False, True),
    ]


def test_foreign_links_are_the_hosts_own(fake: FakeWorld) -> None:
    """Neither those of nodes and guests, nor ports of bridges, nor the loopback."""
    fake.add(Bridge(name="br0", group=0), Tap(name="port0", group=0, master="br0"))
    fake.node().create_vnic(vm())
    assert fake.cnci().site.foreign == ("eth0", "br0")


@pytest.mark.parametrize("enough", [True, False])
def test_an_uplink_that_leaves_too_little_for_tenants_is_refused(enough: bool) -> None:
    kernel = snnet.FakeKernel()
    kernel.add_uplink("eth0", "192.0.2.11/24", mtu=MTU_MIN + 42 - (not enough))
    with snnet.ComputeNode("cn-1", snnet.NetworkConfig(), backend=kernel, firewall="fake") as node:
        if enough:
            node.init()
            assert node.site.mtu == MTU_MIN
            return
        with pytest.raises(snnet.InvalidRequest, match="eth0 has MTU") as caught:
            node.init()
        assert caught.value.field == "mtu"


@pytest.mark.parametrize("named", [True, False])
def test_a_concentrator_in_a_namespace_finds_its_networks_there(named: bool) -> None:
    """Its host has links to others, where the concentrator has none, such as the management's."""
    kernel = snnet.FakeKernel()
    kernel.add_uplink("eth0", "192.0.2.2/24")
    if named:
        kernel.add_uplink("eth1", "198.51.100.2/24")
    config = snnet.NetworkConfig(
        compute_nets=[COMPUTE] if named else [],
        management_nets=[MANAGEMENT] if named else [],
        **POOL,  # type: ignore[arg-type]
    )
    one = snnet.ConcentratorConfig(
        tenant_id="t1", concentrator_id="c1", address=POOL["concentrator_pool"][0]
    )
    with snnet.ComputeNode("net-1", config, backend=kernel, firewall="fake") as node:
        node.init()
        inside = kernel.namespace(node.set_concentrator(one).netns)
        with snnet.Cnci(
            "c1", config, tenant_id="t1", backend=inside, firewall="fake", dhcp="fake"
        ) as cnci:
            cnci.init()
            assert str(cnci.compute_ip) == "192.0.2.200"
            more = [MANAGEMENT] if named else []
            assert set(cnci.site.infrastructure) == set(nets(COMPUTE, *more, LINK_LOCAL))
