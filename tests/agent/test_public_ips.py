"""Public addresses that an agent of topology "local" gives to guests."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

from snnet import VnicRole
from snnet.contract import Add, Route

from .conftest import FakeHost

OURS, PUBLIC = "192.0.2.11", "192.0.2.50"


def test_an_address_of_the_host_is_refused_alone(host: FakeHost) -> None:
    """It is named, and neither the network nor other addresses suffer."""
    host.cluster.create_network("web", subnet="10.1.0.0/24")
    for name in ("v1", "v2"):
        host.cluster.create_vnic(name, network="web", role=VnicRole.TENANT_CONTAINER)
    host.cluster.create_public_ip(OURS, to="v1")
    host.cluster.create_public_ip(PUBLIC, to="v2")
    host.settle()
    assert host.states() == {"web": "ready", "v1": "ready", "v2": "ready", OURS: "failed",
                             PUBLIC: "ready"}  # fmt: skip
    refused = host.cluster.get_public_ip("default", OURS)
    assert refused.error == f"{OURS} is an address of the concentrator's host itself"
    (side,) = host.agent.node.topology().concentrators
    assert [str(address) for address in side.publics] == [PUBLIC]
    host.cluster.delete_public_ip("default", OURS)
    host.cluster.delete_public_ip("default", PUBLIC)
    host.settle()
    (side,) = host.agent.node.topology().concentrators
    assert side.publics == ()
    assert host.agent.node.verify() == []


def test_addresses_that_a_network_needs_are_refused_alone(host: FakeHost) -> None:
    """Whoever answers for one of these cuts off the others of the host's network."""
    host.cluster.create_network("web", subnet="10.1.0.0/24")
    host.cluster.create_vnic("v1", network="web", role=VnicRole.TENANT_CONTAINER)
    default = Route(
        destination=ip_network("0.0.0.0/0"), link="eth0", gateway=ip_address("192.0.2.1")
    )
    assert host.kernel.apply([Add(default)]).error is None
    reasons = {
        "192.0.2.0": "address: 192.0.2.0 is the network address of 192.0.2.0/24: give that of a "
        "host",
        "192.0.2.255": "address: 192.0.2.255 is the broadcast address of 192.0.2.0/24: give that "
        "of a host",
        "192.0.2.1": "192.0.2.1 is a gateway of the concentrator's host",
        PUBLIC: None,
    }
    for address in reasons:
        host.cluster.create_public_ip(address, to="v1")
    host.settle()
    assert {ip.name: ip.error for ip in host.cluster.list_public_ips()} == reasons
    assert host.agent.status()["problem"] is None


def test_it_follows_its_vnic_and_outlives_the_agent(host: FakeHost) -> None:
    host.cluster.create_network("web", subnet="10.1.0.0/24")
    for name in ("v1", "v2"):
        host.cluster.create_vnic(name, network="web", role=VnicRole.TENANT_CONTAINER)
    host.cluster.create_public_ip(PUBLIC, to="v1")
    host.settle()
    before = host.kernel.to_text()
    host.restart()
    host.settle()
    assert host.kernel.to_text() == before
    host.cluster.update_public_ip("default", PUBLIC, to="v2")
    host.settle()
    (cnci,) = host.agent._network.running.values()
    assert {str(public): str(ip) for public, ip in cnci.public_ips.items()} == {PUBLIC: "10.1.0.3"}
