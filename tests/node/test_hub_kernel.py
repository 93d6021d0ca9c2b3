"""Topology "hub" on the kernel: network host, compute host and outside, as namespaces."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import ExitStack, suppress

import pytest

import snnet
from snnet.system.namespaces import Namespace, end_processes
from snnet.system.process import run
from tests.pings import pings

pytestmark = pytest.mark.kernel

NETWORK, COMPUTE, OUTSIDE = "192.0.2.2", "192.0.2.11", "192.0.2.99"
ADDRESS, PUBLIC = "192.0.2.200", "192.0.2.220"
CONFIG = snnet.NetworkConfig(
    tunnel="vxlan",
    compute_nets=["192.0.2.0/24"],
    concentrator_pool=[ADDRESS],
    allow_to_nets=[f"{OUTSIDE}/32"],
)


class RealHosts:
    """Three hosts on a bridge, which is in a namespace of its own."""

    def __init__(self) -> None:
        self.open = ExitStack()
        self.wire = self.space("wire")
        self.wire.ip(["link add wire up type bridge"])
        self.network, self.compute, self.outside = map(
            self.host, ("network", "compute", "outside"), (NETWORK, COMPUTE, OUTSIDE)
        )

    def space(self, name: str) -> Namespace:
        space = Namespace(name)
        self.open.callback(space.close)
        self.open.callback(end_processes, [space])
        return space

    def host(self, name: str, address: str) -> Namespace:
        space = self.space(name)
        peer = f"peer name eth0 netns {space.path}"
        self.wire.ip([f"link add {name} up master wire type veth {peer}"])
        space.ip(["link set lo up", "link set eth0 up", f"address add {address}/24 dev eth0"])
        return space

    def node(self, space: Namespace, firewall: str) -> snnet.ComputeNode:
        # Names of namespaces are those of the whole machine, and come from the node's id.
        name = f"{space.name}-{uuid.uuid4().hex[:8]}"
        node = snnet.ComputeNode(name, CONFIG, netns=space.fd, firewall=firewall, api_timeout=60.0)
        self.open.enter_context(node)
        node.init()
        return node


@pytest.fixture
def hosts() -> Iterator[RealHosts]:
    hosts = RealHosts()
    with hosts.open:
        yield hosts


def text(space: Namespace) -> str:
    """What a concentrator could leave behind on its host."""
    asked = ("-br address", "-4 route", "neigh show proxy")
    return "".join(run(["ip", *words.split()], netns=space.fd).stdout for words in asked)


@pytest.mark.parametrize("firewall", ["nftables", "iptables"])
def test_a_tenant_behind_its_concentrator(hosts: RealHosts, firewall: str) -> None:
    host = hosts.node(hosts.network, firewall)
    node = hosts.node(hosts.compute, firewall)
    before = text(hosts.network)
    made = host.set_concentrator(
        snnet.ConcentratorConfig(
            tenant_id="acme", concentrator_id="acme", address=ADDRESS, public_ips=[PUBLIC]
        )
    )
    cnci = snnet.Cnci(
        "acme", CONFIG, tenant_id="acme", firewall=firewall, netns=made.netns, api_timeout=60.0
    )
    hosts.open.enter_context(cnci)
    cnci.init()
    created = node.create_vnic(
        snnet.VnicConfig(
            role=snnet.VnicRole.TENANT_CONTAINER, vnic_id="v9", instance_id="i9", tenant_id="acme",
            subnet_id="web", subnet="10.1.0.0/24", subnet_key=7, ip="10.1.0.9",
            concentrator_id="acme", concentrator_ip=ADDRESS,
        )
    )  # fmt: skip
    event, outside = created.tunnel_event, {"device": made.uplink, "to": "10.1.0.9"}
    assert event is not None
    done = cnci.reconcile(
        subnets=[snnet.Subnet("10.1.0.0/24", 7, [snnet.Remote(event.cn_ip, event.port)])],
        nat=[made.uplink],
        exits=[(made.uplink, "10.1.0.0/24")],
        public_ips=[{"address": PUBLIC, **outside}],
    )
    assert done.failed == []
    guest = hosts.space("guest")
    hosts.compute.ip([f"link set {created.vnic.peer_name} netns {guest.path} name eth0 up"])
    guest.ip(["link set lo up", "address add 10.1.0.9/24 dev eth0"])
    guest.ip([f"link set eth0 mtu {created.vnic.mtu}", "route add default via 10.1.0.1"])
    assert pings(guest, "10.1.0.1")
    assert pings(guest, OUTSIDE, size=created.vnic.mtu - 28)
    assert pings(hosts.outside, PUBLIC)
    assert not pings(guest, NETWORK, patience=1), "guests do not reach the network host"
    assert not pings(guest, "169.254.1.1", patience=1), "by no address"
    assert host.verify() == node.verify() == cnci.verify() == []
    with suppress(snnet.Incomplete):
        cnci.shutdown()
    cnci.close()
    host.reset_network()
    assert text(hosts.network) == before
