"""Addresses that no other node can have are refused as the far end of a tunnel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import snnet
from tests.node.test_cnci import neighbors
from tests.node.world import FakeWorld, vm

NET = {4: "10.1.0.0/24", 6: "fd00:1::/64"}
GUEST = {4: "10.1.0.9", 6: "fd00:1::9"}
OWN = {4: "192.0.2.11", 6: "2001:db8::11"}
NO_HOST = {
    4: ["192.0.2.0", "192.0.2.255", "255.255.255.255", "0.0.0.0", "0.0.0.7", "127.0.0.1",
        "224.0.0.1", "240.0.0.1", "2001:db8::12"],
    6: ["2001:db8::", "::", "::1", "ff02::1", "fe80::12", "192.0.2.12"],
}  # fmt: skip
"""By version of the uplink, what neither a node nor another host can have."""

CONFIG = {"topology": "mesh"}


def guest(version: int, **changes: Any) -> snnet.VnicConfig:
    return vm(9, **{"subnet": NET[version], "ip": GUEST[version], **changes})


def ends(world: FakeWorld) -> list[tuple[str, Callable[[str], object]]]:
    """Each call that takes a far end, and the field that the error names."""
    net, version = NET[world.version], world.version
    cnci, hub = world.cnci(), world.node()
    mesh = world.node("cn-2", config=world.config(**CONFIG))
    mesh.create_vnic(guest(version, concentrator_ip=None))
    subnet = snnet.Subnet
    return [
        ("cn_ip", lambda end: cnci.add_remote_subnet(net, 7, end)),
        ("cn_ip", lambda end: cnci.plan_add_remote_subnet(net, 7, end)),
        ("cn_ip", lambda end: cnci.reconcile(subnets=[subnet(net, 7, [snnet.Remote(end)])])),
        ("concentrator_ip", lambda end: hub.create_vnic(guest(version, concentrator_ip=end))),
        ("concentrator_ip", lambda end: hub.plan_create_vnic(guest(version, concentrator_ip=end))),
        ("peers[0].cn_ip", lambda end: mesh.set_peers("t1", "s1", [snnet.Peer(end)])),
        ("peers[0].cn_ip", lambda end: mesh.plan_set_peers("t1", "s1", [snnet.Peer(end)])),
    ]


@pytest.mark.parametrize("version", [4, 6])
def test_an_end_is_the_address_of_another_host(version: int) -> None:
    world = FakeWorld("gre", version)
    calls = ends(world)
    before = world.text()
    for field, call in calls:
        for end in (OWN[version], *NO_HOST[version]):
            with pytest.raises(snnet.InvalidRequest) as caught:
                call(end)
            assert (caught.value.field or "").endswith(field), (end, caught.value)
            assert end in str(caught.value)
            assert world.text() == before
    world.close()


@pytest.mark.parametrize("end", ["192.0.2.0", "192.0.2.255", "0.0.0.0", "240.0.0.1"])
def test_nor_is_a_member_of_a_concentrators_mesh_another(fake: FakeWorld, end: str) -> None:
    cnci = fake.cnci()
    entries = neighbors()
    wrong = snnet.Neighbor(
        physical_ip=end, subnet="10.9.0.0/24", tunnel_ip="10.255.0.99", tunnel_id=5
    )
    before = fake.text()
    with pytest.raises(snnet.InvalidRequest, match=end):
        cnci.update_neighbors([*entries, wrong])
    assert fake.text() == before


def test_a_small_network_has_hosts_alone() -> None:
    """RFC 3021: both addresses of a /31 are hosts, as is the first one of a /127."""
    for own, other in (("192.0.2.11/31", "192.0.2.10"), ("2001:db8::1/127", "2001:db8::")):
        kernel = snnet.FakeKernel()
        kernel.add_uplink("eth0", own)
        cnci = snnet.Cnci(
            "c1", snnet.NetworkConfig(), tenant_id="t1", backend=kernel, firewall="fake",
            dhcp="fake",
        )  # fmt: skip
        with cnci:
            cnci.init()
            cnci.add_remote_subnet(NET[4], 7, other)
            assert cnci.verify() == []


def test_what_an_older_version_made_can_be_detached(fake: FakeWorld) -> None:
    """No error, whether it is there or not."""
    cnci = fake.cnci()
    cnci.add_remote_subnet(NET[4], 7, "192.0.2.21")
    for end in ("192.0.2.255", "192.0.2.0", OWN[4]):
        cnci.del_remote_subnet(NET[4], 7, end)


@pytest.mark.parametrize("ip", ["10.1.0.0", "10.1.0.255"])
def test_a_guest_elsewhere_has_an_address_of_a_host(fake: FakeWorld, ip: str) -> None:
    mesh = fake.node(config=fake.config(**CONFIG))
    mesh.create_vnic(guest(4, concentrator_ip=None))
    peer = snnet.Peer("192.0.2.12", macs=["02:00:0a:01:00:08"], ips=[ip])
    with pytest.raises(snnet.InvalidRequest, match=ip) as caught:
        mesh.set_peers("t1", "s1", [peer])
    assert caught.value.field == "peers.ips"


@pytest.mark.parametrize("address", ["192.0.2.0", "192.0.2.255", "192.0.2.11", "0.0.0.0"])
def test_a_concentrator_has_an_address_of_a_host(fake: FakeWorld, address: str) -> None:
    node = fake.node(config=fake.config(concentrator_pool=["192.0.2.50"]))
    asked = snnet.ConcentratorConfig(tenant_id="t1", concentrator_id="c1", address=address)
    before = fake.text()
    with pytest.raises(snnet.InvalidRequest) as caught:
        node.set_concentrator(asked)
    assert caught.value.field == "address"
    assert fake.text() == before


@pytest.mark.parametrize("address", ["0.0.0.0", "224.0.0.1", "255.255.255.255", "127.0.0.1"])
def test_a_public_address_is_that_of_a_host(fake: FakeWorld, address: str) -> None:
    node = fake.node(config=fake.config(topology="local"))
    asked = snnet.ConcentratorConfig(
        tenant_id="t1", concentrator_id="c1", public_ips=[address, "203.0.113.9"]
    )
    with pytest.raises(snnet.InvalidRequest) as caught:
        node.set_concentrator(asked)
    assert caught.value.field == "public_ips[0]"


@pytest.mark.parametrize("address", ["192.0.2.0", "192.0.2.255"])
def test_a_public_address_is_no_end_of_its_devices_network(fake: FakeWorld, address: str) -> None:
    cnci = fake.cnci()
    cnci.add_remote_subnet(NET[4], 7, "192.0.2.21")
    before = fake.text()
    with pytest.raises(snnet.InvalidRequest, match=r"192\.0\.2\.0/24") as caught:
        cnci.add_public_ip(address, to="10.1.0.9", device="eth0")
    assert caught.value.field == "address"
    assert fake.text() == before
